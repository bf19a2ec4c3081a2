"""Notifications to systemd, received by a real socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from hailod.clock import FakeClock
from hailod.sd import Notifier, watchdog_interval


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """What systemd listens on, and how it says so in NOTIFY_SOCKET."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@hailod-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(address.replace("@", "\0", 1))
        server.settimeout(5.0)
        yield address, server


def test_messages(manager: tuple[str, socket.socket]) -> None:
    """Every message arrives as sd_notify(3) writes it."""
    address, server = manager
    env = {"NOTIFY_SOCKET": address}
    notifier = Notifier.from_env(env)
    sent = [notifier.ready(), notifier.stopping(), notifier.watchdog(), notifier.extend_timeout(2.5)]
    assert sent == [True] * 4
    assert [server.recv(4096) for _ in sent] == [
        b"READY=1",
        b"STOPPING=1",
        b"WATCHDOG=1",
        b"EXTEND_TIMEOUT_USEC=2500000",
    ]
    assert env == {"NOTIFY_SOCKET": address}


def test_reloading_tells_the_monotonic_time(manager: tuple[str, socket.socket]) -> None:
    """systemd needs the time to tell an old READY=1 from the one that ends the reload."""
    address, server = manager
    assert Notifier(address, FakeClock(monotonic=12.5)).reloading()
    assert server.recv(4096) == b"RELOADING=1\nMONOTONIC_USEC=12500000"


def test_status_is_one_bounded_line(manager: tuple[str, socket.socket]) -> None:
    """No text can smuggle a second assignment into the message or make it too long."""
    address, server = manager
    assert Notifier(address).status("fine\nWATCHDOG=trigger " + "x" * 1000)
    message = server.recv(4096)
    assert message.startswith(b"STATUS=fine WATCHDOG=trigger xxx")
    assert len(message) < 256


def test_silent_outside_systemd() -> None:
    """Without systemd nothing is sent, and nothing is counted as failed."""
    notifier = Notifier.from_env({})
    assert not notifier.ready()
    assert notifier.failed == 0


def test_failures_are_counted(tmp_path: Path) -> None:
    """A message that cannot be sent is reported and counted, and nothing is raised."""
    notifier = Notifier(str(tmp_path / "nobody"))
    assert not notifier.ready()
    assert notifier.failed == 1


def test_never_blocks(manager: tuple[str, socket.socket]) -> None:
    """A systemd that does not read holds nobody up."""
    notifier = Notifier(manager[0])
    while notifier.watchdog():
        assert notifier.failed == 0
    assert notifier.failed == 1


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 10.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": ""}, 10.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "77"}, 10.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "78"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_watchdog_interval(env: dict[str, str], expected: float | None) -> None:
    """A third of what systemd allows, and only for the process that it watches."""
    assert watchdog_interval(env, pid=77) == expected
