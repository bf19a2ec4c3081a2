"""A client that asks: gives a node one command and waits for its reply, for `hailod ctl`.

Everything happens on the calling thread. Of MQTT 5 the reply comes to a topic of this caller alone; with 3.1.1 it comes
to the node's own reply topic and is told from those of others by its id.
"""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from hailod.clock import Clock
from hailod.config.model import MqttSettings
from hailod.errors import HailodError
from hailod.mqtt import strict_json
from hailod.mqtt.commands import LONGEST_DEADLINE, MAX_BYTES
from hailod.mqtt.payloads import Payload
from hailod.mqtt.tls import TlsContext, tls_context
from hailod.mqtt.topics import CLIENT_REPLIES, ROOT, Topics
from hailod.mqtt.trouble import peer_of, refusal_fix, unreachable

CONNECT_TIMEOUT = 5.0
ANSWER_TIMEOUT = 5.0
# What the broker retains comes right after it has taken a subscription.
RETAINED_TIMEOUT = 0.3
# The node answers at its deadline at the latest; its answer needs a moment.
GRACE = 1.0

_POLL = 0.2
_MAX_DEPTH = 16
_UNSUPPORTED_PROTOCOL = 0x84
_NOT_AUTHORISED = 0x87
_NOBODY_LISTENS = 0x10
_MOST_NODES = 10
_PROTOCOLS = {
    "auto": (MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311),
    "5": (MQTTProtocolVersion.MQTTv5,),
    "3.1.1": (MQTTProtocolVersion.MQTTv311,),
}


class BrokerTrouble(HailodError):
    """The broker cannot be reached, or does not let us; `fix` is what to do."""

    def __init__(self, text: str, fix: str) -> None:
        super().__init__(text)
        self.fix = fix


class NoAnswer(HailodError):
    """The broker was reached, and the node did not answer; the message says what is known of it."""


