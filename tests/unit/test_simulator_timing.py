"""Presets, and the simulated chip's virtual time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

import pytest

from hailod.errors import ModelError
from hailod.simulator import parse_device, preset
from hailod.simulator.chip.timeline import Lane, Timeline
from hailod.simulator.networks.network import Timing
from hailod.simulator.options import Arch
from hailod.simulator.presets import find
from tests.benchmarks import simulated_timing


@dataclass
class Job:
    left: int = 1
    factor: float = 1.0
    delay: float = 0.0
    end: float = -1.0


class Chip:
    """A timeline and the ends of what was submitted to it."""

    def __init__(self, **options: float | Callable[[float], float]) -> None:
        self.timeline: Timeline[Job] = Timeline(**options)  # type: ignore[arg-type]
        self.woken = 0

    def model(
        self, *, switch: float = 0.0, frame: float = 0.010, batch: int = 1, queue: int = 8, now: float = 0.0
    ) -> Lane[Job]:
        lane: Lane[Job] = Lane.of(
            Timing(switch, frame), batch=batch, queue=queue, multi_context=switch > 0, wake=self._wake
        )
        self.timeline.join(lane, now)
        return lane

    def submit(self, lane: Lane[Job], now: float, *, frames: int = 1, factor: float = 1.0, delay: float = 0.0) -> Job:
        job = Job(frames, factor, delay)
        self.timeline.submit(lane, job, now)
        return job

    def ends(self, lane: Lane[Job], now: float) -> list[float]:
        """The ends of what is launched by `now`."""
        found = []
        while (job := self.timeline.poll(lane, now)[0]) is not None:
            found.append(round(job.end, 6))
        return found

    def _wake(self) -> None:
        self.woken += 1


# -- published speeds --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["yolov8s@hailo8", "yolov8m@hailo8", "yolov8s@hailo8l", "yolov8n_seg@hailo10h"])
def test_preset_reproduces_what_was_published(name: str) -> None:
    """A host that keeps two batches in flight gets the frames per second published for batch 1 and batch 8."""
    found = preset(name)
    assert simulated_timing.frames_per_second(found, 1) == pytest.approx(found.b1, rel=1e-6)
    assert simulated_timing.frames_per_second(found, 8) == pytest.approx(found.b8, rel=1e-6)


@pytest.mark.parametrize("batch", [2, 4, 16])
def test_batches_between_and_beyond_follow_switch_and_frame(batch: int) -> None:
    """A batch of n takes switch + n frames, whatever n."""
    found = preset("yolov8m@hailo8l")
    expected = 1000 * batch / (found.switch_ms + batch * found.frame_ms)
    assert simulated_timing.frames_per_second(found, batch) == pytest.approx(expected, rel=1e-6)


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


def test_a_device_is_a_chip_or_a_preset() -> None:
    """What a command line calls a device gives the chip, and the timing that all models take on it."""
    assert [parse_device(chip) for chip in get_args(Arch)] == [{"arch": chip} for chip in get_args(Arch)]
    assert parse_device("yolov8m@hailo8l") == {"arch": "hailo8l", "preset": "yolov8m@hailo8l"}
    with pytest.raises(ModelError, match="yolov8m@hailo8l"):
        parse_device("yolov8m@hailo8ll")
    with pytest.raises(ModelError, match="no chip 'hailo9', only hailo8, hailo8l"):
        parse_device("hailo9")


# -- virtual time ------------------------------------------------------------------------------------------------------


def test_lateness_does_not_add_up() -> None:
    """However late the host looks, the device was at work all the while."""
    chip = Chip()
    lane = chip.model(switch=0.001, frame=0.009, batch=2)
    for _ in range(4):
        chip.submit(lane, 0.0)
    assert [chip.ends(lane, now) for now in (0.012, 0.035, 0.07)] == [[0.01, 0.029, 0.029], [0.039], []]


def test_an_idle_device_starts_when_the_job_comes() -> None:
    """Time in which nothing was asked of the device is not made up for."""
    chip = Chip()
    lane = chip.model()
    chip.submit(lane, 0.0)
    assert chip.ends(lane, 0.0) == [0.010]
    chip.submit(lane, 5.0)
    assert chip.ends(lane, 5.001) == [5.010]


def test_frames_of_one_context_end_one_by_one() -> None:
    """A model that fits the chip streams: each frame ends by itself, whatever the batch size."""
    chip = Chip()
    lane = chip.model(batch=4)
    for _ in range(3):
        chip.submit(lane, 0.0)
    assert chip.ends(lane, 0.0) == [0.01, 0.02, 0.03]


def test_a_batch_takes_what_was_there_at_its_start() -> None:
    """In several contexts what waits when the chip is free shares a batch up to its size; later ones take the next."""
    chip = Chip()
    lane = chip.model(switch=0.010, frame=0.001, batch=2)
    for moment in (0.0, 0.0, 0.001, 0.002, 0.003):
        chip.submit(lane, moment)
    # The first goes alone, as the chip was idle when it came.
    assert chip.ends(lane, 1.0) == [0.011, 0.023, 0.023, 0.035, 0.035]


def test_a_list_of_frames_is_one_batch() -> None:
    """Frames submitted together start together; beyond the batch size they take several, each with its switch."""
    chip = Chip()
    lane = chip.model(switch=0.010, frame=0.001, batch=4)
    chip.submit(lane, 0.0, frames=4)
    chip.submit(lane, 0.0, frames=5)
    assert chip.ends(lane, 1.0) == [0.014, 0.039]


def test_a_busy_device_says_when_to_ask_again() -> None:
    """Nothing is begun before its virtual start, so that what comes until then can share the batch."""
    chip = Chip()
    lane = chip.model(switch=0.005, frame=0.005, batch=8)
    chip.submit(lane, 0.0)
    assert chip.ends(lane, 0.0) == [0.010]
    chip.submit(lane, 0.003)
    assert chip.timeline.poll(lane, 0.004) == (None, pytest.approx(0.010))
    chip.submit(lane, 0.006)
    assert chip.ends(lane, 0.010) == [0.025, 0.025]


def test_several_models_share_the_chip_and_pay_for_changing() -> None:
    """Two models take turns; each change of model costs, none is charged for the first or for staying."""
    chip = Chip(change=0.004)
    one, two = chip.model(frame=0.010), chip.model(frame=0.020)
    for _ in range(2):
        chip.submit(one, 0.0)
        chip.submit(two, 0.0)
    assert chip.ends(one, 1.0) == [0.010, 0.048]
    assert chip.ends(two, 1.0) == [0.034, 0.072]


def test_changing_to_a_model_in_contexts_costs_only_what_its_switch_does_not() -> None:
    """Each batch of such a model loads the chip anew anyway."""
    chip = Chip(change=0.004)
    one, two = chip.model(), chip.model(switch=0.010, frame=0.001, batch=4)
    chip.submit(one, 0.0)
    chip.submit(two, 0.0)
    assert chip.ends(two, 1.0) == [0.021]


def test_a_model_that_leaves_frees_the_chip() -> None:
    """What it had on the chip is gone, the others start at once and are told so."""
    chip = Chip()
    one, two = chip.model(frame=10.0), chip.model()
    chip.submit(one, 0.0)
    waiting = chip.submit(two, 0.0)
    assert chip.timeline.poll(two, 0.5) == (None, pytest.approx(10.0))
    chip.timeline.leave(one, 0.5)
    assert chip.woken == 1
    assert chip.ends(two, 0.5) == [0.510]
    assert waiting.end == pytest.approx(0.510)
    chip.timeline.leave(one, 0.6)
    assert chip.woken == 1


def test_slow_late_and_throttled_jobs() -> None:
    """A job's own factor and delay, and the chip's pace, stretch its time and push back all behind it."""
    chip = Chip(pace=lambda now: 2.0 if now >= 1.0 else 1.0)
    lane = chip.model()
    chip.submit(lane, 0.0, factor=3.0)
    chip.submit(lane, 0.0, delay=0.5)
    chip.submit(lane, 0.0)
    assert chip.ends(lane, 0.0) == [0.030, 0.540, 0.550]
    chip.submit(lane, 1.0)
    assert chip.ends(lane, 1.0) == [1.020]


def test_a_threshold_holds_back_an_idle_chip_only_without_the_idle_optimisation() -> None:
    """By default an idle chip takes what there is; without that it waits for the threshold or the time-out."""
    for optimised, expected in ((True, [0.010]), (False, [0.110])):
        chip = Chip(idle_optimisation=optimised)
        lane = chip.model()
        lane.schedule.threshold, lane.schedule.timeout = 4, 0.1
        chip.submit(lane, 0.0)
        first = chip.ends(lane, 0.05)
        assert (first or chip.ends(lane, 0.2)) == expected
    chip = Chip(idle_optimisation=False)
    lane = chip.model()
    lane.schedule.threshold, lane.schedule.timeout = 4, float("inf")
    for _ in range(3):
        chip.submit(lane, 0.0)
    assert chip.timeline.poll(lane, 9.0) == (None, float("inf"))
    chip.submit(lane, 9.0)
    assert len(chip.ends(lane, 9.0)) >= 1


def test_a_timeline_knows_who_is_inside() -> None:
    """A collection of garbage inside the bookkeeping must not wait for the bookkeeping; outside nobody is inside."""
    inside: list[bool] = []

    def pace(_: float) -> float:
        inside.append(chip.timeline.entered)
        return 1.0

    chip = Chip(pace=pace)
    lane = chip.model()
    chip.submit(lane, 0.0)
    assert inside == [True]
    assert not chip.timeline.entered
