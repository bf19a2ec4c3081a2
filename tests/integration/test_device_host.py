"""The engine with a real device host: frames come back, and whatever happens to the host, the books balance.

Every test ends with `Bench.__exit__`, which asserts that the books balanced in every snapshot, that nothing is left in
flight, and that there are as many results as frames counted as done.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from structlog.testing import capture_logs

from hailod.clock import SystemClock
from hailod.device.events import (
    DeviceDown,
    DeviceReleased,
    DeviceUp,
    ModelLost,
    ModelQuarantined,
    ModelReady,
    ModelUnloaded,
)
from hailod.device.recovery import Rung
from hailod.device.spawner import STDERR_LINES, HostEvent, HostExited, HostMessage, HostStarted, Spawner
from hailod.device.statuses import Fault
from tests.conftest import REPOSITORY
from tests.support.engine import Bench, device, plan
from tests.support.waiting import wait_for


@pytest.fixture
def faults(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a script of faults; an empty one is written over it with `faults("")`."""

    def write(text: str) -> Path:
        path = tmp_path / "faults.toml"
        path.write_text(text)
        return path

    return write


# -- frames in, detections out ---------------------------------------------------------------------------------------


def test_every_frame_comes_back(tmp_path: Path) -> None:
    """Each frame that the device takes comes back with what the model saw, in boxes of the frame."""
    with Bench(device(), plan(tmp_path)) as bench:
        bench.in_service()
        numbers = []
        for _ in range(40):
            numbers.append(bench.offer())
            bench.ended()
        assert bench.pair().ended == {"done": 40}
        assert [result.frame.number for result in bench.results] == numbers
        for result in bench.results:
            assert result.detections.classes.tolist() == [0, 1]
            assert np.allclose(result.detections.scores, [0.9, 0.6])
            timing = result.timing
            assert timing.captured <= timing.taken <= timing.started <= timing.ended <= timing.finished
        # The input is 96 x 64, the frame 64 x 32: 32 lines of it are picture, from the 8th on.
        assert np.allclose(bench.results[0].detections.boxes[0], [0.1, (0.2 * 64 - 8) / 48, 0.3, (0.8 * 64 - 8) / 48])


@pytest.mark.parametrize("prep_workers", [1, 2])
def test_batches_and_two_models_at_once(tmp_path: Path, prep_workers: int) -> None:
    """Batches of several cameras and two models on one device keep apart whose result is whose."""
    cat = "[[simulator.detections]]\nclass_id = 0\nscore = 0.8\nbox = [0.0, 0.0, 1.0, 1.0]\n"
    other = f'labels = ["cat"]\n[simulator]\nclasses = 1\ninput = [32, 32]\nswitch_ms = 1.0\nframe_ms = 0.5\n{cat}'
    plans = plan(tmp_path, batch_size=4), plan(tmp_path, "other", batch_size=2, manifest=other)
    cameras = ["a", "b", "c", "d", "e"]
    with Bench(device(), *plans, cameras=cameras, prep_workers=prep_workers) as bench:
        bench.in_service()
        for _ in range(20):
            for camera in cameras:
                bench.offer(camera)
            for camera in cameras:
                bench.ended("two", camera)
                bench.ended("other", camera)
        for camera in cameras:
            for model, classes in (("two", [0, 1]), ("other", [0])):
                assert bench.pair(model, camera).ended == {"done": 20}
                mine = [r for r in bench.results if (r.frame.camera, r.lane.name) == (camera, model)]
                assert len(mine) == 20
                assert all(result.detections.classes.tolist() == classes for result in mine)
        batches = {(r.lane.name, r.timing.ended) for r in bench.results}
        assert len(batches) < len(bench.results)


def test_without_scheduler(tmp_path: Path) -> None:
    """With `scheduler = "none"` the model is activated for good and runs all the same."""
    with Bench(device(scheduler="none"), plan(tmp_path, batch_size=2)) as bench:
        bench.in_service()
        bench.run(10)
        assert bench.pair().ended == {"done": 10}


def test_soft_restart_keeps_the_process(tmp_path: Path) -> None:
    """A soft restart configures the model anew in the same host, and frames run again."""
    with Bench(device(), plan(tmp_path)) as bench:
        host = bench.host
        bench.run(3)
        bench.engine.restart("soft")
        wait_for(lambda: len(bench.of(ModelReady)) == 2, what="the model is configured anew")
        assert len(bench.of(ModelUnloaded)) == 1
        bench.run(3)
        assert bench.host.pid == host.pid
        assert bench.pair().ended["done"] == 6


