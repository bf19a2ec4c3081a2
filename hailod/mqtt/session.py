"""One connection to the broker, from its first packet to its last: paho's parts without paho's thread.

The only importer of paho beside the probe. Every socket call is made by whoever calls `turn`, so that nothing can end
unseen and nothing waits in a queue that is not ours.
"""

from __future__ import annotations

import math
import select
import socket
import ssl
from collections.abc import Callable, Sequence

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from hailod.clock import Clock
from hailod.config.model import MqttSettings
from hailod.mqtt.messages import Inbound, Trouble
from hailod.mqtt.outbox import Outgoing
from hailod.mqtt.reconnect import MQTT_5, End
from hailod.mqtt.tls import TlsContext, tls_context
from hailod.mqtt.trouble import (
    CLOSED,
    GONE_SILENT,
    NO_MQTT,
    SESSION_TAKEN_OVER,
    SILENT,
    UNSUPPORTED_PROTOCOL,
    hung_up,
    refused,
    thrown_out,
    unpublished,
    unsubscribed,
)
from hailod.mqtt.wakeup import Wakeup

# One byte over what a command may have is enough to refuse it by name.
MAX_PAYLOAD = 8192 + 1
# What the broker is asked not to exceed (MQTT 5); larger messages never reach us.
_MAX_INBOUND_PACKET = 65_536
# What is read at all: a broker of 3.1.1 cannot be asked, and may hold a retained message of 256 MB for us.
MAX_READ = 1_048_576
# Messages of QoS 1 on their way at once; what is behind them waits in the outbox, where it can still be superseded.
_WINDOW = 20
_CONNECT_TIMEOUT = 5.0
# What paho says when nothing came within twice the keep-alive time.
_KEEP_ALIVE_OVER = 0x8D


class OversizedPacket(Exception):
    """The broker began to send a packet of `size` bytes, more than is ever read."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the broker sent a packet of {size} bytes")


class _Client(Client):
    """paho's client with two of its holes closed; both touch what paho keeps to itself, and a test holds each."""

    def _sock_recv(self, bufsize: int) -> bytes:
        # paho asks for the whole rest of a packet, and collects it in memory however large it is.
        if bufsize > MAX_READ:
            raise OversizedPacket(bufsize)
        return super()._sock_recv(bufsize)

    def disconnect_code(self) -> int:
        """The reason code of the DISCONNECT that is being handled: paho 2.1 reads none from a packet without
        properties, which is what mosquitto sends."""
        packet = self._in_packet["packet"]
        return packet[0] if packet else 0


