"""Obeys what comes over MQTT: one changing command at a time, every one answered, nothing run twice.

A `cmd/...` is answered by a reply. A `set/...` that succeeds is answered by the new settings document; one that fails
by the event `command_failed` and the old document again, so that whoever set the value sees it jump back.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import structlog

from hailod.clock import Clock
from hailod.config.diff import Plan as Difference
from hailod.config.diff import apply, diff
from hailod.config.load import Loaded
from hailod.config.model import Reach
from hailod.control.beside import Beside
from hailod.control.events import Events
from hailod.control.handlers import HANDLERS, Answer, Desk, Handler, Proposal
from hailod.control.lease import clock_time
from hailod.control.reconfigure import Reconfigure
from hailod.control.refusals import Refusals
from hailod.control.reports import COMMAND_QUEUE
from hailod.control.saver import SaverEvent
from hailod.control.transactions import (
    After,
    Change,
    Refused,
    Succeeded,
    Tick,
    Transaction,
    TransactionEvent,
    Verdict,
)
from hailod.errors import CommandError
from hailod.mqtt import commands, payloads
from hailod.mqtt.commands import COMMANDS, Args, Origin, Refusal, ReplyCache, Request
from hailod.mqtt.messages import Inbound, ReplyTo
from hailod.mqtt.outbox import Outbox
from hailod.mqtt.topics import Topics

log = structlog.get_logger(__name__)

ACCEPT_AFTER_S = 0.5
_MAX_REASON = 1_000
# Refusals of which the same command, sent again, may be free.
_NEVER_RAN = frozenset({"busy", "expired"})


# Progress is told so often.
PROGRESS_S = 1.0
# A reload may have to read from a disk that has to wake up, and to load models.
RELOAD_S = 60.0


class Reload(Args):
    """The configuration files are read again, because of SIGHUP; nobody can ask for it over MQTT."""


@dataclass(slots=True, eq=False)
class _UnderWay:
    request: Request
    transaction: Transaction
    began: float
    # Of a swap: the models, for the event that tells of its end.
    swap: Mapping[str, object] | None
    # The name by which it was accepted, and when its progress was told last.
    job: str | None = None
    told: float = 0.0


class Commands:
    """The command queue. Used by the control thread."""

    def __init__(
        self,
        *,
        topics: Topics,
        clock: Clock,
        outbox: Outbox,
        events: Events,
        beside: Mapping[type[Args], Beside] = MappingProxyType({}),
    ) -> None:
        """`beside` has what runs beside the queue, by the command that it carries out."""
        self._handlers: dict[type[Args], Handler] = {**HANDLERS, Reload: self._reread}
        self._read: Callable[[], Loaded] | None = None
        self._reread_over: Callable[[], object] = bool
        self._topics = topics
        self._clock = clock
        self._outbox = outbox
        self._events = events
        self._refusals = Refusals(clock, events)
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
        spec = COMMANDS.get(parsed.origin.name)
        if type(parsed.command) in self._beside:
            self._begin_beside(parsed, desk)
        elif spec is not None and not spec.changes:
            self._answer(parsed, desk)
        elif len(self._waiting) >= COMMAND_QUEUE:
            self._fail(parsed, CommandError("busy", f"{COMMAND_QUEUE} commands are waiting already", retryable=True))
        else:
            self._waiting.append(parsed)
            self._next()

    def device_event(self, event: TransactionEvent) -> None:
        """Something happened; the command under way may have waited for it."""
        self._tell(event)

    def saver_event(self, event: SaverEvent) -> None:
        """Something became of what is to be kept; the command under way may have waited for it."""
        self._tell(event)
        self._next()

    def reload(self, desk: Desk, read: Callable[[], Loaded], *, over: Callable[[], object]) -> None:
        """Have the files read by `read` and take effect like any other change; `over` is called when that is done, or
        refused. One that waits already is all that is needed."""
        self._desk, self._read, self._reread_over = desk, read, over
        if not any(isinstance(request.command, Reload) for request in self._waiting):
            now = self._clock.monotonic()
            self._waiting.append(Request(Origin("reload", "", now, None), Reload(), now + RELOAD_S, persist=False))
        self._next()

    def beside_event(self, event: object) -> None:
        """Something happened that a command beside the queue may have waited for."""
        for aside in self._beside.values():
            aside.hear(event)

    def tick(self, now: float) -> None:
        """Deadlines, the first answer to what takes long, and refusals that wait to be told."""
        self._refusals.tick(now, self._desk)
        for aside in self._beside.values():
            aside.tick(now)
        under_way = self._under_way
        if under_way is None:
            self._next()
            return
        if now > under_way.request.deadline:
            self._judge(under_way, under_way.transaction.expire())
            return
        self._tell(Tick())
        if self._under_way is under_way:
            self._tell_progress(under_way, now)

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
            _log(request)
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
        _log(request)
        self._run(request, desk)

    def _admit(self, request: Request, desk: Desk) -> None:
        """Raises CommandError for a command whose time has passed, or that was meant for other settings."""
        if self._clock.monotonic() > request.deadline:
            raise CommandError("expired", "its deadline had passed before its turn came", retryable=True)
        if request.if_revision is not None and request.if_revision != desk.revision:
            raise CommandError("revision_conflict", f"the settings are at revision {desk.revision}", retryable=True)

    def _run(self, request: Request, desk: Desk) -> None:
        proposal = self._look(request, desk)
        if isinstance(proposal, Answer):
            self._give(request, proposal)
            return
        spec = COMMANDS.get(request.origin.name)
        if proposal.device or (spec is not None and spec.device):
            self._refuse_if_lent(desk)
        if request.dry_run:
            self._succeed(request, {**proposal.rehearsal, "dry_run": True})
            return
        transaction = proposal.transaction()
        if proposal.edit is not None:
            transaction = Change(desk, transaction, proposal.edit, persist=request.persist)
        if proposal.swap is not None:
            self._events.node("model_changing", **proposal.swap)
        self._under_way = under_way = _UnderWay(request, transaction, self._clock.monotonic(), proposal.swap)
        try:
            verdict = transaction.begin()
        except CommandError:
            self._under_way = None
            raise
        self._judge(under_way, verdict)

    def _answer(self, request: Request, desk: Desk) -> None:
        """A command that changes nothing waits for nobody."""
        try:
            self._admit(request, desk)
            answer = self._look(request, desk)
            assert isinstance(answer, Answer), request.origin.name
            self._give(request, answer)
        except CommandError as error:
            self._fail(request, error)

    def _give(self, request: Request, answer: Answer) -> None:
        if answer.act is None:
            self._succeed(request, answer.data)
        elif request.dry_run:
            self._succeed(request, {"dry_run": True})
        else:
            answer.act()
            self._succeed(request, answer.data)

    def _look(self, request: Request, desk: Desk) -> Answer | Proposal:
        handler = self._handlers.get(type(request.command))
        if handler is None:
            raise CommandError("unknown_command", f"'{request.origin.name}' is not offered by this node")
        return handler(request.command, desk)

    def _refuse_if_lent(self, desk: Desk) -> None:
        if desk.released:
            until = clock_time(desk.released_until, self._clock.wall())
            text = f"the device is lent to other programs until {until}; device.acquire takes it back"
            raise CommandError("device_unavailable", text, retryable=True)

    def _judge(self, under_way: _UnderWay, verdict: Verdict | None) -> None:
        if verdict is None or self._under_way is not under_way:
            return
        self._under_way = None
        request = under_way.request
        if isinstance(verdict, Succeeded):
            self._succeed(request, verdict.data)
            if under_way.swap is not None:
                took = round((self._clock.monotonic() - request.origin.received) * 1000)
                self._events.node("model_changed", **under_way.swap, took_ms=took, by="cmd")
        else:
            self._fail(request, _error(verdict), rolled_back=verdict.rolled_back)
        if under_way.job is not None:
            state = "ok" if isinstance(verdict, Succeeded) else "error"
            self._publish_progress(under_way, under_way.job, state, "done" if state == "ok" else "failed")

    def _tell_progress(self, under_way: _UnderWay, now: float) -> None:
        """The first answer to what takes long, and then how far it is."""
        origin = under_way.request.origin
        if origin.reply_to is None:
            return
        if under_way.job is None:
            if now - under_way.began <= ACCEPT_AFTER_S:
                return
            under_way.job = f"j-{next(self._jobs)}"
            self._outbox.reply(origin.reply_to, commands.accepted(origin, under_way.job, self._clock))
            under_way.told = now
        elif now - under_way.told >= PROGRESS_S:
            under_way.told = now
            self._publish_progress(under_way, under_way.job, "running", under_way.transaction.step)

    def _publish_progress(self, under_way: _UnderWay, job: str, state: str, step: str) -> None:
        document = commands.progress(under_way.request.origin, job, state, step, self._clock)
        self._outbox.reply(ReplyTo(self._topics.job(job)), document)

    def _reread(self, _: Reload, desk: Desk) -> Proposal:
        """SIGHUP: whole, and as far as a running daemon can follow."""
        read = self._read
        assert read is not None

        def then(result: object) -> Transaction:
            assert isinstance(result, Loaded)
            changes = diff(desk.settings, result.settings).changes
            pending = [".".join(change.path) for change in changes if change.reach in (Reach.BROKER, Reach.PROCESS)]
            feasible = Difference(tuple(c for c in changes if c.reach not in (Reach.BROKER, Reach.PROCESS)))
            told = {"restart_required": bool(pending), "pending": pending}
            return _Reloading(desk, Reconfigure(desk, apply(feasible, desk.settings)), result, told)

        return Proposal(lambda: After(desk, "reading the configuration files", read, then))

    def _succeed(self, request: Request, data: object) -> None:
        if isinstance(request.command, Reload):
            self._reloaded(data)
            return
        reply = commands.ok(request.origin, data, self._clock)
        self._cache.store(request.origin, reply)
        if request.origin.reply_to is not None:
            self._outbox.reply(request.origin.reply_to, reply)

    def _fail(self, request: Request, error: CommandError, *, rolled_back: bool = False) -> None:
        if isinstance(request.command, Reload):
            self._not_reloaded(error)
            return
        self._refusals.write("command failed", cmd=request.origin.name, code=error.code, reason=str(error))
        reply = commands.error(request.origin, error, self._clock)
        if rolled_back:
            reply = {**reply, "rolled_back": True}
        if error.code in _NEVER_RAN:
            self._cache.release(request.origin)
        else:
            self._cache.store(request.origin, reply)
        self._answer_failure(request.origin, error, reply)

    def _reloaded(self, data: object) -> None:
        told = data if isinstance(data, dict) else {}
        log.info("configuration read again", **told)
        if told.get("pending"):
            log.warning("a restart is needed for some of it", settings=told["pending"])
        self._events.node("config_reloaded", **told)
        self._reread_over()

    def _not_reloaded(self, error: CommandError) -> None:
        lines = str(error).splitlines()
        for line in lines:
            log.error("configuration rejected, the old one stays", reason=line)
        self._events.node("config_rejected", code=error.code, reason="; ".join(lines)[:_MAX_REASON])
        self._reread_over()

    def _refuse(self, origin: commands.Origin, error: CommandError) -> None:
        self._refusals.write("message refused", topic=origin.topic, code=error.code, reason=str(error))
        self._answer_failure(origin, error, commands.error(origin, error, self._clock))

    def _answer_failure(self, origin: commands.Origin, error: CommandError, reply: payloads.Payload) -> None:
        if origin.reply_to is not None:
            self._outbox.reply(origin.reply_to, reply)
        if origin.reply_to is None or error.code == "retained_ignored":
            self._refusals.tell(origin, error, self._desk)


class _Reloading:
    """The settings of files that were read again: when they run they are what `settings.reset` leads back to."""

    def __init__(self, desk: Desk, inner: Transaction, loaded: Loaded, answer: Mapping[str, object]) -> None:
        self._desk = desk
        self._inner = inner
        self._loaded = loaded
        self._answer = answer

    @property
    def step(self) -> str:
        return self._inner.step

    def begin(self) -> Verdict | None:
        return self._follow(self._inner.begin())

    def on(self, event: TransactionEvent) -> Verdict | None:
        return self._follow(self._inner.on(event))

    def expire(self) -> Verdict:
        return self._inner.expire()

    def _follow(self, verdict: Verdict | None) -> Verdict | None:
        if not isinstance(verdict, Succeeded):
            return verdict
        self._desk.reloaded(self._loaded)
        self._desk.show_settings()
        return Succeeded({**verdict.data, **self._answer})


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


def _log(request: Request) -> None:
    origin = request.origin
    log.info("command", **_known(cmd=origin.name, camera=origin.camera, id=origin.id))


def _known(**facts: str | None) -> dict[str, str]:
    return {key: value for key, value in facts.items() if value is not None}


def _error(refused: Refused) -> CommandError:
    return CommandError(refused.code, refused.message, field=refused.field, retryable=refused.retryable)