# -- scripted faults -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "script",
    ["fail_completions = { 4 = 63 }", "fail_completions = { 4 = 4 }", "fail_submits = { 4 = 82 }"],
)
def test_dead_session_costs_neither_host_nor_frame(tmp_path: Path, faults: Callable[[str], Path], script: str) -> None:
    """After a failed submission or completion the model is configured anew in the same host, and the frame is run."""
    with Bench(device(faults=faults(script)), plan(tmp_path)) as bench:
        host = bench.host
        bench.run(9)
        assert bench.pair().ended == {"done": 9}
        assert bench.pair().retried == 1
        assert [result.frame.number for result in bench.results] == list(range(1, 10))
        assert all(len(result.detections) == 2 for result in bench.results)
        assert [lost.rung for lost in bench.of(ModelLost)] == [Rung.SESSION]
        assert bench.down() == []
        assert bench.host.pid == host.pid


@pytest.mark.parametrize(
    ("script", "fault", "ends"),
    [
        # A crash is over in time for its frame to be run; after a hang it is too old.
        ("fail_completions = { 4 = 36 }", Fault.DEVICE_LOST, {"done", "expired"}),
        ("abort_at = 4", Fault.DEVICE_LOST, {"done", "expired"}),
        ("hang_from = 4", Fault.HUNG, {"expired"}),
        ("vanish_at = 4", Fault.HUNG, {"expired"}),
    ],
)
def test_failed_inference_is_no_empty_scene(
    tmp_path: Path, faults: Callable[[str], Path], script: str, fault: Fault, ends: set[str]
) -> None:
    """Whatever the device does to a batch, its frame is run by the next host or has no result."""
    with Bench(device(faults=faults(script)), plan(tmp_path)) as bench:
        host = bench.host
        bench.run(3)
        faults("")
        fourth = bench.offer()
        new = bench.replaced(host)
        ended = dict(bench.ended())
        bench.run(5)
        last = ended.keys() - {"done"} or {"done"}
        assert last <= ends
        assert (ended["done"] == 4) == (fourth in [result.frame.number for result in bench.results])
        assert sum(bench.pair().ended.values()) == 9
        assert all(len(result.detections) == 2 for result in bench.results)
        assert [down.fault for down in bench.down()] == [fault]
        assert new.pid != host.pid
        assert not host.is_running()


def test_all_frames_of_a_failed_batch_come_back(tmp_path: Path, faults: Callable[[str], Path]) -> None:
    """With several frames in one batch and a second batch behind it, all of them are run again and none is lost."""
    cameras = [f"cam{number}" for number in range(8)]
    script = faults("fail_completions = { 1 = 63 }")
    with Bench(device(faults=script), plan(tmp_path, batch_size=4), cameras=cameras) as bench:
        host = bench.host
        for camera in cameras:
            bench.offer(camera)
        assert [bench.ended("two", camera) for camera in cameras] == [{"done": 1}] * 8
        assert all(len(result.detections) == 2 for result in bench.results)
        assert bench.host.pid == host.pid


def test_one_models_fault_is_that_models(tmp_path: Path, faults: Callable[[str], Path]) -> None:
    """A model that keeps failing goes into quarantine; the other one on the device neither stops nor changes host."""
    script = faults('[[fault]]\nkind = "completion"\nstatus = "STREAM_ABORT"\nmodel = "bad"\nrate = 1.0\n')
    # The bad one is loaded first, and has failed before the good one has shown that it is well.
    plans = plan(tmp_path, "bad"), plan(tmp_path, "good")
    with Bench(device(faults=script), *plans) as bench:
        host = bench.host
        for _ in range(200):
            bench.offer()
            bench.ended("good")
            if bench.of(ModelQuarantined):
                break
        assert [each.name for each in bench.of(ModelQuarantined)] == ["bad"]
        bench.run(5, model="good")
        assert bench.engine.link.pid == host.pid
        assert bench.down() == []
        assert set(bench.pair("good").ended) <= {"done", "expired"}
        assert not [result for result in bench.results if result.lane.name == "bad"]


def test_garbage_is_never_published(tmp_path: Path, faults: Callable[[str], Path]) -> None:
    """Outputs of NaN have no result; the frames have failed and the trouble is told each time."""
    script = faults('[[fault]]\nkind = "garbage"\nfill = "nan"\njob = 3\ntimes = 4\n')
    with Bench(device(faults=script), plan(tmp_path)) as bench:
        bench.in_service()
        bench.run(10)
        assert bench.pair().ended == {"done": 6, "failed": 4}
        assert [trouble.in_a_row for trouble in bench.troubles] == [1, 2, 3, 4]
        assert all(len(result.detections) == 2 for result in bench.results)


