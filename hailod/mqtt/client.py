"""The connection to the broker, kept by one thread: connects, announces, sends the outbox, hands over what comes in.

The only importer of paho. Its parts are used without its thread: every socket call is made here, so that nothing can
end unseen, nothing waits in a queue that is not ours, and each connection begins with a client that knows no past.
"""

from __future__ import annotations

import math
import select
import socket
import ssl
from collections.abc import Callable, Sequence

import structlog
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from hailod.clock import Clock
from hailod.config.model import MqttSettings
from hailod.mqtt.messages import Inbound, LinkState
from hailod.mqtt.outbox import Outbox, Outgoing
from hailod.mqtt.reconnect import MQTT_5, End, ReconnectPolicy
from hailod.mqtt.tls import TlsContext, tls_context
from hailod.mqtt.topics import Topics
from hailod.mqtt.wakeup import Wakeup
from hailod.worker import Worker

log = structlog.get_logger(__name__)

# One byte over what a command may have is enough to refuse it by name.
MAX_PAYLOAD = 8192 + 1
# What the broker is asked not to exceed (MQTT 5); larger messages never reach us.
_MAX_INBOUND_PACKET = 65_536
# Messages of QoS 1 on their way at once; what is behind them waits in the outbox, where it can still be superseded.
_WINDOW = 20
_CONNECT_TIMEOUT = 5.0
# A broker of 3.1.1 may wait for ever for the rest of a packet of version 5.
_CONNACK_TIMEOUT = 5.0
_REPEAT_WARNING = 300.0
_LONGEST_POLL = 1.0
_PARTING_POLL = 0.1
# A look-up of a name and the time-outs of several addresses can take so long; nothing else comes near.
_HEARTBEAT_BOUND = 90.0

_PROTOCOL_REFUSED = "Unsupported protocol version"
_TAKEN_OVER = "Session taken over"

_ADVICE = {
    "Bad user name or password": "check mqtt.username and mqtt.password, and the broker's password file",
    "Not authorized": "check mqtt.username and mqtt.password, and the broker's access list",
    "Client identifier not valid": "the broker wants other client ids; check its configuration",
    _TAKEN_OVER: "another client uses the same client id: give each node a name of its own",
}


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

    def start(self) -> None:
        """Begin to connect, and never give up."""
        self._wakeup.open()
        self._outbox.attach(self._wakeup.set)
        self._outbox.state(self._topics.status, "online")
        self.worker.start()

    def stop(self, deadline_s: float) -> None:
        """Send what waits, say `offline`, disconnect; within `deadline_s`. A thread that cannot be interrupted (in a
        name look-up) is left behind: it is a daemon."""
        self._farewell_until = self._clock.monotonic() + deadline_s
        self.worker.stop()
        self._wakeup.set()
        if not self.worker.join(deadline_s + 0.5):
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
            end, reason = self._attempt(worker)
            if worker.stopping.is_set():
                return
            delay = self._policy.ended(end, self._clock.monotonic())
            self._report(end, reason, delay)
            until = self._clock.monotonic() + delay
            while (left := until - self._clock.monotonic()) > 0 and not worker.stopping.wait(min(left, _LONGEST_POLL)):
                worker.beat()

    def _attempt(self, worker: Worker) -> tuple[End, str]:
        """One connection from its first packet to its last."""
        worker.beat()
        self.attempts += 1
        session = _Session(
            self._settings,
            self._topics.status,
            self._client_id,
            self._policy.protocol,
            receive=self._receive,
            warn=self._warn,
        )
        connected = False
        try:
            session.open()
            deadline = self._clock.monotonic() + _CONNACK_TIMEOUT
            while session.alive and not worker.stopping.is_set():
                worker.beat()
                if session.accepted and not connected:
                    connected = True
                    self._connected(session)
                if not session.accepted and self._clock.monotonic() > deadline:
                    return End.NO_ANSWER, "no answer from the broker"
                session.turn(self._wakeup, self._serve(session) if connected else _LONGEST_POLL)
            if connected and worker.stopping.is_set():
                self._farewell(session)
        except (OSError, ValueError) as error:
            session.failed(f"{type(error).__name__}: {error}")
        except Exception:
            # A packet that paho cannot take apart ends this connection, not this thread.
            log.exception("mqtt connection failed")
            session.failed("broken packet")
        finally:
            session.close()
            if connected:
                self._protocol = None
                self._outbox.offline(session.unfinished)
                self._tell(LinkState(False, reason=session.reason))
        return session.end, session.reason

    def _connected(self, session: _Session) -> None:
        self._connections += 1
        self._protocol = session.protocol
        self._quiet = False
        self._policy.connected(self._clock.monotonic())
        log.info("mqtt connected", host=self._settings.host, protocol=session.protocol, reconnects=self.reconnects)
        if self._settings.allow_control:
            session.subscribe(self._topics.subscriptions)
        self._outbox.online(max_packet=session.max_packet)
        self._tell(LinkState(True, protocol=session.protocol))

    def _serve(self, session: _Session) -> float:
        """Send what may go now; returns for how long there is nothing more to send."""
        while session.alive and (outgoing := self._outbox.take(room=session.room)) is not None:
            session.send(outgoing)
            self._settle(session)
        self._settle(session)
        wait = self._outbox.wait_s(room=session.room)
        return _LONGEST_POLL if wait is None else min(wait, _LONGEST_POLL)

    def _settle(self, session: _Session) -> None:
        for outgoing, refused in session.finished():
            self._outbox.done(outgoing, refused=refused)

    def _farewell(self, session: _Session) -> None:
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

    def _parting(self, session: _Session) -> bool:
        return session.alive and self._clock.monotonic() < self._farewell_until

    def _said_all(self, session: _Session) -> bool:
        self._serve(session)
        return session.room

    def _receive(self, message: MQTTMessage) -> None:
        try:
            properties = message.properties
            self._on_message(
                Inbound(
                    topic=message.topic,
                    payload=bytes(message.payload[:MAX_PAYLOAD]),
                    retain=message.retain,
                    received=self._clock.monotonic(),
                    response_topic=getattr(properties, "ResponseTopic", None),
                    correlation=getattr(properties, "CorrelationData", None),
                    expiry=getattr(properties, "MessageExpiryInterval", None),
                )
            )
        except Exception:
            self._callback_failures += 1
            log.exception("inbound message not handled")

    def _tell(self, state: LinkState) -> None:
        try:
            self._on_link(state)
        except Exception:
            self._callback_failures += 1
            log.exception("link state not handled")

    def _report(self, end: End, reason: str, delay: float) -> None:
        """One warning for each new trouble, debug for its repetitions."""
        details = {"host": self._settings.host, "reason": reason, "retry_s": round(delay, 1)}
        if end is End.LOST and self._policy.unstable:
            self._warn(
                _TAKEN_OVER, "mqtt connection keeps breaking", **details, advice=f"perhaps {_ADVICE[_TAKEN_OVER]}"
            )
        elif reason in _ADVICE:
            self._warn(reason, "mqtt connection refused", **details, advice=_ADVICE[reason])
        elif delay == 0:
            log.info("mqtt broker does not speak this version", reason=reason, next_protocol=self._policy.protocol)
            return
        elif self._quiet:
            log.debug("mqtt still not connected", **details)
        else:
            log.warning("mqtt connection lost" if end is End.LOST else "mqtt cannot connect", **details)
        self._quiet = True

    def _warn(self, subject: str, text: str, **details: object) -> None:
        """Warn of `subject`, at most once in five minutes."""
        now = self._clock.monotonic()
        last = self._warned.get(subject)
        if last is None or now - last >= _REPEAT_WARNING:
            self._warned[subject] = now
            log.warning(text, **details)


