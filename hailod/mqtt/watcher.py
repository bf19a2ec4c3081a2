"""A client that looks on: what others publish, one message after the other, for programs that show a node to people."""

from __future__ import annotations

import queue
import socket
from dataclasses import dataclass

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

CAPACITY = 1000
_RECONNECT_S = 1


@dataclass(frozen=True, slots=True)
class Heard:
    """A message as it came; nothing of it is believed yet."""

    topic: str
    payload: bytes


class Watcher:
    """Subscribed to `filters` at a broker without a login, and again whenever the connection has broken.

    At most `capacity` messages wait to be taken; `dropped` counts those that found no room.
    """

    def __init__(self, host: str, port: int, *filters: str, capacity: int = CAPACITY) -> None:
        self.dropped = 0
        self._address = host, port
        self._filters = filters
        self._heard: queue.Queue[Heard] = queue.Queue(capacity)
        # 3.1.1 is what every broker speaks.
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv311)
        self._client.reconnect_delay_set(_RECONNECT_S, _RECONNECT_S)
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message
        self._client.on_socket_open = _without_delay

    @property
    def connected(self) -> bool:
        return self._client.is_connected()

    def start(self) -> None:
        """Begin to connect; returns before there is a connection."""
        self._client.connect_async(*self._address)
        self._client.loop_start()

    def stop(self) -> None:
        """Disconnect, and wait for the thread's end."""
        self._client.disconnect()
        self._client.loop_stop()

    def next(self, timeout: float) -> Heard | None:
        """The oldest message that was not taken yet; None if none came within `timeout` seconds."""
        try:
            return self._heard.get(timeout=timeout)
        except queue.Empty:
            return None

    def publish(self, topic: str, payload: str) -> bool:
        """Hand a message to the broker (QoS 1); False without a connection: nothing is kept for later."""
        return self.connected and self._client.publish(topic, payload, 1).rc is MQTTErrorCode.MQTT_ERR_SUCCESS

    def _on_connect(
        self, client: Client, _data: object, _flags: ConnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if not reason.is_failure:
            client.subscribe([(topic, 1) for topic in self._filters])

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        try:
            self._heard.put_nowait(Heard(message.topic, bytes(message.payload)))
        except queue.Full:
            self.dropped += 1


def _without_delay(_client: Client, _data: object, sock: object) -> None:
    if isinstance(sock, socket.socket):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
