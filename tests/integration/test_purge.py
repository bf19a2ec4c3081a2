"""`hailod mqtt purge` with a real broker: nothing of the node is left, and nothing of others is touched."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hailod.cli import main
from tests.support.broker import Broker, Observer, OldBroker
from tests.support.daemon import BASE, FRONT, NODE, SEES_TWO, Daemon
from tests.support.waiting import wait_for


def about(node: str) -> str:
    return json.dumps({"availability": [{"topic": f"hailod/{node}/status"}], "components": {}})


# What a node with one camera leaves, in every form that it may have had.
OURS = {
    "hailod/pi/status": "offline",
    "hailod/pi/info": '{"v":1}',
    "hailod/pi/schema/health": "{}",
    "hailod/pi/cam/two/state": '{"v":1}',
    "hailod/pi/cam/two/snapshot": "\x7f picture",
    "hailod/pi/set/device": "OFF",
    "homeassistant/device/hailod_pi/config": about("pi"),
    "homeassistant/device/hailod_pi_two/config": about("pi"),
    "homeassistant/sensor/hailod_pi/fps/config": json.dumps({"state_topic": "hailod/pi/metrics"}),
    "homeassistant/sensor/hailod_pi_fps/config": json.dumps({"~": "hailod/pi", "state_topic": "~/metrics"}),
}
FRIGATE = {"frigate/available": "offline", "frigate/two/person": "2", "frigate/two/all": "2"}
# What looks like it and is not.
OTHERS = {
    "hailod/pi_two/status": "online",
    "hailod/pi2/status": "online",
    "homeassistant/device/hailod_pi_two_x/config": about("pi_two"),
    "homeassistant/device/hailod_pi2/config": about("pi2"),
    "homeassistant/sensor/hailod_pi_two/fps/config": json.dumps({"state_topic": "hailod/pi_two/metrics"}),
    "homeassistant/sensor/mine/config": json.dumps({"state_topic": "hailod/pi/metrics"}),
    "homeassistant/device/broken/config": "{",
    "zigbee2mqtt/bridge/state": "online",
    "frigate/two/snapshots/state": "ON",
    "frigate/two/person_snapshot": "not a number",
    "frigate/garden/person": "1",
}


@pytest.fixture(params=[Broker, OldBroker], ids=["5", "3.1.1"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    with request.param(tmp_path) as running:
        yield running


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("HAILOD_") or name == "CREDENTIALS_DIRECTORY"]:
        monkeypatch.delenv(name)


def fill(broker: Broker, *tables: dict[str, str]) -> None:
    with Observer(broker.port, "nothing", protocol=4) as observer:
        for topic, payload in {key: value for table in tables for key, value in table.items()}.items():
            observer.publish(topic, payload, retain=True)


def held(broker: Broker) -> dict[str, str]:
    """All that the broker retains."""
    with Observer(broker.port, "#", protocol=4) as observer:
        observer.publish("end", "of what is retained")
        observer.wait_for("end")
        return {message.topic: message.payload.decode(errors="replace") for message in observer.seen if message.retain}


def purge(broker: Broker, *options: str, node: str = "pi") -> int:
    return main(["mqtt", "purge", "--host", "127.0.0.1", "--port", str(broker.port), "--node", node, *options])


def test_nothing_of_the_node_is_left_and_nothing_else_touched(
    broker: Broker, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every topic of the node, its devices and single entities go; what only looks like it stays as it was."""
    fill(broker, OURS, FRIGATE, OTHERS)
    assert purge(broker, "--dry-run") == 0
    assert held(broker) == {**OURS, **FRIGATE, **OTHERS}
    assert purge(broker, "--yes") == 0
    listed = capsys.readouterr().out
    assert all(topic in listed for topic in OURS)
    assert held(broker) == {**FRIGATE, **OTHERS}
    assert purge(broker, "--yes") == 0
    assert "0 retained messages" in capsys.readouterr().out


def test_counts_go_with_their_cameras(broker: Broker) -> None:
    """With the prefix named, the node's counts go too, and those of cameras that it does not have stay."""
    fill(broker, OURS, FRIGATE, OTHERS)
    assert purge(broker, "--yes", "--frigate", "frigate") == 0
    assert held(broker) == OTHERS


def test_it_asks(broker: Broker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --yes it wants the node's name; anything else, or nobody there, removes nothing."""
    fill(broker, OURS)
    for answer in ("", "yes\n", "pi2\n"):
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        assert purge(broker) == 1
    assert "not confirmed" in capsys.readouterr().err
    assert held(broker) == OURS
    monkeypatch.setattr("sys.stdin", io.StringIO("pi\n"))
    assert purge(broker) == 0
    assert held(broker) == {}


def test_node_that_is_online_is_left_alone(broker: Broker, capsys: pytest.CaptureFixture[str]) -> None:
    """A node that would tell everything again is not purged, unless that is insisted on."""
    online = {**OURS, "hailod/pi/status": "online"}
    fill(broker, online)
    assert purge(broker, "--yes") == 1
    assert "is online" in capsys.readouterr().err
    assert held(broker) == online
    assert purge(broker, "--yes", "--force") == 0
    assert held(broker) == {}


def test_broker_that_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No broker, no name that can be one and no confirmation by a broken option have exit codes of their own."""
    assert main(["mqtt", "purge", "--host", "127.0.0.1", "--port", "1", "--node", "pi", "--yes"]) == 4
    assert main(["mqtt", "purge", "--host", "127.0.0.1", "--node", "#"]) == 2
    assert main(["mqtt"]) == 2


def test_broker_that_lets_us_not_write_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where this user may not clear, it is an error and never a success."""
    access = tmp_path / "acl"
    access.write_text("topic read #\nuser owner\ntopic readwrite #\n")
    with Broker(tmp_path, config=[f"acl_file {access}"]) as strict:
        with Observer(strict.port, "nothing", username="owner", password="x") as owner:
            owner.publish("hailod/pi/status", "offline", retain=True)
        assert purge(strict, "--yes") == 4
        assert "does not let this user clear" in capsys.readouterr().err


def test_whole_life_of_a_node_can_be_removed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After a daemon with all that it may publish has ended, its purge leaves an empty broker."""
    (tmp_path / "two.sim.toml").write_text(SEES_TWO)
    body = '[models.two]\npath = "two.sim.toml"\n[cameras.front]\nsource = "synthetic:?size=320x240&fps=20"\n'
    head = "[frigate]\nenabled = true\n"
    with Broker(tmp_path) as real:
        with (
            Observer(real.port, "#") as observer,
            Daemon(tmp_path, real, head + body, mqtt='snapshots = "retained"\n') as d,
        ):
            observer.wait_for("frigate/front/all", timeout=30.0)
            observer.wait_for("frigate/events")
            observer.publish(f"{BASE}/cmd/snapshot.take", '{"args":{"camera":"front"}}')
            observer.wait_for(f"{FRONT}/snapshot")
            assert main(["mqtt", "purge", "--config", str(d.path), "--yes"]) == 1
            assert d.stop() == 0
            wait_for(lambda: observer.of("frigate/available")[-1].payload == b"offline", what="Frigate's word is told")
        assert f"hailod/{NODE}/status" in held(real)
        assert main(["mqtt", "purge", "--config", str(d.path), "--yes"]) == 0
        assert held(real) == {}
