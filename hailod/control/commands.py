"""Obeys what comes over MQTT: one changing command at a time, every one answered, nothing run twice.

A `cmd/...` is answered by a reply. A `set/...` that succeeds is answered by the new settings document; one that fails
by the event `command_failed` and the old document again, so that whoever set the value sees it jump back.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import structlog
from pydantic import ValidationError

from hailod.clock import Clock
from hailod.config.model import CameraSettings, Settings
from hailod.control import transactions
from hailod.control.beside import Beside
from hailod.control.events import Events
from hailod.control.lease import clock_time
from hailod.control.privacy import with_privacy
from hailod.control.reports import COMMAND_QUEUE
from hailod.control.saver import SaverEvent
from hailod.control.transactions import (
    Adopt,
    Change,
    Refused,
    Succeeded,
    Transaction,
    TransactionEvent,
    Verdict,
)
from hailod.device.events import LinkEvent
from hailod.errors import CommandError
from hailod.mqtt import commands, payloads
from hailod.mqtt.commands import (
    DeviceAcquire,
    DeviceRelease,
    DeviceRestart,
    ModelSwap,
    Ping,
    Refusal,
    ReplyCache,
    Request,
    SetCamera,
    SetPrivacy,
)
from hailod.mqtt.messages import Inbound
from hailod.mqtt.outbox import Outbox
from hailod.mqtt.topics import Topics

log = structlog.get_logger(__name__)

ACCEPT_AFTER_S = 0.5
# Refusals of which the same command, sent again, may be free.
_NEVER_RAN = frozenset({"busy", "expired"})


class Desk(transactions.Desk, Protocol):
    """What commands may do and ask."""

    def tell_settings(self) -> None:
        """Publish the settings documents again."""


@dataclass(slots=True, eq=False)
class _UnderWay:
    request: Request
    transaction: Transaction
    began: float
    # Whether an event told that it was begun; another tells that it is done.
    announced: bool
    accepted: bool = False


class Commands:
    """The command queue. Used by the control thread."""

    def __init__(
        self,
        *,
        topics: Topics,
        clock: Clock,
        outbox: Outbox,
        events: Events,
        beside: Mapping[type[commands.Command], Beside] = MappingProxyType({}),
    ) -> None:
        """`beside` has what runs beside the queue, by the command that it carries out."""
        self._topics = topics
        self._clock = clock
        self._outbox = outbox
        self._events = events
        self._limit = commands.RateLimit(clock)
        self._cache = ReplyCache(clock)
        self._waiting: deque[Request] = deque()
        self._under_way: _UnderWay | None = None
        self._desk: Desk | None = None
        self._jobs = itertools.count(1)
        self._beside = beside

    def receive(self, inbound: Inbound, desk: Desk) -> None:
        """Take one message from outside: answer it, or queue it and answer it later."""
        self._desk = desk
        parsed = commands.parse(inbound, self._topics)
        if parsed is None:
            return
        if isinstance(parsed, Refusal) and parsed.clear:
            self._outbox.forget(parsed.origin.topic)
        try:
            self._limit.check()
        except CommandError as error:
            self._refuse(parsed.origin, error)
            return
        if isinstance(parsed, Refusal):
            self._refuse(parsed.origin, parsed.error)
            return
        if not self._cache.claim(parsed.origin):
            stored = self._cache.stored(parsed.origin)
            if stored is not None and parsed.origin.reply_to is not None:
                self._outbox.reply(parsed.origin.reply_to, stored)
            return
        if isinstance(parsed.command, Ping):
            self._succeed(parsed, parsed.command.args)
        elif type(parsed.command) in self._beside:
            self._begin_beside(parsed, desk)
        elif len(self._waiting) >= COMMAND_QUEUE:
            self._fail(parsed, CommandError("busy", f"{COMMAND_QUEUE} commands are waiting already", retryable=True))
        else:
            self._waiting.append(parsed)
            self._next()

    def device_event(self, event: LinkEvent) -> None:
        """Something happened to the device; the command under way may have waited for it."""
        self._tell(event)

    def saver_event(self, event: SaverEvent) -> None:
        """Something became of what is to be kept; the command under way may have waited for it."""
        self._tell(event)
        self._next()

    def beside_event(self, event: object) -> None:
        """Something happened that a command beside the queue may have waited for."""
        for aside in self._beside.values():
            aside.hear(event)

    def tick(self, now: float) -> None:
        """Deadlines, and the first answer to what takes long."""
        for aside in self._beside.values():
            aside.tick(now)
        under_way = self._under_way
        if under_way is None:
            self._next()
            return
        origin = under_way.request.origin
        if now > under_way.request.deadline:
            self._judge(under_way, under_way.transaction.expire())
        elif not under_way.accepted and now - under_way.began > ACCEPT_AFTER_S:
            under_way.accepted = True
            self._accept(origin)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _tell(self, event: TransactionEvent) -> None:
        under_way = self._under_way
        if under_way is not None:
            self._judge(under_way, under_way.transaction.on(event))

    def _next(self) -> None:
        """Start what waits, one after the other, until one takes longer."""
        while self._waiting and self._under_way is None:
            request = self._waiting.popleft()
            try:
                self._start(request)
            except CommandError as error:
                self._fail(request, error)

    def _begin_beside(self, request: Request, desk: Desk) -> None:
        try:
            self._admit(request, desk)
            self._beside[type(request.command)].begin(request, desk, _Answer(self, request))
        except CommandError as error:
            self._fail(request, error)

    def _accept(self, origin: commands.Origin) -> None:
        if origin.reply_to is not None:
            self._outbox.reply(origin.reply_to, commands.accepted(origin, f"j-{next(self._jobs)}", self._clock))

    def _start(self, request: Request) -> None:
        desk = self._desk
        assert desk is not None
        self._admit(request, desk)
        self._run(request, desk)

    def _admit(self, request: Request, desk: Desk) -> None:
        """Raises CommandError for a command whose time has passed, or that was meant for other settings."""
        if self._clock.monotonic() > request.deadline:
            raise CommandError("expired", "its deadline had passed before its turn came", retryable=True)
        if request.if_revision is not None and request.if_revision != desk.revision:
            raise CommandError("revision_conflict", f"the settings are at revision {desk.revision}", retryable=True)
        log.info("command", **_known(cmd=request.origin.name, camera=request.origin.camera, id=request.origin.id))

    def _run(self, request: Request, desk: Desk) -> None:
        match request.command:
            case SetCamera(camera=camera, key=key, value=value):
                self._set(request, desk, camera, key, value)
            case SetPrivacy(on=on, camera=camera):
                changed, leaf = with_privacy(desk.settings, camera, on=on)
                self._begin(request, Change(desk, Adopt(desk, changed, {}), leaf, persist=request.persist))
            case ModelSwap(model=model, camera=camera):
                self._swap(request, desk, model, camera)
            case DeviceRestart(mode=mode):
                self._refuse_if_lent(desk)
                self._carry_out(request, transactions.DeviceRestart(desk, mode), {"mode": mode})
            case DeviceRelease(for_s=for_s):
                self._carry_out(request, transactions.DeviceRelease(desk, for_s), {"for_s": for_s})
            case DeviceAcquire():
                self._carry_out(request, transactions.DeviceAcquire(desk), {})

    def _set(self, request: Request, desk: Desk, camera: str, key: str, value: bool | float) -> None:
        settings = desk.settings
        floor = settings.device.score_floor
        if key == "threshold" and value < floor:
            raise CommandError("out_of_range", f"the device itself drops scores below {floor:g}", field=key)
        changed = _with_camera(settings, camera, key, value)
        if request.dry_run:
            self._succeed(request, {"revision": desk.revision})
            return
        leaf = {f"cameras.{camera}.{key}": getattr(changed.cameras[camera], key)}
        self._begin(request, Change(desk, Adopt(desk, changed, {}), leaf, persist=request.persist))

    def _swap(self, request: Request, desk: Desk, model: str, camera: str | None) -> None:
        settings = desk.settings
        if model not in settings.models:
            known = sorted(settings.models)
            raise CommandError("model_not_found", f"no model '{model}'", field="args.model", allowed=known)
        if camera is not None:
            changed = _with_camera(settings, camera, "model", model)
        else:
            changed = settings.model_copy(update={"model": model})
        if changed != settings:
            # Whether a model runs shows on the device alone: without it nothing could be confirmed.
            self._refuse_if_lent(desk)
        answer: dict[str, object] = {"model": model, "restart_required": False}
        if request.dry_run:
            self._succeed(request, {**answer, "revision": desk.revision, "dry_run": True})
            return
        leaf = {"model" if camera is None else f"cameras.{camera}.model": model}
        if changed == settings:
            self._begin(request, Change(desk, Adopt(desk, settings, answer), leaf, persist=request.persist))
            return
        before = settings.model_of(camera) if camera is not None else settings.default_model
        self._events.node("model_changing", **{"from": before, "to": model, "camera": camera})
        swap = transactions.ModelSwap(desk, changed, model)
        self._begin(request, Change(desk, swap, leaf, persist=request.persist), announced=True)

    def _refuse_if_lent(self, desk: Desk) -> None:
        if desk.released:
            until = clock_time(desk.released_until, self._clock.wall())
            text = f"the device is lent to other programs until {until}; device.acquire takes it back"
            raise CommandError("device_unavailable", text, retryable=True)

    def _carry_out(self, request: Request, transaction: Transaction, rehearsed: dict[str, object]) -> None:
        """Begin the transaction, or with `dry_run` only say what would have been done."""
        if request.dry_run:
            self._succeed(request, {**rehearsed, "dry_run": True})
        else:
            self._begin(request, transaction)

    def _begin(self, request: Request, transaction: Transaction, *, announced: bool = False) -> None:
        self._under_way = _UnderWay(request, transaction, self._clock.monotonic(), announced)
        self._judge(self._under_way, transaction.begin())

    def _judge(self, under_way: _UnderWay, verdict: Verdict | None) -> None:
        if verdict is None or self._under_way is not under_way:
            return
        self._under_way = None
        request = under_way.request
        if isinstance(verdict, Succeeded):
            self._succeed(request, verdict.data)
            if under_way.announced and isinstance(request.command, ModelSwap):
                took = round((self._clock.monotonic() - request.origin.received) * 1000)
                to, camera = request.command.model, request.command.camera
                self._events.node("model_changed", to=to, camera=camera, took_ms=took, by="cmd")
        else:
            self._fail(request, _error(verdict), rolled_back=isinstance(request.command, ModelSwap))

    def _succeed(self, request: Request, data: object) -> None:
        reply = commands.ok(request.origin, data, self._clock)
        self._cache.store(request.origin, reply)
        if request.origin.reply_to is not None:
            self._outbox.reply(request.origin.reply_to, reply)

    def _fail(self, request: Request, error: CommandError, *, rolled_back: bool = False) -> None:
        log.warning("command failed", cmd=request.origin.name, code=error.code, reason=str(error))
        reply = commands.error(request.origin, error, self._clock)
        if rolled_back:
            reply = {**reply, "rolled_back": True}
        if error.code in _NEVER_RAN:
            self._cache.release(request.origin)
        else:
            self._cache.store(request.origin, reply)
        self._answer_failure(request.origin, error, reply)

    def _refuse(self, origin: commands.Origin, error: CommandError) -> None:
        log.warning("message refused", topic=origin.topic, code=error.code, reason=str(error))
        self._answer_failure(origin, error, commands.error(origin, error, self._clock))

    def _answer_failure(self, origin: commands.Origin, error: CommandError, reply: payloads.Payload) -> None:
        if origin.reply_to is not None:
            self._outbox.reply(origin.reply_to, reply)
        if origin.reply_to is None or error.code == "retained_ignored":
            self._events.node("command_failed", **commands.failure(origin, error))
        if origin.reply_to is None and self._desk is not None:
            self._desk.tell_settings()


class _Answer:
    """The answer to one command that runs beside the queue."""

    def __init__(self, owner: Commands, request: Request) -> None:
        self._owner = owner
        self._request = request

    def accept(self) -> None:
        self._owner._accept(self._request.origin)

    def give(self, verdict: Verdict) -> None:
        if isinstance(verdict, Succeeded):
            self._owner._succeed(self._request, verdict.data)
        else:
            self._owner._fail(self._request, _error(verdict))


def _known(**facts: str | None) -> dict[str, str]:
    return {key: value for key, value in facts.items() if value is not None}


def _error(refused: Refused) -> CommandError:
    return CommandError(refused.code, refused.message, field=refused.field, retryable=refused.retryable)


def _with_camera(settings: Settings, camera: str, key: str, value: object) -> Settings:
    """The settings with one value of one camera changed, validated; CommandError if it cannot be."""
    entry = settings.cameras.get(camera)
    if entry is None:
        raise CommandError("unknown_camera", f"no camera '{camera}'", allowed=sorted(settings.cameras))
    try:
        changed = CameraSettings.model_validate({**entry.model_dump(), key: value})
    except ValidationError as fault:
        raise CommandError("out_of_range", fault.errors(include_input=False)[0]["msg"], field=key) from None
    return settings.model_copy(update={"cameras": {**settings.cameras, camera: changed}})