class Visitor:
    """Somebody who wants something of the broker about `node`, for as long as it takes.

    A context manager: entering connects (BrokerTrouble), leaving disconnects.
    """

    def __init__(self, settings: MqttSettings, node: str, clock: Clock) -> None:
        self._settings = settings
        self._topics = Topics(node)
        self._clock = clock
        self._session: Session | None = None

    def __enter__(self) -> Self:
        self._session = connect(self._settings, self._clock)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def _leave(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    @property
    def _connected(self) -> Session:
        assert self._session is not None, "it is used as a context manager"
        return self._session


class Caller(Visitor):
    """Gives commands to `node` on behalf of a person or script."""

    def call(
        self,
        name: str,
        args: object,
        *,
        timeout: float,
        dry_run: bool = False,
        on_accepted: Callable[[str], None] = lambda _: None,
    ) -> Payload:
        """Give the command and return the final reply, which may be an error; `on_accepted` hears of the job that a
        long one becomes. Raises NoAnswer after `timeout` seconds (and a little), BrokerTrouble and ValueError, for a
        command that is too large."""
        session, node = self._connected, self._topics.node
        identity = secrets.token_hex(8)
        request: dict[str, object] = {"id": identity, "timeout_s": min(timeout, LONGEST_DEADLINE)}
        if args is not None:
            request["args"] = args
        if dry_run:
            request["dry_run"] = True
        payload = json.dumps(request, separators=(",", ":")).encode()
        if len(payload) > MAX_BYTES:
            raise ValueError(f"a command has at most {MAX_BYTES} bytes")
        reply_to = f"{CLIENT_REPLIES}{identity}" if session.speaks_5 else self._topics.reply(name)
        session.subscribe(self._topics.status, reply_to)
        session.wait(lambda: self._topics.status in session.retained, RETAINED_TIMEOUT)
        if session.retained.get(self._topics.status) == b"offline":
            raise NoAnswer(f"node {node} is offline; nothing was sent (broker {peer_of(self._settings)} was reached)")
        session.publish(f"{self._topics.base}/cmd/{name}", payload, reply_to, identity.encode())
        replies = _Replies(session, reply_to, identity, on_accepted)
        session.wait(lambda: replies.final is not None or session.unheard, timeout + GRACE)
        if replies.final is None:
            raise NoAnswer(self._explain(session, timeout))
        return replies.final

    def _explain(self, session: Session, timeout: float) -> str:
        """What is known of a node that does not answer."""
        node, peer = self._topics.node, peer_of(self._settings)
        status = session.retained.get(self._topics.status)
        if status == b"online" and session.unheard:
            return (
                f"node {node} takes no commands (mqtt.allow_control is off, or the broker's access list hides them "
                f"from it); broker {peer} was reached and the node is online"
            )
        if status is not None:
            state = status.decode(errors="replace")[:16]
            return f"no answer within {timeout:g} s: broker {peer} was reached and node {node} is {state}"
        everyones = f"{ROOT}/+/status"
        session.subscribe(everyones)
        session.wait(lambda: False, RETAINED_TIMEOUT)
        nodes = sorted(topic.split("/")[1] for topic in session.retained if topic.endswith("/status"))
        known = f"it knows {', '.join(nodes[:_MOST_NODES])}" if nodes else "it knows no node at all"
        return f"no node {node} has ever reported to broker {peer}, which was reached; {known}"


def connect(settings: MqttSettings, clock: Clock) -> Session:
    """A connection in the newest protocol version that the broker speaks. Raises BrokerTrouble."""
    *preferred, last = _PROTOCOLS[settings.protocol]
    for protocol in preferred:
        session = Session(settings, protocol, clock)
        if session.open():
            return session
    session = Session(settings, last, clock)
    session.open()
    return session


class _Replies:
    """Takes the replies of one request out of what comes in."""

    def __init__(self, session: Session, topic: str, identity: str, on_accepted: Callable[[str], None]) -> None:
        self.final: Payload | None = None
        self._topic = topic
        self._identity = identity
        self._on_accepted = on_accepted
        session.on_message = self._take

    def _take(self, topic: str, payload: bytes, correlation: bytes | None) -> None:
        if topic != self._topic:
            return
        try:
            reply = strict_json.load_object(payload, max_depth=_MAX_DEPTH)
        except ValueError:
            # Whatever it is, it is not the answer; the deadline stands.
            return
        if correlation != self._identity.encode() and reply.get("id") != self._identity:
            return
        if reply.get("status") == "accepted":
            self._on_accepted(str(reply.get("job", "")))
        else:
            self.final = reply


class Session:
    """One connection with one protocol version. `retained` is what the broker kept, by topic; `unheard` says that it
    has nobody to give our message to."""

    def __init__(self, settings: MqttSettings, protocol: MQTTProtocolVersion, clock: Clock) -> None:
        self.speaks_5 = protocol is MQTTProtocolVersion.MQTTv5
        self.retained: dict[str, bytes] = {}
        self.unheard = False
        self.unacknowledged = 0
        self.on_message: Callable[[str, bytes, bytes | None], None] = lambda *_: None
        self._settings = settings
        self._clock = clock
        self._peer = peer_of(settings)
        self._answer: ReasonCode | None = None
        self._granted: list[ReasonCode] = []
        self._forbidden = False
        self._tls: TlsContext | None = None
        self._client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"hailod-ctl-{secrets.token_hex(4)}",
            protocol=protocol,
            reconnect_on_failure=False,
        )
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_publish = self._on_publish
        self._client.on_message = self._on_message

    def open(self) -> bool:
        """Connect and log in; False: the broker does not speak this version, try another. Raises BrokerTrouble."""
        settings = self._settings
        self._client.connect_timeout = CONNECT_TIMEOUT
        if settings.username is not None or settings.password is not None:
            password = settings.password.get_secret_value() if settings.password is not None else None
            self._client.username_pw_set(settings.username or "", password)
        try:
            if settings.tls is not None:
                self._tls = tls_context(settings.tls)
                self._client.tls_set_context(self._tls)
                self._client.tls_insecure_set(settings.tls.insecure)
            self._client.connect(settings.host, settings.effective_port, keepalive=settings.keepalive)
            sock = self._client.socket()
            if isinstance(sock, socket.socket):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except (OSError, ValueError) as error:
            self.close()
            raise BrokerTrouble(*unreachable(error, settings)) from None
        standing = self._turn(lambda: self._answer is not None, ANSWER_TIMEOUT)
        if self._answer is not None and not self._answer.is_failure:
            return True
        self.close()
        if self._answer is None:
            # A broker of 3.1.1 may also wait for ever for the rest of a packet of version 5, or hang up on it.
            if self.speaks_5 and settings.protocol == "auto":
                return False
            how = "does not answer as" if standing else "hangs up on us instead of answering as"
            raise BrokerTrouble(f"{self._peer} {how} an MQTT broker", "see host and port: 1883 is plain, 8883 TLS")
        if self._answer.value == _UNSUPPORTED_PROTOCOL and self.speaks_5 and settings.protocol == "auto":
            return False
        raise BrokerTrouble(f"{self._peer} refuses us: {str(self._answer).lower()}", refusal_fix(self._answer.value))

    def close(self) -> None:
        """Disconnect; idempotent."""
        self._client.disconnect()
        if self._tls is not None:
            self._tls.close_last()

    def subscribe(self, *filters: str) -> None:
        """Listen, and be told what is retained. Raises BrokerTrouble."""
        self._granted = []
        self._client.subscribe([(topic, 1) for topic in filters])
        self.wait(lambda: bool(self._granted), ANSWER_TIMEOUT)
        if not self._granted or any(code.is_failure for code in self._granted):
            raise BrokerTrouble(
                f"{self._peer} does not let this user hear the node", f"let it read {filters[-1]} in the access list"
            )

    def publish(self, topic: str, payload: bytes, reply_to: str, correlation: bytes) -> None:
        properties = None
        if self.speaks_5:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.ResponseTopic = reply_to
            properties.CorrelationData = correlation
        self.unacknowledged += 1
        self._client.publish(topic, payload, 1, retain=False, properties=properties)

    def clear(self, topics: Iterable[str]) -> None:
        """Have the broker retain nothing of these; `unacknowledged` says of how many it has not said that it does."""
        for topic in topics:
            self.unacknowledged += 1
            self._client.publish(topic, b"", 1, retain=True)

    def wait(self, over: Callable[[], bool], timeout: float, *, wish: str = "give commands") -> None:
        """Serve the connection until `over`, for `timeout` seconds at most. Raises BrokerTrouble when it breaks, or the
        broker does not let us do what `wish` says."""
        if not self._turn(over, timeout):
            raise BrokerTrouble(f"{self._peer} broke the connection", "see the broker's log")
        if self._forbidden:
            where = f"{ROOT}/+/cmd/+" if wish == "give commands" else f"{ROOT}/# and the discovery topics"
            raise BrokerTrouble(
                f"{self._peer} does not let this user {wish}", f"let it write {where} in the access list"
            )

    def _turn(self, over: Callable[[], bool], timeout: float) -> bool:
        """Whether the connection stands."""
        deadline = self._clock.monotonic() + timeout
        while not over() and not self._forbidden and (left := deadline - self._clock.monotonic()) > 0:
            if self._client.loop(timeout=min(left, _POLL)) is not MQTTErrorCode.MQTT_ERR_SUCCESS:
                return over()
        return True

    def _on_connect(
        self, _client: Client, _data: object, _flags: ConnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        self._answer = reason

    def _on_subscribe(
        self, _client: Client, _data: object, _mid: int, reasons: list[ReasonCode], _properties: Properties | None
    ) -> None:
        self._granted = reasons

    def _on_publish(
        self, _client: Client, _data: object, _mid: int, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        self.unheard = reason.value == _NOBODY_LISTENS
        self.unacknowledged -= 1
        self._forbidden = reason.value == _NOT_AUTHORISED

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        if message.retain:
            self.retained[message.topic] = bytes(message.payload)
        else:
            self.on_message(message.topic, bytes(message.payload), getattr(message.properties, "CorrelationData", None))
