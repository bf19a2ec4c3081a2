"""Presets, and the simulated chip's virtual time."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import pytest

from hailod.errors import ModelError
from hailod.simulator import preset
from hailod.simulator.device import Timeline
from hailod.simulator.network import Timing
from hailod.simulator.presets import find


@dataclass
class Job:
    submitted: float
    left: int = 1


def serve(timeline: Timeline, jobs: deque[Job], now: float, *, batch: int, timing: Timing) -> tuple[int, float]:
    finished, end = timeline.serve(jobs, batch, timing, now)
    return len(finished), end


@pytest.mark.parametrize("name", ["yolov8s@hailo8", "yolov8m@hailo8", "yolov8s@hailo8l", "resnet_v1_50@hailo8l"])
def test_preset_reproduces_what_was_published(name: str) -> None:
    """Switch and frame cost give back the frames per second at batch 1 and at batch 8."""
    found = preset(name)
    assert 1000 / (found.switch_ms + found.frame_ms) == pytest.approx(found.b1)
    assert 8000 / (found.switch_ms + 8 * found.frame_ms) == pytest.approx(found.b8)
    assert found.switch_ms >= 0


def test_preset_of_a_model_that_fits_the_chip_has_no_switch() -> None:
    """Where batching gains nothing a batch costs nothing."""
    found = preset("yolov8s@hailo8")
    assert (found.b1, found.input, found.multi_context) == (491, (640, 640), False)
    assert found.switch_ms == pytest.approx(0)
    assert preset("yolov8m@hailo8").multi_context


def test_unknown_preset_names_near_matches() -> None:
    """A misspelt preset is refused with what may have been meant."""
    with pytest.raises(ModelError, match="yolov8s@hailo8"):
        preset("yolo8s@hailo8")
    assert find("no_such_model", "hailo8") is None


def test_lateness_does_not_add_up() -> None:
    """However late the host looks, the device was at work all the while."""
    timeline, jobs = Timeline(), deque([Job(0.0), Job(0.0), Job(0.0)])
    timing = Timing(frame=0.010)
    ends = [serve(timeline, jobs, now, batch=1, timing=timing) for now in (0.004, 0.017, 0.029)]
    assert ends == [(1, pytest.approx(0.010)), (1, pytest.approx(0.020)), (1, pytest.approx(0.030))]


def test_an_idle_device_starts_when_the_job_comes() -> None:
    """Time in which nothing was asked of the device is not made up for."""
    timeline, timing = Timeline(), Timing(frame=0.010)
    assert serve(timeline, deque([Job(0.0)]), 0.0, batch=1, timing=timing) == (1, pytest.approx(0.010))
    assert serve(timeline, deque([Job(5.0)]), 5.001, batch=1, timing=timing) == (1, pytest.approx(5.010))


def test_a_batch_takes_what_was_there_at_its_start() -> None:
    """Jobs submitted by the virtual start share a batch up to its size; a later one waits for the next."""
    timeline, timing = Timeline(), Timing(switch=0.010, frame=0.001)
    jobs = deque([Job(0.0), Job(0.0), Job(0.0), Job(0.002)])
    assert serve(timeline, jobs, 1.0, batch=2, timing=timing) == (2, pytest.approx(0.012))
    assert serve(timeline, jobs, 1.0, batch=8, timing=timing) == (2, pytest.approx(0.024))
    jobs = deque([Job(1.0), Job(1.005)])
    assert serve(timeline, jobs, 2.0, batch=8, timing=timing) == (1, pytest.approx(1.011))


def test_a_job_longer_than_a_batch_takes_several() -> None:
    """A list of frames beyond the batch size is one job in several batches, each with its switch."""
    timeline, timing = Timeline(), Timing(switch=0.010, frame=0.001)
    jobs = deque([Job(0.0, left=5)])
    assert serve(timeline, jobs, 0.0, batch=4, timing=timing) == (0, pytest.approx(0.014))
    assert serve(timeline, jobs, 0.014, batch=4, timing=timing) == (1, pytest.approx(0.025))


def test_a_busy_device_says_when_to_ask_again() -> None:
    """Nothing is begun before its virtual start, so that what comes until then can share the batch."""
    timeline, timing = Timeline(), Timing(frame=0.010)
    assert serve(timeline, deque([Job(0.0)]), 0.0, batch=1, timing=timing) == (1, pytest.approx(0.010))
    other = deque([Job(0.003)])
    assert serve(timeline, other, 0.004, batch=1, timing=timing) == (0, pytest.approx(0.010))
    assert len(other) == 1
    assert serve(timeline, other, 0.010, batch=1, timing=timing) == (1, pytest.approx(0.020))