def test_device_is_lent_and_taken_back(tmp_path: Path) -> None:
    """While the device is lent another engine can have it; afterwards this one serves again."""
    settings = device()
    with Bench(settings, plan(tmp_path)) as bench:
        bench.run(2)
        bench.engine.release()
        wait_for(lambda: bench.of(DeviceReleased), what="the device is free")
        with Bench(settings, plan(tmp_path)) as other:
            other.run(2)
            bench.engine.acquire()
            wait_for(lambda: bench.down()[-1].fault is Fault.UNAVAILABLE, what="it is in use")
        bench.in_service()
        before = bench.pair().ended["done"]
        wait_for(lambda: bench.run(1) or bench.pair().ended["done"] > before, what="frames are run again")


def test_device_that_does_not_open_leaves_the_daemon_alive(tmp_path: Path, faults: Callable[[str], Path]) -> None:
    """Without a device the engine goes on trying with one host after the other, and serves once there is one."""
    with Bench(device(faults=faults("open_status = 74")), plan(tmp_path)) as bench:
        wait_for(lambda: len(bench.down()) >= 2, what="the second host found no device")
        assert {down.fault for down in bench.down()} == {Fault.UNAVAILABLE}
        assert not bench.of(DeviceUp)
        bench.offer()
        bench.offer()
        assert bench.pair().ended == {"superseded": 1}
        faults("")
        bench.in_service()
        bench.run(2)
        assert bench.pair().ended["done"] >= 2


# -- what happens to processes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "fault"),
    [(signal.SIGKILL, Fault.DEVICE_LOST), (signal.SIGSTOP, Fault.HUNG), (signal.SIGSEGV, Fault.DEVICE_LOST)],
)
def test_host_that_is_killed_or_stopped_is_replaced(tmp_path: Path, number: signal.Signals, fault: Fault) -> None:
    """A host that is killed, crashes or is stopped is replaced at once, and frames run again."""
    with Bench(device(heartbeat_timeout=30.0), plan(tmp_path)) as bench:
        host = bench.host
        bench.run(2)
        host.send_signal(number)
        bench.replaced(host)
        bench.run(2)
        assert [down.fault for down in bench.down()] == [fault]
        assert bench.pair().ended["done"] == 4


def test_host_ignores_the_signals_of_a_terminal(tmp_path: Path) -> None:
    """SIGTERM, SIGINT and SIGHUP, which a terminal or systemd sends to all, are the daemon's business."""
    with Bench(device(), plan(tmp_path)) as bench:
        host = bench.host
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            host.send_signal(number)
        bench.run(3)
        assert bench.host.pid == host.pid
        assert bench.of(DeviceDown) == []


def test_host_has_only_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No secret and nothing of systemd's reaches the host's environment, and no descriptor but its own."""
    secrets = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "CREDENTIALS_DIRECTORY", "HAILOD_MQTT__PASSWORD", "INVOCATION_ID")
    for name in secrets:
        monkeypatch.setenv(name, "/secret")
    read, write = os.pipe()
    os.set_inheritable(write, True)
    try:
        with Bench(device(), plan(tmp_path)) as bench:
            host = bench.host
            environment = Path(f"/proc/{host.pid}/environ").read_bytes().decode()
            assert "secret" not in environment
            names = {entry.partition("=")[0] for entry in environment.split("\0") if entry}
            assert not names & set(secrets)
            assert names <= {
                "PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "PYTHONPATH",
                "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX", "PYTHONUNBUFFERED", "HAILORT_LOGGER_PATH",
            }  # fmt: skip
            targets = [os.readlink(f"/proc/{host.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{host.pid}/fd")]
            inherited = os.readlink(f"/proc/self/fd/{write}")
            assert inherited not in targets
            # Jobs, control, and the one by which the simulated chip is held.
            assert sum(target.startswith("socket:") for target in targets) == 3
    finally:
        os.close(read)
        os.close(write)


def test_host_dies_with_the_daemon(tmp_path: Path) -> None:
    """When the daemon is killed without a chance to clean up, no host is left that holds the device."""
    folder = repr(str(tmp_path))
    script = (
        "import pathlib, sys, time\n"
        "from tests.support.engine import Bench, device, plan\n"
        f"with Bench(device(), plan(pathlib.Path({folder}))) as bench:\n"
        "    print(bench.host.pid, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    daemon = subprocess.Popen(
        [sys.executable, "-c", script], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert daemon.stdout is not None
        assert daemon.stdin is not None
        host = psutil.Process(next(int(line) for line in daemon.stdout if line.strip().isdigit()))
        assert host.is_running()
        daemon.kill()
        daemon.wait(10.0)
        gone, _ = psutil.wait_procs([host], timeout=5.0)
        assert gone == [host]
    finally:
        daemon.kill()
        daemon.communicate()


# -- a spawner alone, with a program of the test's in the host's place -------------------------------------------------


class Hosts:
    """A spawner whose hosts run `program` instead of the host module, and what it reported."""

    def __init__(self, tmp_path: Path, program: str, monkeypatch: pytest.MonkeyPatch) -> None:
        stand_in = tmp_path / "hailod" / "device"
        stand_in.mkdir(parents=True)
        for package in (stand_in.parent, stand_in):
            (package / "__init__.py").touch()
        (stand_in / "host.py").write_text(
            "import os, socket, sys, time\n"
            "jobs, control = (socket.socket(fileno=int(fd)) for fd in sys.argv[1:3])\n" + program
        )
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.setenv("PYTHONSAFEPATH", "1")
        monkeypatch.chdir(tmp_path)
        self.events: list[HostEvent] = []
        self.sockets: list[socket.socket] = []
        self.spawner = Spawner(SystemClock(), self._hear)

    def _hear(self, event: HostEvent) -> None:
        self.events.append(event)
        if isinstance(event, HostStarted):
            self.sockets += [event.jobs, event.control]

    def __enter__(self) -> Hosts:
        self.spawner.start()
        self.spawner.spawn(1)
        return self

    def __exit__(self, *_: object) -> None:
        assert self.spawner.stop(5.0)
        for each in self.sockets:
            each.close()

    def exited(self) -> HostExited:
        """Wait for the host's end."""
        wait_for(lambda: any(isinstance(event, HostExited) for event in self.events), what="the host is reaped")
        return next(event for event in self.events if isinstance(event, HostExited))


