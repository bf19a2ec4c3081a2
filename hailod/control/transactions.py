"""Changes that take more than one step: begun by a command, ended by an event or by their deadline.

Each is a small state machine over what the desk (the control loop) can do. Until it has succeeded the old settings run;
if it fails they go on running, and the verdict says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from hailod.config.model import Settings
from hailod.device.events import DeviceDown, DeviceReleased, DeviceStuck, DeviceUp, LinkEvent, ModelFailed, ModelReady
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

    @property
    def released(self) -> bool:
        """Whether the device is lent: free for other programs, the device host gone."""

    @property
    def released_until(self) -> float:
        """Unix seconds at which a device that is lent is taken back by itself."""

    def device_release(self, for_s: float) -> None:
        """Lend the device until `for_s` seconds from now; DeviceReleased follows unless it is lent already."""

    def device_acquire(self) -> None:
        """Take the device back, or at once look again whether it is to be had."""


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


class DeviceRelease:
    """Lend the device to other programs; done when the device host is gone. Of a device that is lent already only the
    time is set anew."""

    def __init__(self, desk: Desk, for_s: float) -> None:
        self._desk = desk
        self._for_s = for_s

    def begin(self) -> Verdict | None:
        lent = self._desk.released
        self._desk.device_release(self._for_s)
        return self._lent() if lent else None

    def on(self, event: LinkEvent) -> Verdict | None:
        match event:
            case DeviceReleased():
                return self._lent()
            case DeviceStuck(pid=pid):
                return self._back(Refused("device_unavailable", f"its host (pid {pid}) does not let go of the device"))
        return None

    def expire(self) -> Refused:
        return self._back(Refused("timeout", "the device was not free in time", retryable=True))

    def _lent(self) -> Succeeded:
        return Succeeded({"until": round(self._desk.released_until, 3), "for_s": self._for_s})

    def _back(self, refusal: Refused) -> Refused:
        self._desk.device_acquire()
        return refusal


class DeviceAcquire:
    """Take the device back; done when every wanted model takes frames again. A device that another program holds ends
    the wait with a refusal, and is tried again until it is free."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def begin(self) -> Verdict | None:
        lent = self._desk.released
        self._desk.device_acquire()
        return Succeeded() if not lent and self._desk.all_in_service() else None

    def on(self, event: LinkEvent) -> Verdict | None:
        match event:
            case DeviceUp() | ModelReady() if self._desk.all_in_service():
                return Succeeded()
            case ModelFailed(name=name, error=error):
                return Refused("model_incompatible", f"model '{name}': {error}")
            case DeviceDown(fault=Fault.UNAVAILABLE | Fault.REJECTED, text=text, retry_in=seconds) if seconds:
                return Refused("device_unavailable", f"{text}; it is tried again until it is free", retryable=True)
        return None

    def expire(self) -> Refused:
        return Refused("timeout", "the device is not back yet; it goes on being tried", retryable=True)
