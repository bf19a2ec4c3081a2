"""Real MQTT brokers as child processes on free loopback ports, and a client that watches one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from tests.support.waiting import wait_for


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def mosquitto_path() -> str:
    path = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if path is None:
        pytest.skip("needs mosquitto: apt-get install mosquitto")
    return path


class Broker:
    """A mosquitto without a store on disk, so that each start begins with nothing retained."""

    def __init__(
        self,
        directory: Path,
        *,
        config: Sequence[str] = (),
        users: dict[str, str] | None = None,
        port: int | None = None,
    ) -> None:
        self.port = port or free_port()
        self._directory = directory
        self._config = list(config)
        self._users = users
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it accepts connections."""
        binary = mosquitto_path()
        # As root mosquitto would become another user, who cannot read the test's directory.
        lines = ["user root", "persistence false", "log_type none", f"listener {self.port} 127.0.0.1", *self._config]
        if self._users is None:
            lines.append("allow_anonymous true")
        else:
            lines += ["allow_anonymous false", f"password_file {self._write_passwords(self._users)}"]
        path = self._directory / "mosquitto.conf"
        path.write_text("\n".join(lines) + "\n")
        self._process = subprocess.Popen([binary, "-c", str(path)], stderr=subprocess.DEVNULL)
        wait_for(self.listens, what="mosquitto listens")

    def listens(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1.0)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def set_users(self, users: dict[str, str]) -> None:
        """Give users other passwords while it runs, as an administrator does."""
        self._users = users
        self._write_passwords(users)
        self.signal(signal.SIGHUP)

    def _write_passwords(self, users: dict[str, str]) -> Path:
        passwords = self._directory / "passwords"
        passwords.write_text("".join(f"{user}:{password}\n" for user, password in users.items()))
        passwords.chmod(0o600)
        subprocess.run(["mosquitto_passwd", "-U", str(passwords)], check=True)
        return passwords

    def signal(self, number: int) -> None:
        """Send it a signal: SIGSTOP for a broker that hangs, SIGCONT to let it go on."""
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> None:
        """End it and wait for its end; idempotent."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def __enter__(self) -> Broker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class OldBroker(Broker):
    """An amqtt, which speaks MQTT 3.1.1 only and refuses version 5."""

    _PROGRAM = """
import asyncio, sys
from amqtt.broker import Broker
async def main():
    broker = Broker({
        "listeners": {"default": {"type": "tcp", "bind": "127.0.0.1:" + sys.argv[1]}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    })
    await broker.start()
    await asyncio.Event().wait()
asyncio.run(main())
"""

    def start(self) -> None:
        pytest.importorskip("amqtt")
        arguments = [sys.executable, "-W", "ignore", "-c", self._PROGRAM, str(self.port)]
        self._process = subprocess.Popen(arguments, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        wait_for(self.listens, what="amqtt listens", timeout=30.0)


class ScriptedBroker:
    """Answers the first packet of each connection with the next script, then closes it, but for the last."""

    def __init__(self, *scripts: bytes) -> None:
        self._scripts = scripts
        self._server = socket.create_server(("127.0.0.1", 0))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="scripted-broker")

    @property
    def port(self) -> int:
        return int(self._server.getsockname()[1])

    def __enter__(self) -> ScriptedBroker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._server.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._server.close()

    def _serve(self) -> None:
        for number, script in enumerate(self._scripts, 1):
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            with connection:
                connection.recv(4096)
                connection.sendall(script)
                if number == len(self._scripts):
                    self._over.wait(60)


@dataclass(frozen=True)
class Seen:
    """A message as a subscriber saw it."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    correlation: bytes | None = None
    expiry: int | None = None

    @property
    def json(self) -> Any:
        return json.loads(self.payload)


class Observer:
    """A client that records what it is sent, in order, and can publish.

    `of_broker` are those of one broker that are still known to somebody, by its port.
    """

    _all: ClassVar[weakref.WeakSet[Observer]] = weakref.WeakSet()

    def __init__(
        self,
        port: int,
        *filters: str,
        protocol: int = 5,
        username: str | None = None,
        password: str | None = None,
        as_published: bool = False,
    ) -> None:
        """`as_published`: `retain` is what the sender said (MQTT 5), not whether the broker had kept the message."""
        self.as_published = as_published
        self.seen: list[Seen] = []
        self._port = port
        self._filters = filters
        self._ready = threading.Event()
        Observer._all.add(self)
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion(protocol))
        if username is not None:
            self._client.username_pw_set(username, password)
        self._client.on_connect = self._subscribe
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._record
        self._client.on_socket_open = lambda _client, _data, sock: sock.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
        )

    def __enter__(self) -> Observer:
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        assert self._ready.wait(10), "the observer is subscribed"
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        # paho leaves the socket pair that wakes its thread to its finaliser, which comes too late in a reference cycle.
        self._client._reset_sockets()

    @classmethod
    def of_broker(cls, port: int) -> list[Observer]:
        return [observer for observer in cls._all if observer._port == port]

    def publish(
        self, topic: str, payload: bytes | str, *, qos: int = 1, retain: bool = False, **properties: Any
    ) -> None:
        """Publish and wait for the broker; `properties` are MQTT 5's."""
        given = None
        if properties:
            given = Properties(PacketTypes.PUBLISH)
            for key, value in properties.items():
                setattr(given, key, value)
        self._client.publish(topic, payload, qos, retain, given).wait_for_publish(10)

    def of(self, topic: str) -> list[Seen]:
        """What came on `topic`, in order."""
        return [message for message in list(self.seen) if message.topic == topic]

    def wait_for(self, topic: str, count: int = 1, timeout: float = 10.0) -> list[Seen]:
        """Wait for `count` messages on `topic`; returns all of them."""
        wait_for(lambda: len(self.of(topic)) >= count, what=f"{count} messages on {topic}", timeout=timeout)
        return self.of(topic)

    def _subscribe(self, client: Client, *_: object) -> None:
        filters = self._filters or ("#",)
        if self.as_published:
            options = SubscribeOptions(qos=1, retainAsPublished=True)
            client.subscribe([(pattern, options) for pattern in filters])
        else:
            client.subscribe([(pattern, 1) for pattern in filters])

    def _record(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        self.seen.append(
            Seen(
                message.topic,
                bytes(message.payload),
                message.qos,
                message.retain,
                getattr(message.properties, "CorrelationData", None),
                getattr(message.properties, "MessageExpiryInterval", None),
            )
        )
