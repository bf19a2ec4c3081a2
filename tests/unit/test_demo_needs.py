"""What a demo needs on the machine, and what it says when that is missing."""

from __future__ import annotations

import importlib.util
import threading
from pathlib import Path

import pytest

from hailod.clock import SystemClock
from hailod.demo import broker
from hailod.demo.child import DemoError
from hailod.demo.stage import Stage


@pytest.fixture
def mosquitto(tmp_path: Path) -> Path:
    """A program of that name, in a folder for PATH."""
    program = tmp_path / "mosquitto"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return program


def test_mosquitto_is_taken_where_it_is_installed(tmp_path: Path, mosquitto: Path) -> None:
    """mosquitto serves first, on the loopback address only, without a store and without Nagle's delay."""
    kind = broker.choose(path=str(tmp_path))
    assert kind.title == "mosquitto"
    assert kind.command(4711, tmp_path)[0] == str(mosquitto)
    config = (tmp_path / "mosquitto.conf").read_text().splitlines()
    assert {"listener 4711 127.0.0.1", "persistence false", "set_tcp_nodelay true"} <= set(config)


def test_amqtt_is_taken_otherwise(tmp_path: Path) -> None:
    """Without mosquitto in PATH a broker in Python serves, over the one protocol version that it speaks."""
    pytest.importorskip("amqtt")
    kind = broker.choose(path=str(tmp_path))
    assert (kind.title, kind.protocol) == ("amqtt", "3.1.1")


def test_without_any_broker_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With neither, the message names what is missing and two ways to get it, one of them without root."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DemoError, match=r"mosquitto or amqtt is not here: .*apt-get install mosquitto.*pip install"):
        broker.choose(path=str(tmp_path))


def test_without_onnxruntime_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what computes the networks nothing is started, and the message says how to get it."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    stage = Stage(tmp_path, print, SystemClock(), kind=broker.Kind("none", "auto", lambda port, folder: ["false"]))
    with pytest.raises(DemoError, match=r"needs onnxruntime: pip install onnxruntime"):
        stage.start()
    assert list(tmp_path.iterdir()) == []


def test_a_broker_that_does_not_start_is_told_with_its_last_words(tmp_path: Path) -> None:
    """A broker that ends at once is tried on other ports, then told with what it said; nothing is left running."""
    kind = broker.Kind(
        "mosquitto", "auto", lambda port, folder: ["sh", "-c", "echo Error: Address already in use; exit 3"]
    )
    broken = broker.Broker(kind, tmp_path, SystemClock(), threading.Event().wait)
    with pytest.raises(
        DemoError, match=r"mosquitto ended \(exit code 3\), and said:\n    Error: Address already in use"
    ):
        broken.start()
    assert not broken.started
