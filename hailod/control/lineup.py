"""Which models are to be in service: those of the running settings, and during a change those of the next or the last
beside them. What is known of model files is kept here, so that no change reads one twice."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from hailod.config.model import ModelSettings, Settings
from hailod.control.changes import needed
from hailod.control.errands import ErrandDone
from hailod.pipeline.engine import Engine, ModelPlan

# Reads the file and the manifest of a model; raises ModelError. Takes as long as the disk does.
PlanModel = Callable[[str, ModelSettings], ModelPlan]

# What the engine is told beside the file and its manifest, which need not be read again for it.
_QUICK = frozenset({"batch_size", "max_same_source_frames", "max_delay_ms"})


class Lineup:
    """Used by the control thread."""

    def __init__(
        self, engine: Engine, settings: Settings, plans: Mapping[str, ModelPlan], plan_model: PlanModel
    ) -> None:
        self._engine = engine
        self._plan_model = plan_model
        # By model: with which settings it was planned, and how.
        self._known: dict[str, list[tuple[ModelSettings, ModelPlan]]] = {
            name: [(settings.models[name], plan)] for name, plan in plans.items()
        }
        self._settings = settings
        self._staged: Settings | None = None
        self._held: Settings | None = None

    def unread(self, settings: Settings) -> Callable[[], object] | None:
        """The errand that reads the models of `settings` that are not known; None where all are. `learn` takes its
        result."""
        missing = {name: model for name, model in settings.models.items() if self._find(name, model) is None}
        if not missing:
            return None
        plan_model = self._plan_model
        return lambda: {name: (model, plan_model(name, model)) for name, model in missing.items()}

    def learn(self, done: ErrandDone) -> None:
        """Take in what an errand of `unread` found; of other errands there is nothing to learn."""
        if isinstance(done.result, dict):
            for name, (model, plan) in done.result.items():
                self._known[name] = [*self._known.get(name, [])[-2:], (model, plan)]

    def stage(self, settings: Settings) -> None:
        """Have the models of `settings` in service too, as these say."""
        self._staged = settings

    def adopt(self, settings: Settings) -> None:
        """These settings run; what those before needed stays."""
        self._held, self._settings, self._staged = self._settings, settings, None
        names = {*settings.models, *self._held.models}
        self._known = {name: known for name, known in self._known.items() if name in names}

    def settle(self) -> bool:
        """Only what the running settings need is to be in service; says whether that is news."""
        news = self._staged is not None or self._held is not None
        self._staged = self._held = None
        return news

    @property
    def staged(self) -> bool:
        """Whether what was staged is in service."""
        settings = self._staged
        return settings is None or all(self._engine.serves(self._plan(settings, name)) for name in needed(settings))

    @property
    def wanted(self) -> dict[str, ModelPlan]:
        """The models to have in service, by name."""
        plans: dict[str, ModelPlan] = {}
        for settings in (self._held, self._settings, self._staged):
            if settings is not None:
                plans.update({name: self._plan(settings, name) for name in sorted(needed(settings))})
        return dict(sorted(plans.items()))

    @property
    def plans(self) -> dict[str, ModelPlan]:
        """Every configured model."""
        return {name: self._plan(self._settings, name) for name in self._settings.models}

    def _plan(self, settings: Settings, name: str) -> ModelPlan:
        plan = self._find(name, settings.models[name])
        assert plan is not None, name
        return plan

    def _find(self, name: str, model: ModelSettings) -> ModelPlan | None:
        for known, plan in reversed(self._known.get(name, [])):
            if _same_but(known, model, _QUICK):
                return replace(
                    plan,
                    batch_size=model.batch_size,
                    per_camera=model.max_same_source_frames,
                    max_delay=model.max_delay_ms / 1000,
                )
        return None


def _same_but(one: ModelSettings, other: ModelSettings, fields: Collection[str]) -> bool:
    return all(
        getattr(one, field) == getattr(other, field) for field in ModelSettings.model_fields if field not in fields
    )
