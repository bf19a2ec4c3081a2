"""Hears everything that a broker passes on, keeps it with the time of its arrival, and has it judged at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from tests.benchmarks.faultlib.checker import Checker, Message

Login = tuple[str, str] | None


class Recorder:
    """A subscriber of `#`. `connect` again after the broker was replaced; what was heard before is kept."""

    def __init__(self, checker: Checker) -> None:
        self.checker = checker
        self._messages: list[Message] = []
        self._lock = threading.Lock()
        self._client: Client | None = None

    def connect(self, port: int, login: Login = None) -> None:
        """Subscribe, and return once the broker has said so."""
        self.disconnect()
        ready = threading.Event()
        client = subscriber(self._hear, ready, login)
        client.connect("127.0.0.1", port)
        client.loop_start()
        self._client = client
        assert ready.wait(10), "the recorder is subscribed"

    def disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            end(client)

    def publish(self, topic: str, payload: str, *, retain: bool = False) -> None:
        assert self._client is not None
        self._client.publish(topic, payload, 1, retain).wait_for_publish(10)

    def of(self, topic: str, since: float = 0.0) -> list[Message]:
        """What came on `topic` at or after `since`, in order."""
        with self._lock:
            return [message for message in self._messages if message.topic == topic and message.at >= since]

    def last(self, topic: str) -> Message | None:
        with self._lock:
            return next((message for message in reversed(self._messages) if message.topic == topic), None)

    def backwards(self) -> Iterator[Message]:
        """All that was heard so far, the newest first."""
        with self._lock:
            heard = list(self._messages)
        return reversed(heard)

    def _hear(self, message: Message) -> None:
        with self._lock:
            self._messages.append(message)
            self.checker.take(message)


def retained_by(port: int, login: Login = None, *, settle: float = 0.3) -> dict[str, bytes]:
    """What a broker gives to a client that comes now."""
    found: dict[str, bytes] = {}

    def hear(message: Message) -> None:
        if message.retain:
            found[message.topic] = message.payload

    ready = threading.Event()
    client = subscriber(hear, ready, login)
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        assert ready.wait(10), "a late client is subscribed"
        # Retained messages come first, and in one go; afterwards there may be live ones for ever.
        threading.Event().wait(settle)
    finally:
        end(client)
    return found


def subscriber(hear: Callable[[Message], None], ready: threading.Event, login: Login = None) -> Client:
    """A client that passes on what it hears, as messages with their time of arrival."""
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    if login is not None:
        client.username_pw_set(*login)

    def on_message(_client: Client, _data: object, message: MQTTMessage) -> None:
        moment, payload = (time.monotonic(), time.time()), bytes(message.payload)
        hear(Message(message.topic, payload, *moment, message.retain, message.qos))

    client.on_connect = lambda connected, *_: connected.subscribe("#", 1)
    client.on_subscribe = lambda *_: ready.set()
    client.on_message = on_message
    return client


def end(client: Client) -> None:
    client.disconnect()
    client.loop_stop()
    # paho leaves the socket pair that wakes its thread to its finaliser, which comes too late in a reference cycle.
    client._reset_sockets()
