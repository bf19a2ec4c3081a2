"""The connection to the broker, kept by one thread: connects, announces, sends the outbox, hands over what comes in.

Each connection is a `Session` of its own, which knows no past; what outlives it, the outbox and the policy of when to
try again and in which protocol version, is here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import structlog

from hailod.clock import Clock
from hailod.config.model import MqttSettings
from hailod.mqtt.messages import Inbound, LinkState, Trouble
from hailod.mqtt.opening import Opening
from hailod.mqtt.outbox import Outbox
from hailod.mqtt.reconnect import End, ReconnectPolicy
from hailod.mqtt.session import OversizedPacket, Session
from hailod.mqtt.topics import Topics
from hailod.mqtt.trouble import (
    ANOTHER_CLIENT,
    NO_MQTT,
    PERHAPS_ANOTHER_CLIENT,
    flooded,
    oversized,
    peer_of,
    together,
    unanswered,
    unreachable,
)
from hailod.mqtt.wakeup import Wakeup
from hailod.worker import Worker

log = structlog.get_logger(__name__)

# Name servers, addresses and a TLS handshake one after the other; what takes longer is left behind.
_OPEN_TIMEOUT = 30.0
# A broker of 3.1.1 may wait for ever for the rest of a packet of version 5.
_CONNACK_TIMEOUT = 5.0
_REPEAT_WARNING = 300.0
# After a packet that nobody could want, nothing is subscribed for so long: a retained one would come again at once.
_DEAF_FOR = 300.0
_LONGEST_POLL = 1.0
_PARTING_POLL = 0.1
# Nothing that this thread does itself blocks longer than a poll.
_HEARTBEAT_BOUND = 10.0
# How much longer than its farewell may take the MQTT thread is waited for.
STOP_GRACE_S = 0.5
_VERSIONS = {5: "5", 4: "3.1.1"}


class MqttClient:
    """Keeps the node's connection to its broker for as long as it runs.

    `on_message` and `on_link` are called on the MQTT thread and must return at once; what they raise is logged and
    counted. `start` returns before there is a connection. `worker` is for the watchdog; `attempts` counts connections
    that were tried.
    """

    def __init__(
        self,
        settings: MqttSettings,
        topics: Topics,
        client_id: str,
        clock: Clock,
        outbox: Outbox,
        *,
        on_message: Callable[[Inbound], None],
        on_link: Callable[[LinkState], None],
        policy: ReconnectPolicy | None = None,
    ) -> None:
        self.worker = Worker("mqtt", self._run, clock, bound=_HEARTBEAT_BOUND, daemon=True)
        self._settings = settings
        self._topics = topics
        self._client_id = client_id
        self._clock = clock
        self._outbox = outbox
        self._on_message = on_message
        self._on_link = on_link
        self._policy = policy or ReconnectPolicy(settings.protocol)
        self._wakeup = Wakeup()
        self._farewell_until = 0.0
        self.attempts = 0
        self._connections = 0
        self._protocol: int | None = None
        self._callback_failures = 0
        self._quiet = False
        self._warned: dict[str, float] = {}
        self._told = LinkState(False)
        self._contest = ANOTHER_CLIENT
        self._left_behind: Opening | None = None
        # Why nothing is subscribed, and (monotonic) until when.
        self._deaf: Trouble | None = None
        self._deaf_until = 0.0

    def start(self) -> None:
        """Begin to connect, and never give up."""
        self._wakeup.open()
        self._outbox.attach(self._wakeup.set)
        self._outbox.state(self._topics.status, "online")
        self.worker.start()

    def stop(self, deadline_s: float) -> None:
        """Send what waits, say `offline`, disconnect; within `deadline_s` and STOP_GRACE_S, also during a look-up."""
        self._farewell_until = self._clock.monotonic() + deadline_s
        self.worker.stop()
        self._wakeup.set()
        if not self.worker.join(deadline_s + STOP_GRACE_S):
            log.warning("mqtt thread left behind", waited_s=deadline_s)
        self._outbox.attach(None)
        self._wakeup.close()

    @property
    def protocol(self) -> int | None:
        """The protocol level of the connection: 5, or 4 for MQTT 3.1.1; None without one."""
        return self._protocol

    @property
    def reconnects(self) -> int:
        """How often a connection was made again."""
        return max(0, self._connections - 1)

    @property
    def dropped(self) -> dict[str, int]:
        """What was lost since the start, by kind; `inbound` is what a failing handler lost."""
        lost = self._outbox.dropped
        return {**lost, "inbound": self._callback_failures} if self._callback_failures else lost

    def _run(self, worker: Worker) -> None:
        while not worker.stopping.is_set():
            session = self._attempt(worker)
            if worker.stopping.is_set():
                if session.accepted:
                    self._tell(LinkState(False))
                return
            delay = self._policy.ended(session.end, self._clock.monotonic())
            trouble = self._report(session, delay)
            if trouble is not None:
                self._tell(LinkState(False, trouble=trouble, retry_s=delay))
            until = self._clock.monotonic() + delay
            while (left := until - self._clock.monotonic()) > 0 and not worker.stopping.wait(min(left, _LONGEST_POLL)):
                worker.beat()

    def _attempt(self, worker: Worker) -> Session:
        """One connection from its first packet to its last."""
        worker.beat()
        self.attempts += 1
        session = Session(
            self._settings,
            self._topics.status,
            self._client_id,
            self._policy.protocol,
            self._clock,
            receive=self._receive,
            warn=self._warn,
        )
        if not self._open(worker, session):
            return session
        connected = False
        try:
            deadline = self._clock.monotonic() + _CONNACK_TIMEOUT
            while session.alive and not worker.stopping.is_set():
                worker.beat()
                if session.accepted and not connected:
                    connected = True
                    self._connected(session)
                if not session.accepted and self._clock.monotonic() > deadline:
                    return session
                session.turn(self._wakeup, self._serve(session) if connected else _LONGEST_POLL)
                if connected and session.alive:
                    self._tell(self._standing(session))
            if connected and worker.stopping.is_set():
                self._farewell(session)
        except (OSError, ValueError) as error:
            session.failed(unreachable(error, self._settings))
        except OversizedPacket as error:
            self._deaf = flooded(str(error), self._topics.base)
            self._deaf_until = self._clock.monotonic() + _DEAF_FOR
            session.failed(Trouble(str(error), self._deaf.fix))
        except Exception:
            # A packet that paho cannot take apart ends this connection, not this thread.
            log.log(_level(self._quiet), "mqtt connection failed", exc_info=True)
            session.failed(NO_MQTT)
        finally:
            session.close()
            if connected:
                self._protocol = None
                self._outbox.offline(session.unfinished)
        return session

    def _open(self, worker: Worker, session: Session) -> bool:
        """Have the session opened by a thread that can be left behind; says whether it is open."""
        if self._left_behind is not None and self._left_behind.alive:
            session.failed(unanswered(self._settings))
            return False
        self._left_behind = None
        opening = Opening(session, self._clock)
        opening.start()
        deadline = self._clock.monotonic() + _OPEN_TIMEOUT
        try:
            while not opening.wait(_PARTING_POLL):
                worker.beat()
                if worker.stopping.is_set() or self._clock.monotonic() > deadline:
                    self._left_behind = opening
                    opening.give_up()
                    session.failed(unanswered(self._settings))
                    return False
        except (OSError, ValueError) as error:
            session.failed(unreachable(error, self._settings))
            session.close()
            return False
        return True

    def _connected(self, session: Session) -> None:
        now = self._clock.monotonic()
        self._connections += 1
        self._quiet = False
        self._policy.connected(now)
        log.info("mqtt connected", broker=peer_of(self._settings), mqtt=_VERSIONS[session.protocol])
        if now >= self._deaf_until:
            self._listen(session)
        self._outbox.online(max_packet=session.max_packet)
        # Only now: who sees the connection may rely on it.
        self._protocol = session.protocol
        self._tell(self._standing(session))

    def _listen(self, session: Session) -> None:
        self._deaf = None
        topics = self._topics
        session.subscribe(
            topics.subscriptions if self._settings.allow_control else topics.subscriptions_without_control
        )

    def _standing(self, session: Session) -> LinkState:
        """What there is to say of a connection that stands."""
        now = self._clock.monotonic()
        if self._deaf is not None and now >= self._deaf_until:
            self._listen(session)
        return LinkState(
            True,
            session.protocol,
            trouble=self._contest if self._policy.contested(now) else None,
            limits=together(
                oversized(found, session.max_packet or 0) if (found := self._outbox.oversized) else None,
                self._deaf,
                *session.refusals.values(),
            ),
        )

    def _serve(self, session: Session) -> float:
        """Send what may go now; returns for how long there is nothing more to send."""
        while session.alive and (outgoing := self._outbox.take(room=session.room)) is not None:
            session.send(outgoing)
            self._settle(session)
        self._settle(session)
        wait = self._outbox.wait_s(room=session.room)
        return _LONGEST_POLL if wait is None else min(wait, _LONGEST_POLL)

    def _settle(self, session: Session) -> None:
        for outgoing, refused in session.finished():
            self._outbox.done(outgoing, refused=refused)

    def _farewell(self, session: Session) -> None:
        """Send what waits, then `offline`; then disconnect, so that the broker drops the will."""
        while self._parting(session) and not self._said_all(session):
            session.turn(self._wakeup, _PARTING_POLL)
        session.say_offline()
        while self._parting(session) and not session.idle:
            session.turn(self._wakeup, _PARTING_POLL)
            self._settle(session)
        complete = session.idle
        session.disconnect()
        while self._parting(session):
            session.turn(self._wakeup, _PARTING_POLL)
        log.info("mqtt disconnected", complete=complete)

    def _parting(self, session: Session) -> bool:
        return session.alive and self._clock.monotonic() < self._farewell_until

    def _said_all(self, session: Session) -> bool:
        self._serve(session)
        return session.room

    def _receive(self, message: Inbound) -> None:
        try:
            self._on_message(message)
        except Exception:
            self._callback_failures += 1
            log.exception("inbound message not handled")

    def _tell(self, state: LinkState) -> None:
        """Tell of the connection what is news."""
        if state == self._told:
            return
        self._told = state
        try:
            self._on_link(state)
        except Exception:
            self._callback_failures += 1
            log.exception("link state not handled")

    def _report(self, session: Session, delay: float) -> Trouble | None:
        """One warning for each new trouble, debug for its repetitions; returns what the trouble is, None for a
        mere change of version."""
        end, trouble = session.end, session.trouble
        if delay == 0:
            log.info(
                "mqtt broker does not speak this version", reason=trouble.text, next_protocol=self._policy.protocol
            )
            return None
        if end is End.CLOSED and self._policy.unstable:
            trouble = PERHAPS_ANOTHER_CLIENT
        details = {
            "broker": peer_of(self._settings),
            "reason": trouble.text,
            "advice": trouble.fix,
            "retry_s": round(delay, 1),
        }
        if trouble in (ANOTHER_CLIENT, PERHAPS_ANOTHER_CLIENT):
            self._contest = trouble
            self._warn("client id", "mqtt connection taken by another client", **details)
        elif end is End.REFUSED:
            self._warn(trouble.text, "mqtt connection refused", **details)
        else:
            said = "mqtt connection lost" if session.accepted else "mqtt cannot connect"
            log.log(_level(self._quiet), said, **details)
        self._quiet = True
        return trouble

    def _warn(self, subject: str, text: str, **details: object) -> None:
        """Warn of `subject`, at most once in five minutes."""
        now = self._clock.monotonic()
        last = self._warned.get(subject)
        if last is None or now - last >= _REPEAT_WARNING:
            self._warned[subject] = now
            log.warning(text, **details)


def _level(quiet: bool) -> int:
    """Of failures in a row only the first is a warning."""
    return logging.DEBUG if quiet else logging.WARNING
