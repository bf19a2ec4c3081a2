"""However the daemon is ended, and in whatever state it is: it is over soon, says so, and leaves no child."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from hailod import app
from hailod.deadman import ALARM_AFTER_S
from hailod.mqtt.client import STOP_GRACE_S
from tests.support.broker import Broker, Observer
from tests.support.daemon import BASE, FRONT, SEES_TWO, Daemon
from tests.support.unkillable import unkillable
from tests.support.waiting import wait_for

# What users are promised. No test need look at the clock for it: a daemon that takes longer ends itself, with code 1.
PROMISED_S = 5.0

ONE_CAMERA = """
[models.two]
path = "two.sim.toml"
[cameras.front]
source = "synthetic:?size=320x240&fps=20"
"""
SLOW_MODEL = """
[models.other]
path = "other.sim.toml"
"""
SLOW_DEVICE = f"""
[device]
backend = "simulated"
[device.simulated]
configure_s = 8.0
serial = "{os.getpid()}"
"""


class Network(Broker):
    """A port where a broker should be."""

    def __init__(self, port: int) -> None:
        self.port = port


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path) as running:
        yield running


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for name in ("two", "other"):
        (tmp_path / f"{name}.sim.toml").write_text(SEES_TWO)
    return tmp_path


def at_work(observer: Observer) -> None:
    """Wait for the first detections, however slow the machine is to start a daemon."""
    observer.wait_for(f"{FRONT}/detections", timeout=30.0)


def children(daemon: Daemon) -> list[psutil.Process]:
    return psutil.Process(daemon.process.pid).children(recursive=True)


def ended(daemon: Daemon, *, number: int = signal.SIGTERM) -> int:
    """End it by a signal. Returns the exit code; no child is left."""
    left = children(daemon)
    daemon.process.send_signal(number)
    code = daemon.wait()
    assert psutil.wait_procs(left, 3.0)[1] == []
    return code


def test_time_to_end_is_bounded_by_construction() -> None:
    """The longest that each part may take adds up to less than what the last resort waits for, and that to less than
    what is promised."""
    parts = app.CAMERAS_STOP_S + app.ENGINE_STOP_S + app.SAVER_STOP_S + app.MQTT_FAREWELL_S + STOP_GRACE_S
    assert parts < app.END_WITHIN_S
    assert app.END_WITHIN_S + ALARM_AFTER_S < PROMISED_S


@pytest.mark.parametrize("delay", [0.0, 0.2, 0.6])
def test_while_it_starts(models: Path, broker: Broker, delay: float) -> None:
    """A signal that comes before anything runs ends the process as well: by its own handler or the system's."""
    with Daemon(models, broker, ONE_CAMERA) as daemon:
        wait_for(lambda: daemon.process.poll() is None)
        try:
            daemon.process.wait(delay)
        except subprocess.TimeoutExpired:
            assert ended(daemon) in (0, -signal.SIGTERM)
    assert "Traceback" not in daemon.output


def test_impatient_user(models: Path, broker: Broker) -> None:
    """A flood of signals while it ends changes nothing: `offline` is said, all frames are accounted for, code 0."""
    with Observer(broker.port, f"{BASE}/#") as observer, Daemon(models, broker, ONE_CAMERA) as daemon:
        at_work(observer)
        left = children(daemon)
        daemon.process.send_signal(signal.SIGTERM)
        while daemon.process.poll() is None:
            daemon.process.send_signal(signal.SIGINT)
            daemon.process.send_signal(signal.SIGTERM)
        assert daemon.wait() == 0
        assert psutil.wait_procs(left, 3.0)[1] == []
        assert observer.wait_for(f"{BASE}/status", 2)[-1].payload == b"offline"
    assert "frames accounted for" in daemon.output
    assert "hailod ends" in daemon.output


def test_while_the_device_opens(models: Path, broker: Broker) -> None:
    """A device host that was stopped before it had opened the device is ended like any other."""
    with Daemon(models, broker, ONE_CAMERA) as daemon:
        os.kill(daemon.host, signal.SIGSTOP)
        assert ended(daemon) == 0


def test_while_the_device_configures_and_a_swap_is_under_way(models: Path, broker: Broker) -> None:
    """A device host deep in its library does not delay the end, and the swap that waits for it is not written down."""
    body = ONE_CAMERA + SLOW_MODEL
    with (
        Observer(broker.port, f"{BASE}/#") as observer,
        Daemon(models, broker, body, device=SLOW_DEVICE, head='model = "two"\n') as daemon,
    ):
        wait_for(lambda: "device open" in daemon.output, what="the device is open", timeout=30.0)
        observer.wait_for(f"{BASE}/status")
        observer.publish(f"{BASE}/cmd/model.swap", '{"id":"1","args":{"model":"other"}}')
        observer.wait_for(f"{BASE}/event")
        assert ended(daemon) == 0
        assert observer.wait_for(f"{BASE}/status", 2)[-1].payload == b"offline"
    assert not daemon.state.joinpath("overrides.json").exists()


def test_while_the_device_host_does_not_die(models: Path, broker: Broker) -> None:
    """A host that SIGKILL does not end, because its driver holds it, is told as stuck and not waited for."""
    with Observer(broker.port, f"{BASE}/#") as observer, Daemon(models, broker, ONE_CAMERA) as daemon:
        at_work(observer)
        host = daemon.host
        with unkillable(host):
            os.kill(host, signal.SIGKILL)
            wait_for(lambda: psutil.Process(host).status() == psutil.STATUS_TRACING_STOP, what="it hangs in its exit")
            daemon.process.send_signal(signal.SIGTERM)
            assert daemon.wait() == 0
            assert observer.wait_for(f"{BASE}/status", 2)[-1].payload == b"offline"
        psutil.wait_procs([psutil.Process(host)] if psutil.pid_exists(host) else [], 3.0)


