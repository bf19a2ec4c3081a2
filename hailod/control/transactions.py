"""Changes that take more than one step: begun by a command, ended by an event or by their deadline.

Each is a small state machine over what the desk (the control loop) can do. Until it has succeeded the old settings run;
if it fails they go on running, and the verdict says so.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from hailod.config.model import Settings
from hailod.config.store import Edit
from hailod.control.errands import ErrandDone
from hailod.control.saver import SaverEvent, StateSaved, StateUnsaved
from hailod.device.events import DeviceDown, DeviceReleased, DeviceStuck, DeviceUp, LinkEvent, ModelFailed, ModelReady
from hailod.device.statuses import Fault
from hailod.errors import CommandError, HailodError, ModelError
from hailod.pipeline.results import ModelTrouble


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The change is made; `data` goes into the reply. `edit`: what is to be kept of it, where only it knows."""

    data: dict[str, object] = field(default_factory=dict)
    edit: Edit | None = None


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed, and things may be looked at again."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The change is not made and the old settings run; `code` is of the interface's closed list. `rolled_back`: it was
    begun, and what was there before runs again."""

    code: str
    message: str
    field: str | None = None
    retryable: bool = False
    rolled_back: bool = False


Verdict = Succeeded | Refused
TransactionEvent: TypeAlias = LinkEvent | SaverEvent | ErrandDone | ModelTrouble | Tick


class Desk(Protocol):
    """What a transaction may do and ask."""

    def errand(self, work: Callable[[], object]) -> int:
        """Have something done that takes time; `ErrandDone` with the ticket that is returned tells its outcome."""

    def draft(self, settings: Settings) -> int | None:
        """Have the files read of models that these settings have otherwise; returns the ticket of that errand, or None
        where no file need be read."""

    def stage(self, settings: Settings) -> None:
        """Have the models of these settings in service beside those of the running ones."""

    @property
    def staged(self) -> bool:
        """Whether they are, just as these settings say."""

    def adopt(self, settings: Settings) -> int:
        """Make the settings the running ones; returns their revision. They are published by `show_settings`. The models
        of those before stay in service until `settle`."""

    def settle(self) -> None:
        """Have the models of the running settings in service, and no others."""

    def proven(self, models: Collection[str]) -> bool | None:
        """Whether each of these models has completed an inference as it is in service now; None: no frames come in
        that could show it."""

    @property
    def settings(self) -> Settings:
        """The running snapshot."""

    @property
    def revision(self) -> int:
        """Its number."""

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

    @property
    def step(self) -> str:
        """What is being done, for people."""

    def begin(self) -> Verdict | None:
        """Take the first step; a verdict if it was also the last."""

    def on(self, event: TransactionEvent) -> Verdict | None:
        """Something happened to the device, or to what is to be kept."""

    def expire(self) -> Verdict:
        """The deadline has passed: go back to how it was, or say what was reached."""


class Change:
    """One transaction that changes settings, and then their way to the disk; the settings are told when that is over.

    `edit` is what is to be kept of it. What is applied stays applied, whatever the disk says: then the answer has
    `persisted: false` and the reason. With `persist` false it is not kept on purpose.
    """

    def __init__(self, desk: Desk, inner: Transaction, edit: Edit, *, persist: bool) -> None:
        self._desk = desk
        self._inner = inner
        self._edit = edit
        self._persist = persist
        self._done: Succeeded | None = None
        self._ticket = 0

    @property
    def step(self) -> str:
        return self._inner.step if self._done is None else "writing it to the disk"

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
        ticket = self._desk.keep(verdict.edit or self._edit) if self._persist else None
        if ticket is None:
            return self._end(persisted=self._persist)
        self._ticket = ticket
        return None

    def _end(self, **outcome: object) -> Succeeded:
        assert self._done is not None
        self._desk.show_settings()
        return Succeeded({**self._done.data, **outcome})


class Act:
    """Something that is done at once and cannot fail."""

    step = "doing it"

    def __init__(self, act: Callable[[], object], answer: Mapping[str, object]) -> None:
        self._act = act
        self._answer = answer

    def begin(self) -> Verdict:
        self._act()
        return Succeeded(dict(self._answer))

    def on(self, event: TransactionEvent) -> None:
        """It was over when it began."""

    def expire(self) -> Refused:
        return Refused("timeout", "it was not begun")


class After:
    """An errand, and then the transaction that its result makes. That may raise CommandError."""

    def __init__(
        self, desk: Desk, step: str, work: Callable[[], object], then: Callable[[object], Transaction]
    ) -> None:
        self._desk = desk
        self._step = step
        self._work = work
        self._then = then
        self._ticket = 0
        self._next: Transaction | None = None

    @property
    def step(self) -> str:
        return self._step if self._next is None else self._next.step

    def begin(self) -> None:
        self._ticket = self._desk.errand(self._work)

    def on(self, event: TransactionEvent) -> Verdict | None:
        if self._next is not None:
            return self._next.on(event)
        if not isinstance(event, ErrandDone) or event.ticket != self._ticket:
            return None
        if event.error is not None:
            return refused(event.error)
        try:
            self._next = self._then(event.result)
            return self._next.begin()
        except CommandError as error:
            return refused(error)

    def expire(self) -> Verdict:
        if self._next is not None:
            return self._next.expire()
        return Refused("timeout", f"{self._step} takes longer; it goes on, ask again later", retryable=True)


def refused(error: HailodError) -> Refused:
    """An error as a verdict; what is wrong with a model's file is the model's."""
    if isinstance(error, CommandError):
        return Refused(error.code, str(error), error.field, error.retryable)
    code = getattr(error, "code", "model_incompatible" if isinstance(error, ModelError) else "internal")
    return Refused(code, str(error), retryable=getattr(error, "retryable", False))


class DeviceRestart:
    """Bring the device back to service from the start; done when every wanted model takes frames again."""

    step = "waiting for the device to serve again"

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

    step = "waiting for the device to be free"

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

    step = "waiting for the device to be had"

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