def test_last_words_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that dies leaves the last lines of its standard error in the report, the unfinished one included."""
    program = 'for n in range(50): os.write(2, b"line %d\\n" % n)\nos.write(2, b"the end")\nos._exit(3)\n'
    with Hosts(tmp_path, program, monkeypatch) as hosts:
        exited = hosts.exited()
    assert exited.reason == "exited with code 3"
    assert exited.last_lines == (*(f"line {n}" for n in range(50 - STDERR_LINES + 1, 50)), "the end")


def test_flood_of_words_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that writes without end neither fills the log nor keeps the spawner from its other work."""
    program = 'while True: os.write(2, b"x" * 100 + b"\\n" + b"y" * 5000 + b"\\n")\n'
    with capture_logs() as logs, Hosts(tmp_path, program, monkeypatch) as hosts:
        wait_for(lambda: any("was cut" in entry["event"] for entry in logs), what="the flood is cut and that is said")
        assert not hosts.spawner.worker.late
        hosts.spawner.kill(1)
        exited = hosts.exited()
    said = [entry for entry in logs if entry["event"] == "device host says"]
    cuts = [entry for entry in logs if "was cut" in entry["event"]]
    assert len(said) <= 10 * (len(cuts) + 1)
    assert all(len(entry["text"]) <= 400 for entry in said)
    assert all(len(line) <= 400 for line in exited.last_lines)
    assert exited.reason.startswith("killed by signal 9")


@pytest.mark.parametrize(
    "garbage",
    [
        'b"nonsense"',
        'b"[" * 60000',
        'b"\\xff\\x00"',
        "b'{\"type\": 7}'",
        "b'[]'",
    ],
)
def test_host_that_talks_nonsense_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, garbage: str) -> None:
    """What is no message on the control channel ends the host that said it, and nothing else."""
    program = f"control.send({garbage})\ntime.sleep(60)\n"
    with Hosts(tmp_path, program, monkeypatch) as hosts:
        assert hosts.exited().reason.startswith("killed by signal 9")
        assert hosts.spawner.worker.failure is None
        assert not any(isinstance(event, HostMessage) for event in hosts.events)


def test_descriptors_that_come_with_nonsense_are_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host cannot fill the daemon's table of descriptors, neither by messages nor by what is none."""
    program = (
        "for text in [b'{\"type\": \"beat\"}'] * 20 + [b'no']:\n"
        "    socket.send_fds(control, [text], [1])\n"
        "time.sleep(60)\n"
    )
    before = len(os.listdir("/proc/self/fd"))
    with Hosts(tmp_path, program, monkeypatch) as hosts:
        hosts.exited()
        assert sum(isinstance(event, HostMessage) for event in hosts.events) == 20
    assert len(os.listdir("/proc/self/fd")) == before


def test_spawner_ends_hosts_that_are_just_being_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop that comes while a host is being started leaves none behind."""
    with Hosts(tmp_path, "time.sleep(60)\n", monkeypatch) as hosts:
        for generation in range(2, 6):
            hosts.spawner.spawn(generation)
        wait_for(lambda: any(isinstance(event, HostStarted) for event in hosts.events), what="a host runs")
    started = {event.generation for event in hosts.events if isinstance(event, HostStarted)}
    assert started
    assert {event.generation for event in hosts.events if isinstance(event, HostExited)} == started
