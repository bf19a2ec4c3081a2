"""`hailod ctl` and the loan of the device, with the real daemon, a real broker and a borrower of its own process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hailod.cli import main
from tests.conftest import REPOSITORY
from tests.support.broker import Broker, Observer, OldBroker
from tests.support.daemon import BASE, FRONT, NODE, SEES_TWO, Daemon
from tests.support.waiting import wait_for

CAMERA = """
[models.two]
path = "two.sim.toml"
[cameras.front]
source = "synthetic:?size=320x240&fps=20"
"""

# Opens the daemon's chip as any program would, says so, and keeps it until its input ends.
BORROWER = """
import sys
from hailod import simulator
simulator.install(simulator.SimulatorOptions(serial=sys.argv[1]))
from hailo_platform import VDevice
with VDevice():
    print("mine", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path) as running:
        yield running


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("HAILOD_") or name == "CREDENTIALS_DIRECTORY"]:
        monkeypatch.delenv(name)


class Ctl:
    """Runs `hailod ctl` in this process; `out` and `err` hold what it last said."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *options: str) -> None:
        self._capsys = capsys
        self._options = options
        self.out = self.err = ""

    def __call__(self, *words: str) -> int:
        self._capsys.readouterr()
        code = main(["ctl", *words, *self._options])
        self.out, self.err = self._capsys.readouterr()
        return code


def at(broker: Broker) -> list[str]:
    return ["--host", "127.0.0.1", "--port", str(broker.port), "--node", NODE]


def serves(observer: Observer) -> None:
    """Wait for results that are newer than this call."""
    seen = len(observer.of(f"{FRONT}/detections"))
    observer.wait_for(f"{FRONT}/detections", seen + 2, timeout=30.0)


def codes(observer: Observer) -> set[str]:
    return {reason["code"] for reason in observer.wait_for(f"{BASE}/health")[-1].json["reasons"]}


def texts(observer: Observer) -> str:
    return " ".join(reason["text"] for reason in observer.wait_for(f"{BASE}/health")[-1].json["reasons"])


def events(observer: Observer) -> list[str]:
    return [message.json["event_type"] for message in observer.of(f"{BASE}/event")]


def test_device_is_lent_and_taken_back(tmp_path: Path, broker: Broker, capsys: pytest.CaptureFixture[str]) -> None:
    """Another program has the device after a release; hailod says so, names a borrower that keeps it too long, goes on
    with the rest, and has the device again as soon as it is free."""
    (tmp_path / "two.sim.toml").write_text(SEES_TWO)
    borrow = [sys.executable, "-c", BORROWER, str(os.getpid())]
    with Observer(broker.port, "hailod/#") as observer, Daemon(tmp_path, broker, CAMERA) as daemon:
        ctl = Ctl(capsys, "--config", str(daemon.path))
        serves(observer)
        assert ctl("ping", "x=[1,2]", "word=hello") == 0
        assert "x: [1, 2]" in ctl.out
        assert "word: hello" in ctl.out

        assert ctl("device.release", "--for", "10m") == 0
        assert "until: 2" in ctl.out
        assert daemon.hosts() == []
        assert wait_for(lambda: codes(observer) & {"device_released"}, what="the loan is a condition", timeout=30.0)
        assert observer.wait_for(f"{BASE}/settings")[-1].json["device"] == "OFF"
        assert ctl("device.restart", "--json") == 1
        assert json.loads(ctl.out)["error"]["code"] == "device_unavailable"

        with subprocess.Popen(borrow, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as borrower:
            assert borrower.stdout is not None
            assert borrower.stdout.readline() == "mine\n"
            assert ctl("device.acquire") == 1
            assert "device_unavailable" in ctl.err
            held = f"(pid {borrower.pid})"
            wait_for(lambda: held in texts(observer), what="health names the borrower", timeout=30.0)
            assert "device_acquired" not in events(observer)
            borrower.communicate("")
        assert ctl("device.acquire") == 0
        serves(observer)
        loan = ["device_released", "device_acquired"]
        assert [name for name in events(observer) if name in loan][-2:] == loan
        assert wait_for(
            lambda: codes(observer) - {"clock_unsynced"} == {"simulated"}, what="all is well again", timeout=30.0
        )

        # With a time, and by the switch.
        assert ctl("device.release", "for_s=1") == 0
        wait_for(lambda: events(observer).count("device_acquired") == 2, what="taken back by itself", timeout=30.0)
        assert [m.json for m in observer.of(f"{BASE}/event")][-1]["by"] == "time"
        observer.publish(f"{BASE}/set/device", "OFF")
        wait_for(
            lambda: observer.of(f"{BASE}/settings")[-1].json["device"] == "OFF", what="the switch is off", timeout=30.0
        )
        observer.publish(f"{BASE}/set/device", "ON")
        serves(observer)
        assert "command_failed" not in events(observer)
        assert daemon.stop() == 0


def test_daemon_answers_in_either_protocol(
    tmp_path: Path, broker: Broker, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal is told with its code and what is allowed; with MQTT 3.1.1 the reply is found among those of others.
    A daemon that has lent its device ends like any other."""
    (tmp_path / "two.sim.toml").write_text(SEES_TWO)
    with Observer(broker.port, f"{BASE}/#") as observer, Daemon(tmp_path, broker, CAMERA) as daemon:
        observer.wait_for(f"{BASE}/status", timeout=30.0)
        ctl = Ctl(capsys, "--config", str(daemon.path))
        assert ctl("reboot") == 1
        assert "unknown_command" in ctl.err
        assert "allowed: ping, settings.set" in ctl.err
        assert ctl("device.release", "--for", "2d") == 1
        assert "out_of_range" in ctl.err
        assert ctl("device.release", "--for", "1h", "--dry-run", "--json") == 0
        assert json.loads(ctl.out)["data"] == {"for_s": 3600, "dry_run": True}
        assert ctl("model.swap", "nowhere") == 1
        assert "model_not_found" in ctl.err
        assert ctl("settings.set", "cameras.front.threshold=0.6", "models.two.batch_size=4", "log_level=debug") == 0
        assert ctl("settings.get", "cameras.front.threshold", "--json") == 0
        assert "0.6" in json.dumps(json.loads(ctl.out)["data"])
        monkeypatch.setenv("HAILOD_MQTT__PROTOCOL", "3.1.1")
        assert ctl("ping", "n=1") == 0
        assert observer.wait_for(f"{BASE}/reply/ping")[-1].json["data"] == {"n": 1}
        assert ctl("device.release") == 0
        assert daemon.stop() == 0
        assert ctl("ping") == 3
        assert "is offline" in ctl.err