class _Session:
    """One connection: a paho client without its thread, and the messages it took on.

    `end` and `reason` say how it ended. Every method is called on the MQTT thread.
    """

    def __init__(
        self,
        settings: MqttSettings,
        status_topic: str,
        client_id: str,
        protocol: int,
        *,
        receive: Callable[[MQTTMessage], None],
        warn: Callable[..., None],
    ) -> None:
        self.protocol = protocol
        self.accepted = False
        self.end = End.NO_ANSWER
        self.reason = "closed without an answer"
        self.max_packet: int | None = None
        self._settings = settings
        self._status = status_topic
        self._warn = warn
        self._window = _WINDOW
        self._retains = True
        self._max_qos = 1
        self._in_flight: dict[int, Outgoing] = {}
        self._finished: list[tuple[Outgoing, bool]] = []
        self._farewell: int | None = None
        self._tls: TlsContext | None = None
        self._client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=MQTTProtocolVersion(protocol),
            reconnect_on_failure=False,
        )
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_publish = self._on_publish
        self._client.on_message = lambda _client, _data, message: receive(message)

    def open(self) -> None:
        """Look up, connect, shake hands, send CONNECT; blocks for seconds. Raises OSError or ValueError."""
        settings = self._settings
        self._client.connect_timeout = _CONNECT_TIMEOUT
        self._client.max_inflight_messages_set(_WINDOW)
        self._client.max_queued_messages_set(200)
        self._client.will_set(self._status, "offline", qos=1, retain=True)
        if settings.username is not None:
            password = settings.password.get_secret_value() if settings.password is not None else None
            self._client.username_pw_set(settings.username, password)
        if settings.tls is not None:
            self._tls = tls_context(settings.tls)
            self._client.tls_set_context(self._tls)
            self._client.tls_insecure_set(settings.tls.insecure)
        limits = None
        if self.protocol == MQTT_5:
            limits = _properties(PacketTypes.CONNECT, MaximumPacketSize=_MAX_INBOUND_PACKET)
        self._client.connect(settings.host, settings.effective_port, settings.keepalive, properties=limits)
        sock = self._client.socket()
        if isinstance(sock, socket.socket):
            # Otherwise a reply waits behind an acknowledgement for the peer's delayed ACK: 40 ms.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @property
    def alive(self) -> bool:
        return self._client.socket() is not None

    @property
    def room(self) -> bool:
        """Whether one more message may wait for the broker's acknowledgement."""
        return sum(outgoing.qos > 0 for outgoing in self._in_flight.values()) < self._window

    @property
    def idle(self) -> bool:
        """Whether everything that was sent, `offline` included, is acknowledged."""
        return not self._in_flight and self._farewell is None

    @property
    def unfinished(self) -> list[Outgoing]:
        return list(self._in_flight.values())

    def finished(self) -> list[tuple[Outgoing, bool]]:
        """What came to its end since the last call, and whether the broker refused it."""
        finished, self._finished = self._finished, []
        return finished

    def subscribe(self, filters: Sequence[str]) -> None:
        """Listen to live messages only, marked when they are retained, and never to our own (as far as 3.1.1 can)."""
        if self.protocol == MQTT_5:
            options = SubscribeOptions(qos=1, noLocal=True, retainAsPublished=True, retainHandling=2)
            self._client.subscribe([(topic, options) for topic in filters])
        else:
            self._client.subscribe([(topic, 1) for topic in filters])

    def send(self, outgoing: Outgoing) -> None:
        properties = None
        if self.protocol == MQTT_5 and outgoing.correlation is not None:
            properties = _properties(PacketTypes.PUBLISH, CorrelationData=outgoing.correlation)
        qos, retain = min(outgoing.qos, self._max_qos), outgoing.retain and self._retains
        info = self._client.publish(outgoing.topic, outgoing.payload, qos, retain, properties)
        if info.rc is MQTTErrorCode.MQTT_ERR_SUCCESS and info.is_published():
            self._finished.append((outgoing, False))
        else:
            self._in_flight[info.mid] = outgoing

    def say_offline(self) -> None:
        info = self._client.publish(self._status, "offline", min(1, self._max_qos), retain=self._retains)
        if info.rc is not MQTTErrorCode.MQTT_ERR_SUCCESS or not info.is_published():
            self._farewell = info.mid

    def disconnect(self) -> None:
        self._client.disconnect()

    def turn(self, wakeup: Wakeup, timeout: float) -> None:
        """Wait up to `timeout` seconds for the socket or `wakeup`, then read, write and keep alive what is due."""
        sock = self._client.socket()
        if sock is None:
            return
        buffered = isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
        poll = select.poll()
        poll.register(sock.fileno(), select.POLLIN | (select.POLLOUT if self._client.want_write() else 0))
        poll.register(wakeup, select.POLLIN)
        ready = dict(poll.poll(0 if buffered else math.ceil(timeout * 1000)))
        if wakeup.fileno() in ready:
            wakeup.clear()
        if buffered or ready.get(sock.fileno(), 0) & ~select.POLLOUT:
            self._client.loop_read()
        if self._client.want_write():
            self._client.loop_write()
        self._client.loop_misc()

    def failed(self, reason: str) -> None:
        self.end = End.LOST if self.accepted else End.UNREACHABLE
        self.reason = reason

    def close(self) -> None:
        """Cut the connection if it still stands; the broker then publishes the will."""
        sock = self._client.socket()
        if sock is not None:
            sock.close()
        if self._tls is not None:
            self._tls.close_last()

    def _on_connect(
        self, _client: Client, _data: object, _flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self.end = End.PROTOCOL_REFUSED if str(reason) == _PROTOCOL_REFUSED else End.REFUSED
            self.reason = str(reason)
            return
        self.accepted = True
        self.max_packet = getattr(properties, "MaximumPacketSize", None)
        self._window = min(_WINDOW, getattr(properties, "ReceiveMaximum", _WINDOW))
        self._retains = bool(getattr(properties, "RetainAvailable", 1))
        self._max_qos = getattr(properties, "MaximumQoS", 1)

    def _on_disconnect(
        self, _client: Client, _data: object, flags: DisconnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if self.accepted:
            self.end = End.TAKEN_OVER if str(reason) == _TAKEN_OVER else End.LOST
            self.reason = str(reason) if flags.is_disconnect_packet_from_server else f"connection broken ({reason})"

    def _on_subscribe(
        self, _client: Client, _data: object, _mid: int, reasons: list[ReasonCode], _properties: Properties | None
    ) -> None:
        refused = [str(reason) for reason in reasons if reason.is_failure]
        if refused:
            self._warn("subscribe", "mqtt subscription refused: no remote control", reason=refused[0])

    def _on_publish(
        self, _client: Client, _data: object, mid: int, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if mid == self._farewell:
            self._farewell = None
        outgoing = self._in_flight.pop(mid, None)
        if outgoing is not None:
            self._finished.append((outgoing, reason.is_failure))
            if reason.is_failure:
                self._warn(f"publish: {reason}", "mqtt message refused", topic=outgoing.topic, reason=str(reason))


def _properties(packet: int, **values: object) -> Properties:
    properties = Properties(packet)  # type: ignore[no-untyped-call]
    for key, value in values.items():
        setattr(properties, key, value)
    return properties
