"""Which broker a demo takes, and what it says when there is none."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from hailod.demo import broker
from hailod.demo.child import DemoError


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
