"""A daemon as people run it, its broker, and an ear on all that the broker passes on."""

from __future__ import annotations

import itertools
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from tests.support.broker import Broker
from tests.support.daemon import BASE, Daemon
from tests.support.waiting import wait_for

_numbers = itertools.count(1)


class Heard(NamedTuple):
    """A message, and when (monotonic) it came."""

    at: float
    topic: str
    payload: bytes
    retain: bool
    correlation: bytes | None

    @property
    def document(self) -> Any:
        return json.loads(self.payload)


class Ear:
    """A client that hears what matches `filters` and may speak. `keep` says what is kept; all else is only counted."""

    def __init__(self, port: int, *filters: str, keep: Callable[[str], bool] = lambda _: True) -> None:
        self.counts: Counter[str] = Counter()
        self.disconnects = 0
        self._heard: list[Heard] = []
        self._fresh = threading.Condition()
        self._keep = keep
        self._filters = filters
        self._ready = threading.Event()
        self._port = port
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.max_queued_messages_set(0)
        self._client.on_connect = self._subscribe
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._hear
        self._client.on_disconnect = self._gone
        self._client.on_socket_open = lambda _client, _data, sock: sock.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
        )

    def __enter__(self) -> Ear:
        self._client.connect("127.0.0.1", self._port, clean_start=True)
        self._client.loop_start()
        assert self._ready.wait(10), "the client is connected and subscribed"
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        # paho leaves the socket pair that wakes its thread to its finaliser, which comes too late in a reference cycle.
        self._client._reset_sockets()

    def publish(
        self, topic: str, payload: bytes | str, *, qos: int = 1, retain: bool = False, **properties: object
    ) -> Any:
        """Publish, with MQTT 5's `properties`; returns paho's token, whose `wait_for_publish` waits for the broker."""
        given = None
        if properties:
            given = Properties(PacketTypes.PUBLISH)
            for key, value in properties.items():
                setattr(given, key, value)
        return self._client.publish(topic, payload, qos, retain, given)

    def since(self, at: float, *topics: str) -> list[Heard]:
        """What was kept of these topics (all) since then."""
        with self._fresh:
            return [heard for heard in self._heard if heard.at >= at and (not topics or heard.topic in topics)]

    def first(self, matches: Callable[[Heard], bool], since: float, timeout: float) -> Heard | None:
        """The first message since then that matches; None if none comes in time. Each is looked at once."""
        deadline = time.monotonic() + timeout
        place = 0
        while True:
            with self._fresh:
                while place >= len(self._heard):
                    left = deadline - time.monotonic()
                    if left <= 0 or not self._fresh.wait(left):
                        return None
                heard = self._heard[place]
                place += 1
            if heard.at >= since and matches(heard):
                return heard

    def forget_but(self, *topics: str) -> None:
        """Forget what was kept so far of all other topics."""
        with self._fresh:
            self._heard[:] = [heard for heard in self._heard if heard.topic in topics]

    def _subscribe(self, client: Client, *_: object) -> None:
        if self._filters:
            # What it says itself it does not hear: whatever comes is another's.
            options = SubscribeOptions(qos=1, noLocal=True)
            client.subscribe([(pattern, options) for pattern in self._filters])
        else:
            self._ready.set()

    def _gone(self, *_: object) -> None:
        self.disconnects += 1

    def _hear(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        at = time.monotonic()
        self.counts[message.topic] += 1
        if not self._keep(message.topic):
            return
        correlation = getattr(message.properties, "CorrelationData", None)
        heard = Heard(at, message.topic, bytes(message.payload), message.retain, correlation)
        with self._fresh:
            self._heard.append(heard)
            self._fresh.notify_all()


class Stage:
    """Broker, daemon and an ear, started in this order. `models` are files of the configuration's folder."""

    def __init__(
        self,
        folder: Path,
        *,
        cameras: Mapping[str, str],
        models: Mapping[str, bytes | str],
        head: str = "",
        body: str = "",
        mqtt: str = "",
        device: str | None = None,
        broker: Sequence[str] = (),
        hears: Sequence[str] = ("#",),
        keep: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self.cameras = tuple(cameras)
        self._stack = ExitStack()
        for name, content in models.items():
            (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        self.broker = Broker(folder, config=broker)
        self._hears, self._keep = hears, keep
        tables = body + "".join(f"[cameras.{name}]\n{table}" for name, table in cameras.items())
        self._daemon = lambda: Daemon(folder, self.broker, tables, head=head, mqtt=mqtt, device=device)

    def __enter__(self) -> Stage:
        with ExitStack() as stack:
            stack.enter_context(self.broker)
            self.ear = stack.enter_context(Ear(self.broker.port, *self._hears, keep=self._keep))
            self.daemon = stack.enter_context(self._daemon())
            self._await_cameras()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def _await_cameras(self) -> None:
        def all_online() -> bool:
            assert self.daemon.process.poll() is None, "the daemon ended: " + " | ".join(self.daemon.lines[-5:])
            return all(self._word(f"{BASE}/cam/{name}/status") == b"online" for name in self.cameras)

        wait_for(all_online, timeout=60.0, what="the cameras are online")

    def _word(self, topic: str) -> bytes:
        heard = self.ear.since(0.0, topic)
        return heard[-1].payload if heard else b""

    def last(self, topic: str) -> Any:
        """The newest document on a topic that is kept."""
        return json.loads(self._word(topic))

    def command(
        self, name: str, args: object = None, *, timeout: float = 30.0, **envelope: object
    ) -> Mapping[str, Any]:
        """Give a command; returns its final reply."""
        identity = f"c{next(_numbers)}"
        sent = time.monotonic()
        self.ear.publish(f"{BASE}/cmd/{name}", json.dumps({"id": identity, "args": args, **envelope}))

        def final(heard: Heard) -> bool:
            if heard.topic != f"{BASE}/reply/{name}":
                return False
            reply = heard.document
            return reply["id"] == identity and reply["status"] != "accepted"

        answer = self.ear.first(final, sent, timeout)
        assert answer is not None, f"{name} is answered within {timeout:g} s"
        reply: Mapping[str, Any] = answer.document
        return reply

    def metrics(self, count: int) -> list[Mapping[str, Any]]:
        """The next so many metrics."""
        began = time.monotonic()
        topic = f"{BASE}/metrics"
        wait_for(
            lambda: len(self.ear.since(began, topic)) >= count, timeout=5.0 + 3.0 * count, what="metrics", every=0.1
        )
        return [heard.document for heard in self.ear.since(began, topic)][:count]
