"""The demo's own broker, on a free port of the loopback address: mosquitto, otherwise amqtt."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hailod.clock import Clock
from hailod.demo.child import Child, DemoError

HOST: Final = "127.0.0.1"
TITLES: Final = ("mosquitto", "amqtt")
START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 0.5
_ATTEMPTS = 3
# Debian installs mosquitto where a user's PATH does not lead.
_SYSTEM_PATH = "/usr/sbin:/usr/local/sbin"
_MOSQUITTO = """\
# As root mosquitto would become another user, who cannot read this folder.
user root
listener {port} {host}
allow_anonymous true
persistence false
set_tcp_nodelay true
log_type error
log_type warning
"""


@dataclass(frozen=True, slots=True)
class Kind:
    """A broker to be had on this machine: what it is called, and which protocol the daemon should speak to it."""

    title: str
    protocol: str
    command: Callable[[int, Path], list[str]]


def choose(titles: Sequence[str] = TITLES, path: str | None = None) -> Kind:
    """The first of these brokers that is to be had; raises DemoError that says what to install. `path` is for PATH."""
    searched = os.environ.get("PATH", "") + os.pathsep + _SYSTEM_PATH if path is None else path
    if "mosquitto" in titles and (binary := shutil.which("mosquitto", path=searched)):
        return Kind("mosquitto", "auto", lambda port, directory: _mosquitto(binary, port, directory))
    if "amqtt" in titles and importlib.util.find_spec("amqtt") is not None:
        return Kind("amqtt", "3.1.1", _amqtt)
    raise DemoError(
        f"the demo needs an MQTT broker, and {' or '.join(titles)} is not here: "
        "sudo apt-get install mosquitto, or without root: pip install amqtt"
    )


def _mosquitto(binary: str, port: int, directory: Path) -> list[str]:
    config = directory / "mosquitto.conf"
    config.write_text(_MOSQUITTO.format(port=port, host=HOST), encoding="utf-8")
    return [binary, "-c", str(config)]


def _amqtt(port: int, _: Path) -> list[str]:
    return [sys.executable, "-W", "ignore", "-m", "hailod.demo.amqtt_broker", str(port)]


class Broker:
    """A broker that can go away and come back on the same port. It keeps nothing on disk.

    `pause` is called while it is waited for, with seconds, and may raise to end the waiting.
    """

    def __init__(self, kind: Kind, directory: Path, clock: Clock, pause: Callable[[float], None]) -> None:
        self.kind = kind
        self.port = 0
        self._directory = directory
        self._clock = clock
        self._pause = pause
        self._child: Child | None = None

    @property
    def started(self) -> bool:
        """Whether it was started and not yet stopped, dead or alive."""
        return self._child is not None

    @property
    def alive(self) -> bool:
        return self._child is not None and self._child.alive

    def start(self) -> None:
        """Start it and wait until it takes connections; the port of the first start is kept. Raises DemoError."""
        for attempt in range(1, _ATTEMPTS + 1):
            port = self.port or free_port()
            self._child = Child(self.kind.title, self.kind.command(port, self._directory), self._directory, self._clock)
            self._child.start()
            if self._listens(self._child, port):
                self.port = port
                return
            trouble = self.death()
            self.stop()
            # Somebody else may have taken the port between our look and the broker's.
            if attempt == _ATTEMPTS or self.port:
                raise trouble

    def stop(self) -> None:
        """End it, and wait for its end; idempotent."""
        child, self._child = self._child, None
        if child is not None:
            child.stop(STOP_TIMEOUT_S)

    def death(self) -> DemoError:
        """Why the demo cannot go on without it."""
        assert self._child is not None
        if self._child.alive:
            return DemoError(f"{self.kind.title} takes no connections; is {HOST} forbidden to programs of yours?")
        return self._child.death()

    def _listens(self, child: Child, port: int) -> bool:
        deadline = self._clock.monotonic() + START_TIMEOUT_S
        while child.alive and self._clock.monotonic() < deadline:
            with socket.socket() as probe:
                probe.settimeout(1.0)
                if probe.connect_ex((HOST, port)) == 0:
                    return child.alive
            self._pause(0.05)
        return False


def free_port() -> int:
    """A port of the loopback address on which nothing listens; DemoError where there is none to be had."""
    try:
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            return int(probe.getsockname()[1])
    except OSError as error:
        raise DemoError(f"no port of {HOST} can be had: {error.strerror}; is the loopback interface up?") from None
