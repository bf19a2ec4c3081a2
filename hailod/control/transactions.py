"""Changes that take more than one step: begun by a command, ended by an event or by their deadline.

Each is a small state machine over what the desk (the control loop) can do. Until it has succeeded the old settings run;
if it fails they go on running, and the verdict says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from hailod.config.model import Settings
from hailod.device.events import DeviceDown, DeviceUp, LinkEvent, ModelFailed, ModelReady
from hailod.device.statuses import Fault


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The change is made; `data` goes into the reply."""

    data: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refused:
    """The change is not made and the old settings run; `code` is of the interface's closed list."""

    code: str
    message: str
    field: str | None = None
    retryable: bool = False


Verdict = Succeeded | Refused


class Desk(Protocol):
    """What a transaction may do and ask."""

    def in_service(self, model: str) -> bool:
        """Whether the model is loaded and takes frames."""

    def load_beside(self, model: str | None) -> None:
        """Have this model loaded beside those that the settings want; None: only those."""

    def adopt(self, settings: Settings) -> int:
        """Make the settings the running ones; returns their revision."""

    def device_restart(self, mode: str) -> None:
        """Configure the models anew (`soft`) or replace the host process (`reset`)."""

    def all_in_service(self) -> bool:
        """Whether every model that the settings want is loaded and takes frames."""


class Transaction(Protocol):
    """One change under way."""

    def begin(self) -> Verdict | None:
        """Take the first step; a verdict if it was also the last."""

    def on(self, event: LinkEvent) -> Verdict | None:
        """Something happened to the device."""

    def expire(self) -> Refused:
        """The deadline has passed: go back to how it was."""


class ModelSwap:
    """Load the new model beside the old one, switch between two frames, drop the old one."""

    def __init__(self, desk: Desk, settings: Settings, model: str) -> None:
        self._desk = desk
        self._settings = settings
        self._model = model

    def begin(self) -> Verdict | None:
        if self._desk.in_service(self._model):
            return self._switch(0.0)
        self._desk.load_beside(self._model)
        return None

    def on(self, event: LinkEvent) -> Verdict | None:
        match event:
            case ModelReady() if event.session.spec.name == self._model:
                return self._switch(event.took_ms) if self._desk.in_service(self._model) else None
            case ModelFailed(name=name, error=error) if name == self._model:
                return self._back(Refused("model_incompatible", str(error), "args.model"))
            case DeviceDown(text=text):
                return self._back(Refused("device_unavailable", f"the device failed: {text}", retryable=True))
        return None

    def expire(self) -> Refused:
        return self._back(Refused("timeout", f"model '{self._model}' was not ready in time", retryable=True))

    def _switch(self, gap_ms: float) -> Succeeded:
        revision = self._desk.adopt(self._settings)
        self._desk.load_beside(None)
        # While a model is configured the device host cannot answer for the others: that is the gap.
        return Succeeded(
            {"model": self._model, "revision": revision, "restart_required": False, "gap_ms": round(gap_ms, 1)}
        )

    def _back(self, refusal: Refused) -> Refused:
        self._desk.load_beside(None)
        return refusal


class DeviceRestart:
    """Bring the device back to service from the start; done when every wanted model takes frames again."""

    def __init__(self, desk: Desk, mode: str) -> None:
        self._desk = desk
        self._mode = mode

    def begin(self) -> Verdict | None:
        self._desk.device_restart(self._mode)
        return None

    def on(self, event: LinkEvent) -> Verdict | None:
        match event:
            case DeviceUp() | ModelReady() if self._desk.all_in_service():
                return Succeeded({"mode": self._mode})
            case ModelFailed(name=name, error=error):
                return Refused("model_incompatible", f"model '{name}': {error}")
            case DeviceDown(fault=Fault.UNAVAILABLE | Fault.REJECTED, text=text, retry_in=seconds) if seconds:
                return Refused("device_unavailable", text, retryable=True)
        return None

    def expire(self) -> Refused:
        return Refused("timeout", "the device did not come back in time", retryable=True)
