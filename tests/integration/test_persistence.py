"""What is set over MQTT survives a restart; a disk that refuses it, and a log that nobody can write, stop nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.broker import Broker, Observer, Seen
from tests.support.daemon import BASE, FRONT, SEES_TWO, Daemon
from tests.support.waiting import wait_for

BODY = """
[models.two]
path = "two.sim.toml"
[models.other]
path = "other.sim.toml"
[cameras.front]
source = "synthetic:?size=320x240&fps=20"
"""
HEAD = 'model = "two"\n'


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path) as running:
        yield running


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "two.sim.toml").write_text(SEES_TWO)
    (tmp_path / "other.sim.toml").write_text(SEES_TWO)
    return tmp_path


def codes(observer: Observer) -> dict[str, dict[str, Any]]:
    told = observer.of(f"{BASE}/health")
    return {reason["code"]: reason for reason in told[-1].json["reasons"]} if told else {}


def left_out(observer: Observer, words: str) -> bool:
    return words in codes(observer).get("state_discarded", {"text": ""})["text"]


def swapped(observer: Observer, identity: str, model: str, **envelope: object) -> dict[str, Any]:
    """Swap the model; the final reply."""
    request = {"id": identity, "args": {"model": model}, **envelope}
    observer.publish(f"{BASE}/cmd/model.swap", json.dumps(request))

    def final() -> list[dict[str, Any]]:
        replies = [message.json for message in observer.of(f"{BASE}/reply/model.swap")]
        return [reply for reply in replies if reply["id"] == identity and reply["status"] != "accepted"]

    return wait_for(final, what=f"the swap to {model} is answered")[0]


def seen(observer: Observer) -> list[Seen]:
    """Detections, however slow the machine is to start a daemon."""
    return observer.wait_for(f"{FRONT}/detections", timeout=30.0)


def sees_with(observer: Observer, model: str) -> bool:
    return seen(observer)[-1].json["model"] == model


def set_front(observer: Observer, key: str, text: str, value: object) -> dict[str, Any]:
    """Set something of the camera; its settings once they are told."""
    observer.publish(f"{FRONT}/set/{key}", text)
    told = [m.json for m in wait_for(lambda: _with(observer, key, value), what=f"{key} {value} is told")]
    document: dict[str, Any] = told[-1]
    return document


def _with(observer: Observer, key: str, value: object) -> list[Any]:
    return [message for message in observer.of(f"{FRONT}/settings") if message.json[key] == value]


def test_settings_survive_a_restart(home: Path, broker: Broker) -> None:
    """What is set over MQTT is there again after a restart, with its revision; what was not to be kept is not."""
    with Observer(broker.port, f"{BASE}/#") as observer, Daemon(home, broker, BODY, head=HEAD) as daemon:
        seen(observer)
        set_front(observer, "threshold", "0.7", 0.7)
        set_front(observer, "enabled", "OFF", False)
        set_front(observer, "max_fps", "4", 4.0)
        kept = swapped(observer, "a", "other")
        assert kept["data"]["persisted"] is True
        # Durable before it was answered: nothing of it waits for an orderly end.
        assert daemon.kill() == []
    assert json.loads(daemon.state.joinpath("overrides.json").read_text())["revision"] == kept["data"]["revision"] == 5

    with Observer(broker.port, f"{BASE}/#") as observer, Daemon(home, broker, BODY, head=HEAD) as daemon:
        told = wait_for(lambda: [m.json for m in observer.of(f"{FRONT}/settings") if not m.retain])[-1]
        assert (told["threshold"], told["enabled"], told["max_fps"]) == (0.7, False, 4.0)
        assert (told["models"], told["revision"]) == (["other"], 5)
        # Only now, so that the next start shows what of this was not to be kept.
        wait_for(lambda: "model in service" in daemon.output)
        assert swapped(observer, "b", "two", persist=False)["data"]["persisted"] is False
        assert daemon.stop() == 0
    show = [sys.executable, "-m", "hailod", "config", "show", "--config", str(daemon.path)]
    shown = subprocess.run(show, capture_output=True, text=True, check=True).stdout
    assert 'model = "other"' in shown
    origins = [line for line in shown.splitlines() if f"set over MQTT, {daemon.state}/overrides.json" in line]
    assert [line.split()[0] for line in origins] == [
        "model",
        "cameras.front.enabled",
        "cameras.front.threshold",
        "cameras.front.max_fps",
    ]
    assert json.loads(daemon.state.joinpath("overrides.json").read_text())["revision"] == 6


def test_what_does_not_fit_any_more_is_left_out_and_told(home: Path, broker: Broker) -> None:
    """A file with values that fit no more, and one that is no JSON, keep nothing from starting and are told."""
    state = home / "state"
    state.mkdir()
    file = state / "overrides.json"
    file.write_text(json.dumps({"v": 1, "revision": 3, "set": {"cameras.gone.threshold": 0.5, "model": "other"}}))
    for words, model in (("cameras.gone.threshold", "other"), ("is not JSON", "two")):
        with Observer(broker.port, f"{BASE}/#") as observer, Daemon(home, broker, BODY, head=HEAD) as daemon:
            wait_for(partial(left_out, observer, words), what="health tells", timeout=30.0)
            wait_for(partial(sees_with, observer, model), what=f"{model} is in use", timeout=30.0)
            assert daemon.stop() == 0
        assert daemon.output.count("setting left out") == 1
        if model == "other":
            file.write_text("{")
            (state / ".overrides.json.1-1").write_text("half")
    assert sorted(os.listdir(state)) == ["discovery.json", "overrides.json.broken"]


def test_disk_that_refuses_is_survived_told_and_over(home: Path, broker: Broker) -> None:
    """On a full or read-only disk changes run, the answer and health say that they will be lost; when the disk takes
    them again they are saved with the next change."""
    disk = home / "state"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode:
        pytest.skip("needs to mount a file system")
    try:
        with Observer(broker.port, f"{BASE}/#") as observer, Daemon(home, broker, BODY, head=HEAD) as daemon:
            seen(observer)
            with pytest.raises(OSError, match="No space"):
                (disk / "hog").write_bytes(b"x" * 131_072)
            reply = swapped(observer, "a", "other")
            assert (reply["status"], reply["data"]["persisted"]) == ("ok", False)
            assert "No space left on device" in reply["data"]["reason"]
            reason = wait_for(lambda: codes(observer).get("state_unsaved"), what="health tells")
            assert "make room" in reason["fix"]
            (disk / "hog").unlink()
            subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
            set_front(observer, "threshold", "0.7", 0.7)
            wait_for(
                lambda: "Read-only" in codes(observer)["state_unsaved"]["text"], what="health tells the new reason"
            )
            assert seen(observer)[-1].json["model"] == "other"
            subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
            set_front(observer, "threshold", "0.8", 0.8)
            wait_for(lambda: "state_unsaved" not in codes(observer), what="health is well")
            saved = json.loads((disk / "overrides.json").read_text())["set"]
            assert saved == {"model": "other", "cameras.front.threshold": 0.8}
            assert daemon.stop() == 0
    finally:
        subprocess.run(["umount", disk], check=True)


STREAMS = {
    "full": "full = os.open('/dev/full', os.O_WRONLY); [os.dup2(full, number) for number in (1, 2)]",
    "closed": "[os.close(number) for number in (0, 1, 2)]",
    "unread": "reader, writer = os.pipe(); os.close(reader); [os.dup2(writer, number) for number in (1, 2)]",
}


@pytest.mark.parametrize("streams", STREAMS)
def test_log_that_cannot_be_written_stops_nothing(home: Path, broker: Broker, streams: str) -> None:
    """A full disk under the log, closed standard streams and a reader that left: the daemon works, counts the lines
    that are lost, and ends well."""
    script = f"import os, sys; {STREAMS[streams]}; os.execv(sys.argv[1], sys.argv[1:])"
    prefix = (sys.executable, "-c", script)
    with (
        Observer(broker.port, f"{BASE}/#") as observer,
        Daemon(home, broker, BODY, head=HEAD, prefix=prefix) as daemon,
    ):
        seen(observer)
        set_front(observer, "threshold", "0.7", 0.7)
        metrics = observer.wait_for(f"{BASE}/metrics", 2)[-1].json["log"]
        assert metrics["uncaught"] == 0
        # Closed ones are replaced by one that takes everything.
        assert (metrics["lines_lost"] > 0) is (streams != "closed")
        assert daemon.stop() == 0
        assert observer.wait_for(f"{BASE}/status", 2)[-1].payload == b"offline"
