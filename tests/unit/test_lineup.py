"""Which models are wanted while one lot of settings takes the place of another."""

from __future__ import annotations

from pathlib import Path

import pytest

from hailod.config.model import ModelSettings, Settings
from hailod.control.errands import ErrandDone
from hailod.control.lineup import Lineup
from hailod.models.manifest import Manifest
from hailod.pipeline.engine import ModelPlan
from tests.support.desk import settings


class FakeEngine:
    """Serves what it is told to."""

    def __init__(self) -> None:
        self.serving: list[ModelPlan] = []

    def serves(self, plan: ModelPlan) -> bool:
        return plan in self.serving


def read(name: str, model: ModelSettings) -> ModelPlan:
    return ModelPlan(name, Path("/models") / model.path, Manifest(decoder=model.decoder or "nms"))


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def lineup(engine: FakeEngine) -> Lineup:
    start = settings()
    plans = {name: read(name, model) for name, model in start.models.items()}
    return Lineup(engine, start, plans, read)  # type: ignore[arg-type]


def with_model(name: str, **changes: object) -> Settings:
    start = settings()
    return settings(models={**start.models, name: start.models["one"].model_copy(update=changes)})


def test_staged_models_are_wanted_beside_those_that_run(lineup: Lineup, engine: FakeEngine) -> None:
    """Both are wanted until the change is settled, then only what the settings need."""
    new = settings(model="two")
    lineup.stage(new)
    assert set(lineup.wanted) == {"one", "two"}
    assert not lineup.staged
    engine.serving = [lineup.wanted["two"]]
    assert lineup.staged
    lineup.adopt(new)
    assert set(lineup.wanted) == {"one", "two"}
    assert lineup.settle()
    assert set(lineup.wanted) == {"two"}
    assert not lineup.settle()


def test_model_that_is_wanted_otherwise_is_wanted_so_alone(lineup: Lineup, engine: FakeEngine) -> None:
    """Of one model there is one plan: the next one while it is staged, the old one again when that was not to be."""
    engine.serving = [lineup.wanted["one"]]
    lineup.stage(with_model("one", batch_size=8, max_delay_ms=20.0))
    plan = lineup.wanted["one"]
    assert (plan.batch_size, plan.max_delay, lineup.staged) == (8, 0.02, False)
    lineup.settle()
    assert lineup.wanted["one"].batch_size == 1


def test_files_are_read_for_what_is_not_known_alone(lineup: Lineup) -> None:
    """Batch size and delay need no file; another decoder or model does, once, also for the way back."""
    assert lineup.unread(with_model("one", batch_size=8)) is None
    new = with_model("four", path=Path("four.hef"), decoder="yolox")
    work = lineup.unread(new)
    assert work is not None
    lineup.learn(ErrandDone(1, work()))
    assert lineup.unread(new) is None
    lineup.adopt(new)
    assert (lineup.plans["four"].path, lineup.plans["four"].manifest.decoder) == (Path("/models/four.hef"), "yolox")
    lineup.adopt(settings())
    lineup.settle()
    assert lineup.unread(settings()) is None
    lineup.learn(ErrandDone(2, "of another kind"))
