"""The transaction that leads from the running settings to others, whole.

    read ──► load beside ──► adopt ──► prove ──► done
      └──────────┴───── refused ─────────┴─── refused, and back to the old ones

Models whose files are needed are read first, on a thread of their own. What is new on the device is loaded beside what
runs; when all of it is in service the settings change in one step, between two frames. The models from before stay
until the new ones have each completed an inference, so that the way back is as short.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from hailod.config.diff import diff
from hailod.config.model import Settings
from hailod.control.changes import needed, restarted
from hailod.control.errands import ErrandDone
from hailod.control.transactions import Desk, Refused, Succeeded, TransactionEvent, Verdict, refused
from hailod.device.events import DeviceDown, ModelFailed, ModelLost, ModelQuarantined, ModelReady
from hailod.pipeline.results import ModelTrouble


class Phase(StrEnum):
    """How far it is, in words for people."""

    READ = "reading the files of models"
    LOAD = "loading models beside those that run"
    RESTART = "restarting the device"
    PROVE = "waiting for the first inference of the new models"


def fresh(old: Settings, new: Settings) -> frozenset[str]:
    """The models that `new` needs and `old` has not, or has otherwise."""
    return needed(new) - (needed(old) - frozenset(diff(old, new).models_changed))


def preview(old: Settings, new: Settings) -> dict[str, object]:
    """What is told of the way between two settings: what restarts, and whether the daemon would have to."""
    plan = diff(old, new)
    return {
        "restarted": restarted(plan, needed(old) | needed(new)),
        "restart_required": plan.process or plan.broker,
    }


class Reconfigure:
    """From the running settings to `settings`; `answer` goes into the reply, and a model that is refused is blamed on
    `field`."""

    def __init__(
        self, desk: Desk, settings: Settings, answer: Mapping[str, object] | None = None, *, field: str | None = None
    ) -> None:
        self._desk = desk
        self._old = desk.settings
        self._new = settings
        self._answer = {**(answer or {}), **preview(self._old, settings)}
        self._field = field
        self._fresh = fresh(self._old, settings)
        self._device = diff(self._old, settings).device
        self._phase = Phase.READ
        self._ticket = 0
        self._gap_ms = 0.0
        self._revision = desk.revision

    @property
    def step(self) -> str:
        return self._phase.value

    def begin(self) -> Verdict | None:
        if self._new == self._old:
            return self._done()
        ticket = self._desk.draft(self._new)
        if ticket is None:
            return self._load()
        self._ticket = ticket
        return None

    def on(self, event: TransactionEvent) -> Verdict | None:
        if self._phase is Phase.READ:
            return self._read(event)
        match event:
            case ModelReady() if event.session.spec.name in self._fresh:
                # While a model is configured the device host cannot answer for the others: that is the gap.
                self._gap_ms += event.took_ms
            case ModelFailed(name=name, error=error) if name in self._fresh:
                return self._back("model_incompatible", str(error), self._field)
            case ModelQuarantined(name=name, text=text) | ModelLost(name=name, text=text) if name in self._fresh:
                return self._back("model_incompatible", f"model '{name}': {text}", self._field)
            case ModelTrouble(model=name, error=error) if name in self._fresh and self._phase is Phase.PROVE:
                return self._back("model_incompatible", f"its outputs cannot be decoded: {error}", self._field)
            case DeviceDown(text=text, asked=asked) if not (asked and self._phase is Phase.RESTART):
                return self._back("device_unavailable", f"the device failed: {text}", retryable=True)
        return self._look()

    def expire(self) -> Refused:
        if self._phase is Phase.PROVE:
            return self._back("timeout", "no inference of the new models was completed in time", retryable=True)
        names = ", ".join(f"'{name}'" for name in sorted(self._fresh)) or "models"
        return self._back("timeout", f"{names}: not ready in time", retryable=True)

    def _read(self, event: TransactionEvent) -> Verdict | None:
        if not isinstance(event, ErrandDone) or event.ticket != self._ticket:
            return None
        return self._load() if event.error is None else refused(event.error)

    def _load(self) -> Verdict | None:
        self._phase = Phase.LOAD
        if self._fresh and not self._device:
            self._desk.stage(self._new)
        return self._look()

    def _look(self) -> Verdict | None:
        """Go on where what was waited for is there."""
        if self._phase is Phase.LOAD and (not self._fresh or self._device or self._desk.staged):
            self._revision = self._desk.adopt(self._new)
            self._phase = Phase.RESTART if self._device else Phase.PROVE
            if self._device:
                self._desk.device_restart("reset")
                return None
        if self._phase is Phase.RESTART and self._desk.all_in_service():
            self._phase = Phase.PROVE
        if self._phase is Phase.PROVE and (not self._fresh or self._desk.proven(self._fresh) is not False):
            return self._done()
        return None

    def _done(self) -> Succeeded:
        told: dict[str, object] = {**self._answer, "revision": self._revision}
        if self._fresh:
            told |= {"gap_ms": round(self._gap_ms, 1), "proven": self._desk.proven(self._fresh) is True}
        self._desk.settle()
        return Succeeded(told)

    def _back(self, code: str, message: str, field: str | None = None, *, retryable: bool = False) -> Refused:
        if self._phase in (Phase.RESTART, Phase.PROVE):
            self._desk.adopt(self._old)
            self._desk.show_settings()
            if self._device:
                self._desk.device_restart("reset")
        self._desk.settle()
        return Refused(code, message, field, retryable, rolled_back=self._phase is not Phase.READ)