class Session:
    """One connection: a paho client without its thread, and the messages it took on.

    `end` and `trouble` say how it ended, `refusals` what the broker did not let us do meanwhile. `open` may be called
    on a thread of its own that ends before the session is used; everything else, callbacks too, is for the MQTT thread.
    `receive` must not raise.
    """

    def __init__(
        self,
        settings: MqttSettings,
        status_topic: str,
        client_id: str,
        protocol: int,
        clock: Clock,
        *,
        receive: Callable[[Inbound], None],
        warn: Callable[..., None],
    ) -> None:
        self.protocol = protocol
        self.accepted = False
        self.end = End.NO_ANSWER
        self.trouble = SILENT
        self.refusals: dict[str, Trouble] = {}
        self.max_packet: int | None = None
        self._settings = settings
        self._status = status_topic
        self._clock = clock
        self._receive = receive
        self._warn = warn
        self._window = _WINDOW
        self._retains = True
        self._max_qos = 1
        self._in_flight: dict[int, Outgoing] = {}
        self._finished: list[tuple[Outgoing, bool]] = []
        self._farewell: int | None = None
        self._tls: TlsContext | None = None
        self._client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=MQTTProtocolVersion(protocol),
            reconnect_on_failure=False,
        )
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_publish = self._on_publish
        self._client.on_message = self._on_message

    def open(self) -> None:
        """Look up, connect, shake hands, send CONNECT. Blocks for seconds, in a name look-up perhaps for ever.

        Raises OSError or ValueError.
        """
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
        given: dict[str, object] = {}
        if outgoing.correlation is not None:
            given["CorrelationData"] = outgoing.correlation
        if outgoing.expiry is not None:
            given["MessageExpiryInterval"] = outgoing.expiry
        properties = _properties(PacketTypes.PUBLISH, **given) if given and self.protocol == MQTT_5 else None
        # A broker of 3.1.1 never forgets.
        lasting = outgoing.expiry is None or self.protocol == MQTT_5
        qos, retain = min(outgoing.qos, self._max_qos), outgoing.retain and self._retains and lasting
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
            self._read()
        if self._client.want_write():
            self._client.loop_write()
        self._client.loop_misc()

    def _read(self) -> None:
        if self._client.loop_read() is MQTTErrorCode.MQTT_ERR_PROTOCOL and self.end in (End.NO_ANSWER, End.CLOSED):
            self.trouble = NO_MQTT
            self.end = End.LOST if self.accepted else End.NO_ANSWER

    def failed(self, trouble: Trouble) -> None:
        """The connection ended, or never was, by an error on our side of it."""
        self.end = End.LOST if self.accepted else End.UNREACHABLE
        self.trouble = trouble

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
            self.end = End.PROTOCOL_REFUSED if reason.value == UNSUPPORTED_PROTOCOL else End.REFUSED
            self.trouble = refused(reason.value, str(reason), self._settings)
            return
        self.accepted = True
        self.max_packet = getattr(properties, "MaximumPacketSize", None)
        self._window = min(_WINDOW, getattr(properties, "ReceiveMaximum", _WINDOW))
        self._retains = bool(getattr(properties, "RetainAvailable", 1))
        self._max_qos = getattr(properties, "MaximumQoS", 1)

    def _on_disconnect(
        self, _client: Client, _data: object, flags: DisconnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if not self.accepted:
            if self.trouble == SILENT:
                self.trouble = hung_up(self._settings)
            return
        if flags.is_disconnect_packet_from_server:
            code = self._client.disconnect_code()
            if code == 0:
                self.end, self.trouble = End.CLOSED, CLOSED
            else:
                self.end = End.TAKEN_OVER if code == SESSION_TAKEN_OVER else End.LOST
                self.trouble = thrown_out(code, _said(code))
        elif reason.value == _KEEP_ALIVE_OVER:
            self.end, self.trouble = End.LOST, GONE_SILENT
        else:
            self.end, self.trouble = End.CLOSED, CLOSED

    def _on_subscribe(
        self, _client: Client, _data: object, _mid: int, reasons: list[ReasonCode], _properties: Properties | None
    ) -> None:
        refusals = [str(reason) for reason in reasons if reason.is_failure]
        if refusals:
            self.refusals["subscribe"] = unsubscribed(refusals[0])
            self._warn("subscribe", "mqtt subscription refused: no remote control", reason=refusals[0])

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        properties = message.properties
        self._receive(
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

    def _on_publish(
        self, _client: Client, _data: object, mid: int, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if mid == self._farewell:
            self._farewell = None
        outgoing = self._in_flight.pop(mid, None)
        if outgoing is not None:
            self._finished.append((outgoing, reason.is_failure))
            if reason.is_failure:
                self.refusals["publish"] = unpublished(str(reason))
                self._warn(f"publish: {reason}", "mqtt message refused", topic=outgoing.topic, reason=str(reason))


def _said(code: int) -> str:
    """The name of a DISCONNECT's reason code."""
    try:
        return str(ReasonCode(PacketTypes.DISCONNECT, identifier=code))
    except KeyError:
        return f"code {code:#x}"


def _properties(packet: int, **values: object) -> Properties:
    properties = Properties(packet)  # type: ignore[no-untyped-call]
    for key, value in values.items():
        setattr(properties, key, value)
    return properties
