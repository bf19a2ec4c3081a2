"""Changes that take more than one step: begun by a command, ended by an event or by their deadline.

Each is a small state machine over what the desk (the control loop) can do. Until it has succeeded the old settings run;
if it fails they go on running, and the verdict says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from hailod.config.model import Settings
from hailod.config.store import Edit
from hailod.control.saver import SaverEvent, StateSaved, StateUnsaved
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
TransactionEvent = LinkEvent | SaverEvent


class Desk(Protocol):
    """What a transaction may do and ask."""

    def in_service(self, model: str) -> bool:
        """Whether the model is loaded and takes frames."""

    def load_beside(self, model: str | None) -> None:
        """Have this model loaded beside those that the settings want; None: only those."""

    @property
    def settings(self) -> Settings:
        """The running snapshot."""

    @property
    def revision(self) -> int:
        """Its number."""

    def adopt(self, settings: Settings) -> int:
        """Make the settings the running ones; returns their revision. They are published by `show_settings`."""

    def keep(self, edit: Edit) -> int | None:
        """Have `edit` survive a restart; returns the ticket that a `SaverEvent` will name, or None where it is all on
        the disk already."""

    def show_settings(self) -> None:
        """Publish the running settings where they are not the published ones."""

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

    def on(self, event: TransactionEvent) -> Verdict | None:
        """Something happened to the device, or to what is to be kept."""

    def expire(self) -> Verdict:
        """The deadline has passed: go back to how it was, or say what was reached."""


class Change:
    """One transaction that changes settings, and then their way to the disk; the settings are told when that is over.

    `values` are the leaves that it sets. What is applied stays applied, whatever the disk says: then the answer has
    `persisted: false` and the reason. With `persist` false they are not kept on purpose.
    """

    def __init__(self, desk: Desk, inner: Transaction, values: Mapping[str, object], *, persist: bool) -> None:
        self._desk = desk
        self._inner = inner
        self._values = values
        self._persist = persist
        self._done: Succeeded | None = None
        self._ticket = 0

    def begin(self) -> Verdict | None:
        return self._follow(self._inner.begin())

    def on(self, event: TransactionEvent) -> Verdict | None:
        if self._done is None:
            return self._follow(self._inner.on(event))
        match event:
            case StateSaved(ticket=ticket) if ticket >= self._ticket:
                return self._end(persisted=True)
            case StateUnsaved(ticket=ticket, text=text) if ticket >= self._ticket:
                return self._end(persisted=False, reason=text)
        return None

    def expire(self) -> Verdict:
        if self._done is None:
            return self._inner.expire()
        return self._end(persisted=False, reason="the deadline passed before it was on the disk")

    def _follow(self, verdict: Verdict | None) -> Verdict | None:
        if not isinstance(verdict, Succeeded):
            return verdict
        self._done = verdict
        ticket = self._desk.keep(Edit(self._values)) if self._persist else None
        if ticket is None:
            return self._end(persisted=self._persist)
        self._ticket = ticket
        return None

    def _end(self, **outcome: object) -> Succeeded:
        assert self._done is not None
        self._desk.show_settings()
        return Succeeded({**self._done.data, **outcome})


class Adopt:
    """Settings that take effect at once, if they are others; `answer` goes into the reply."""

    def __init__(self, desk: Desk, settings: Settings, answer: Mapping[str, object]) -> None:
        self._desk = desk
        self._settings = settings
        self._answer = answer

    def begin(self) -> Verdict:
        same = self._settings == self._desk.settings
        revision = self._desk.revision if same else self._desk.adopt(self._settings)
        return Succeeded({**self._answer, "revision": revision})

    def on(self, event: TransactionEvent) -> None:
        """It was over when it began."""

    def expire(self) -> Refused:
        return Refused("timeout", "it was not begun")


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

    def on(self, event: TransactionEvent) -> Verdict | None:
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

    def on(self, event: TransactionEvent) -> Verdict | None:
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

    def on(self, event: TransactionEvent) -> Verdict | None:
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

    def on(self, event: TransactionEvent) -> Verdict | None:
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