def test_node_that_is_not_there_is_told_from_a_broker_that_is_not(
    broker: Broker, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without an answer it is said that the broker was reached, and what it knows of the node."""
    ctl = Ctl(capsys, *at(broker))
    assert ctl("ping", "--timeout", "1") == 3
    assert "it knows no node at all" in ctl.err
    with Observer(broker.port) as observer:
        observer.publish("hailod/kitchen/status", "online", retain=True)
        assert ctl("ping", "--timeout", "0.1") == 3
        assert "it knows kitchen" in ctl.err
        observer.publish(f"{BASE}/status", "offline", retain=True)
        assert ctl("ping") == 3
        assert f"node {NODE} is offline" in ctl.err
        observer.publish(f"{BASE}/status", "online", retain=True)
        assert ctl("ping", "--timeout", "0.1") == 3
        assert f"node {NODE} is online" in ctl.err
    broker.stop()
    assert ctl("ping") == 4
    assert f"nothing listens on 127.0.0.1:{broker.port}" in ctl.err


def test_node_that_takes_no_commands_is_found_at_once(broker: Broker, capsys: pytest.CaptureFixture[str]) -> None:
    """A broker that has nobody to give the command to says so, and nobody waits for an answer."""
    with Observer(broker.port, f"{BASE}/status") as observer:
        observer.publish(f"{BASE}/status", "online", retain=True)
        ctl = Ctl(capsys, *at(broker))
        assert ctl("ping", "--timeout", "1h") == 3
        assert "takes no commands" in ctl.err


def test_broker_that_refuses_us_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong password is told with its remedy, and a right one from a file or the environment is used."""
    password = tmp_path / "password"
    password.write_text("s3cr3t-p4ss\n")
    password.chmod(0o600)
    with Broker(tmp_path, users={"me": "s3cr3t-p4ss"}) as broker:
        ctl = Ctl(capsys, *at(broker), "--username", "me")
        monkeypatch.setenv("HAILOD_MQTT__PASSWORD", "wr0ng-p4ss")
        assert ctl("ping") == 4
        assert "refuses us" in ctl.err
        assert "mqtt.password" in ctl.err
        assert "wr0ng-p4ss" not in ctl.err
        assert ctl("ping", "--password-file", str(password)) == 3
        monkeypatch.setenv("HAILOD_MQTT__PASSWORD", "s3cr3t-p4ss")
        assert ctl("ping") == 3
        assert ctl("ping", "--password-file", str(tmp_path / "nowhere")) == 78


def test_user_without_rights_is_told_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A broker that lets a user look and not command is not mistaken for a node that is silent."""
    acl = tmp_path / "acl"
    acl.write_text("topic read hailod/#\n")
    with Broker(tmp_path, config=[f"acl_file {acl}"]) as broker:
        ctl = Ctl(capsys, *at(broker))
        assert ctl("ping") == 4
        assert "does not let this user give commands" in ctl.err


def test_old_broker_is_spoken_to_in_its_version(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A broker of MQTT 3.1.1 refuses version 5 and is asked again in its own."""
    with OldBroker(tmp_path) as broker:
        assert Ctl(capsys, *at(broker))("ping", "--timeout", "0.2") == 3


def test_script_of_the_documentation_borrows_and_gives_back(tmp_path: Path, broker: Broker) -> None:
    """The script as it is printed lends the device, runs the program on it, and gives it back with its exit code."""
    (tmp_path / "two.sim.toml").write_text(SEES_TWO)
    printed = (REPOSITORY / "docs" / "lending.md").read_text().partition("```sh\n")[2].partition("```")[0]
    script, shim, program = tmp_path / "borrow", tmp_path / "bin" / "hailod", tmp_path / "program.py"
    script.write_text(printed)
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nshift\nexec {sys.executable} -m hailod ctl "$@" --config {tmp_path}/hailod.toml\n')
    shim.chmod(0o755)
    program.write_text(BORROWER + "sys.exit(3)\n")
    with Observer(broker.port, "hailod/#") as observer, Daemon(tmp_path, broker, CAMERA) as daemon:
        serves(observer)
        borrowed = subprocess.run(
            ["sh", str(script), "10m", sys.executable, str(program), str(os.getpid())],
            check=False,
            env={**os.environ, "PATH": f"{shim.parent}:{os.environ['PATH']}"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (borrowed.returncode, "mine" in borrowed.stdout) == (3, True), borrowed
        loan = ["device_released", "device_acquired"]
        assert [name for name in events(observer) if name in loan][-2:] == loan
        serves(observer)
        assert daemon.stop() == 0


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["PING"],
        ["ping", "x"],
        ["ping", "=1"],
        ["reboot", "now"],
        ["device.acquire", "now"],
        ["device.release", "soon"],
        ["model.swap", "one", "two"],
        ["model.swap", "one", "model=two"],
        ["settings.set", "debug"],
        ["settings.set", "cameras..threshold=0.6"],
        ["settings.set", "cameras=front"],
        ["settings.set", "node=kitchen", "log_level=debug"],
        ["camera.add", "yard", "source=rtsp://me:geheim@192.0.2.1/1"],
        ["ping", "--for", "soon"],
        ["ping", "--json-args", "[1]"],
        ["ping", "--json-args", '{"x": NaN}'],
        ["ping", "--node", "a/+"],
        ["ping", "--host", "a b"],
        ["ping", "--host", "h", "--port", "0"],
        ["ping", "--host", "127.0.0.1", "--password", "geheim"],
    ],
)
def test_wrong_usage_is_exit_code_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be meant is refused before anything is connected to; there is no option for a password."""
    assert main(["ctl", *words]) == 2
    assert capsys.readouterr().err
