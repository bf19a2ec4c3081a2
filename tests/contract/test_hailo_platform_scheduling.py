"""Several models on one device, and how long they take, through `hailo_platform`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hailod import simulator
from tests.support.scripted import Benches, Model


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Benches]:
    """Opens a device."""
    made = Benches(tmp_path)
    yield made
    made.close()


def order_of(*models: Model) -> list[int]:
    """Whose jobs ended, in order."""
    ended = sorted((moment, index) for index, model in enumerate(models) for moment in model.moments)
    return [index for _, index in ended]


def test_models_share_the_device_in_turn(bench: Benches) -> None:
    """Two models with batches waiting alternate batch by batch."""
    opened = bench()
    models = [opened.model(name, batch=4, switch_ms=40.0, frame_ms=10.0) for name in ("one", "two")]
    for model in models:
        for _ in range(3):
            model.run(4)
    for model in models:
        assert model.all_ended(3) == ["ok"] * 3
    assert order_of(*models) == [0, 1, 0, 1, 0, 1]


def test_a_priority_goes_first(bench: Benches) -> None:
    """The model of the higher priority has all its batches done before the other goes on."""
    opened = bench()
    models = [opened.model(name, batch=4, switch_ms=40.0, frame_ms=10.0) for name in ("low", "high")]
    models[1].configured.set_scheduler_priority(17)
    for model in models:
        for _ in range(3):
            model.run(4)
    for model in models:
        model.all_ended(3)
    assert order_of(*models) == [0, 1, 1, 1, 0, 0]


def test_a_threshold_with_a_timeout_waits_while_others_are_ready(bench: Benches) -> None:
    """Below its threshold and before its time-out a model lets the others go first."""
    opened = bench()
    models = [opened.model(name, batch=4, switch_ms=40.0, frame_ms=10.0) for name in ("busy", "patient")]
    models[1].configured.set_scheduler_threshold(4)
    models[1].configured.set_scheduler_timeout(60_000)
    for _ in range(3):
        models[0].run(4)
    models[1].run(2)
    models[0].all_ended(3)
    models[1].all_ended(1)
    assert order_of(*models) == [0, 0, 0, 1]


def test_scheduler_settings_are_checked(bench: Benches) -> None:
    """Priorities beyond 31 and thresholds beyond the batch of a model in contexts are invalid arguments."""
    opened = bench()
    model = opened.model(batch=4, switch_ms=40.0, frame_ms=10.0)
    for wrong in (
        lambda: model.configured.set_scheduler_priority(32),
        lambda: model.configured.set_scheduler_threshold(5),
    ):
        with pytest.raises(opened.python.HailoRTInvalidArgumentException):
            wrong()
    model.configured.set_scheduler_priority(31)
    opened.model("streaming").configured.set_scheduler_threshold(50)


def test_a_device_of_a_preset_gives_every_model_its_timing(bench: Benches) -> None:
    """With `yolov8m@hailo8l` four frames one by one take at least 80 ms."""
    opened = bench(options=simulator.parse_device("yolov8m@hailo8l"))
    model = opened.model()
    began = time.monotonic()
    for _ in range(4):
        model.run()
    model.all_ended(4)
    assert model.moments[-1] - began >= 0.08