@pytest.mark.parametrize("how", ["absent", "silent", "stalled"])
def test_without_a_broker_that_answers(models: Path, broker: Broker, how: str) -> None:
    """A broker that is not there, one that accepts and says nothing, and one that stopped in the middle."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if how == "absent":
            server.close()
        with Daemon(models, broker if how == "stalled" else Network(port), ONE_CAMERA) as daemon:
            wait_for(lambda: "model in service" in daemon.output, what="it is at work", timeout=30.0)
            if how == "stalled":
                wait_for(lambda: "mqtt connected" in daemon.output, what="it is connected")
                broker.signal(signal.SIGSTOP)
            assert ended(daemon) == 0


def test_while_a_camera_hangs_in_a_name_look_up(models: Path, broker: Broker, tmp_path: Path) -> None:
    """A name server that never answers holds a camera's thread in a call that nobody can interrupt."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        try:
            server.bind(("127.0.0.77", 53))
        except OSError:
            pytest.skip("needs to be a name server, on port 53")
        (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.77\noptions timeout:20 attempts:2\n")
        script = f'mount --bind {tmp_path}/resolv.conf /etc/resolv.conf && exec "$@"'
        prefix = ("unshare", "--mount", "sh", "-c", script, "sh", "env", "RES_OPTIONS=timeout:20")
        if subprocess.run([*prefix[:5], "sh", "true"], check=False, capture_output=True).returncode:
            pytest.skip("needs a mount namespace")
        body = ONE_CAMERA + '[cameras.gate]\nsource = "rtsp://camera.example/stream"\n'
        with Observer(broker.port, f"{BASE}/#") as observer, Daemon(models, broker, body, prefix=prefix) as daemon:
            at_work(observer)
            server.settimeout(10.0)
            assert b"camera" in server.recv(512)
            assert ended(daemon) == 0
            assert observer.wait_for(f"{BASE}/status", 2)[-1].payload == b"offline"
    assert "camera threads left behind" in daemon.output


def broken(fault: str) -> tuple[str, ...]:
    """A command that runs the daemon with a fault in it, which comes when `fail` is beside its configuration."""
    program = f"""
import ctypes, os, sys, threading
from hailod import worker
from hailod.cli import main, run
from hailod.control import loop, vigil

def usleep_with_the_gil(seconds):
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))

def now():
    return os.path.exists(os.path.join(os.path.dirname(sys.argv[-1]), "fail"))

tick, beat = loop.Control.tick, worker.Worker.beat
{fault}
sys.exit(main(sys.argv[4:]))
"""
    return sys.executable, "-c", program


CONTROL_RAISES = """
def fail(self, at):
    tick(self, at)
    if now():
        raise LookupError("a bug")
loop.Control.tick = fail
"""
CONTROL_HANGS = """
def fail(self, at):
    tick(self, at)
    if now():
        usleep_with_the_gil(600)
loop.Control.tick = fail
run.CONTROL_BOUND_S = 3.0
"""
THREAD_HANGS = """
def fail(self):
    beat(self)
    if self.name == "dispatcher" and now():
        self.bound = 0.2
        threading.Event().wait()
worker.Worker.beat = fail
vigil.SILENCE_S = 0.3
"""
THREAD_DIES = """
def fail(self):
    beat(self)
    if self.name == "spawner" and now():
        raise LookupError("a bug")
worker.Worker.beat = fail
"""


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (CONTROL_RAISES, ("control thread", "LookupError: a bug", "frames accounted for", "mqtt disconnected")),
        (CONTROL_HANGS, ("Timeout (0:00:03)!", "usleep_with_the_gil", "in serve")),
        (THREAD_HANGS, ("worker hangs  worker=dispatcher", "in fail", "worker dispatcher was silent")),
        (THREAD_DIES, ("LookupError: a bug", "worker spawner failed", "mqtt disconnected")),
    ],
    ids=["control-raises", "control-hangs", "thread-hangs", "thread-dies"],
)
def test_thread_that_dies_or_hangs_ends_the_daemon(
    models: Path, broker: Broker, fault: str, words: tuple[str, ...]
) -> None:
    """A daemon that lost a thread, be it the control thread that keeps the interpreter to itself, says where the thread
    was and ends with code 1, so that it is started anew; no child is left and the node is offline."""
    with Observer(broker.port, f"{BASE}/#") as observer:
        with Daemon(models, broker, ONE_CAMERA, prefix=broken(fault)) as daemon:
            at_work(observer)
            left = children(daemon)
            models.joinpath("fail").touch()
            assert daemon.wait(30.0) == 1
            assert psutil.wait_procs(left, 3.0)[1] == []
        wait_for(lambda: observer.of(f"{BASE}/status")[-1].payload == b"offline", what="the node is offline")
    assert [word for word in words if word not in daemon.output] == []


def test_killed_daemon_leaves_no_child(models: Path, broker: Broker) -> None:
    """SIGKILL cannot be handled: the device host ends by itself, also one that is stopped, and the broker says
    `offline`; the next start is as any other."""
    for stop_host in (False, True):
        with Observer(broker.port, f"{BASE}/#") as observer, Daemon(models, broker, ONE_CAMERA) as daemon:
            at_work(observer)
            left = children(daemon)
            assert left
            if stop_host:
                # The daemon would replace it; it is gone before it can.
                daemon.process.send_signal(signal.SIGSTOP)
                os.kill(daemon.host, signal.SIGSTOP)
            daemon.process.kill()
            daemon.wait()
            assert psutil.wait_procs(left, 3.0)[1] == []
            wait_for(lambda seen=observer: seen.of(f"{BASE}/status")[-1].payload == b"offline", what="the will is told")
