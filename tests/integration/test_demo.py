"""`hailod demo` as a stranger runs it: a command that shows everything and leaves nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.conftest import REPOSITORY
from tests.support.broker import Observer
from tests.support.waiting import wait_for

READY = "Ctrl-C ends the demo"
pytestmark = pytest.mark.timeout(120)


class Demo:
    """A running `hailod demo`; its temporary folder is `directory`."""

    def __init__(self, process: subprocess.Popen[str], directory: Path) -> None:
        self.process = process
        self.directory = directory
        self.lines: list[str] = []

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    @property
    def port(self) -> int:
        return int(re.search(r"-p (\d+)", self.output)[1])

    def read(self) -> None:
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def wait_for(self, text: str, timeout: float = 60.0) -> None:
        def said() -> bool:
            assert text in self.output or self.process.poll() is None, f"ended without saying {text!r}:\n{self.output}"
            return text in self.output

        wait_for(said, timeout=timeout, what=f"the demo says {text!r}")

    def end(self, number: signal.Signals) -> None:
        """End it by a signal, which it must take for what it is: exit code 0, balanced books, no file."""
        self.process.send_signal(number)
        assert self.process.wait(15) == 0
        wait_for(lambda: "CPU of the demo" in self.output, what="the summary")
        assert "books balanced" in self.output
        assert list(self.directory.iterdir()) == []

    def children(self) -> list[psutil.Process]:
        """Broker, daemon and device host."""
        return psutil.Process(self.process.pid).children(recursive=True)


@contextmanager
def demo(directory: Path, *arguments: str) -> Iterator[Demo]:
    process = subprocess.Popen(
        [sys.executable, "-m", "hailod", "demo", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "TMPDIR": str(directory)},
    )
    running = Demo(process, directory)
    reader = threading.Thread(target=running.read, name="demo output")
    reader.start()
    try:
        yield running
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)
        reader.join(10)
        process.stdout.close()


def reap(orphan: psutil.Process) -> None:
    """Wait for the end of a process whose parent is dead, and which so became a child of the tests."""
    wait_for(lambda: os.waitpid(orphan.pid, os.WNOHANG)[0] == orphan.pid, what=f"{orphan.pid} is gone")


def test_shows_the_whole_product_and_ends_by_itself(tmp_path: Path) -> None:
    """`hailod demo --seconds N` ends with 0, has said that the device is simulated, how to watch and what to try, what
    was seen and how fast, and leaves no file; leftover processes are every test's business."""
    with demo(tmp_path, "--seconds", "5") as running:
        running.wait_for(READY)
        running.process.wait(60)
    output = running.output
    assert running.process.returncode == 0, output
    assert output.startswith("The accelerator is simulated")
    where = f"-h 127.0.0.1 -p {running.port}"
    assert f"mosquitto_sub {where} -v -t 'hailod/demo/#'" in output
    for topic in ("cam/driveway/set/threshold -m 0.7", "cmd/model.swap -m '{", "cmd/device.restart -m '{"):
        assert f"mosquitto_pub {where} -t hailod/demo/{topic}" in output
    assert re.search(r"^ +\d+\.\d s  driveway    .*came in", output, re.MULTILINE)
    assert re.search(r"speed +\d+\.\d FPS, latency \d+ ms", output)
    assert re.search(r"health +ok: device_configuring is over", output)
    assert re.search(r"^\d+ s, [1-9]\d* frames, \d+\.\d FPS", output, re.MULTILINE)
    assert re.search(r"^driveway saw \d", output, re.MULTILINE)
    assert "books balanced: every frame is accounted for" in output
    assert re.search(r"CPU of the demo, all of its processes: [1-9]\d* %", output)
    assert "\x1b" not in output, "colours are for terminals"
    assert list(tmp_path.iterdir()) == []


def test_the_printed_commands_work(tmp_path: Path) -> None:
    """Each command that the demo prints does, pasted into a shell, what it promises, and the demo tells the answer;
    Ctrl-C ends it in good order."""
    if shutil.which("mosquitto_pub") is None:
        pytest.skip("needs mosquitto_pub: apt-get install mosquitto-clients")
    with demo(tmp_path) as running:
        running.wait_for(READY)
        commands = [line.strip() for line in running.lines if line.startswith("    mosquitto_pub")]
        assert len(commands) == 3
        for command, answer in zip(
            commands,
            ("threshold is 0.7 now, it was 0.5", "model.swap: ok, model accurate, gap_ms ", "device.restart: ok"),
            strict=True,
        ):
            subprocess.run(["sh", "-c", command], check=True, timeout=10)
            running.wait_for(answer)
        running.end(signal.SIGINT)


def test_can_be_ended_before_it_has_begun(tmp_path: Path) -> None:
    """Ctrl-C while everything is still starting is as clean as later."""
    with demo(tmp_path) as running:
        running.wait_for("Starting")
        wait_for(lambda: len(running.children()) >= 2, what="a broker and a daemon start")
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(15) == 0
    assert READY not in running.output
    assert list(tmp_path.iterdir()) == []


def test_its_processes_die_with_it(tmp_path: Path) -> None:
    """Killed with SIGKILL it can clean up nothing, and yet broker, daemon and device host are gone."""
    with demo(tmp_path) as running:
        running.wait_for(READY)
        children = running.children()
        running.process.kill()
        running.process.wait(10)
        assert len(children) == 3
        for child in children:
            reap(child)


def test_says_so_when_the_daemon_dies(tmp_path: Path) -> None:
    """Without its daemon the demo ends with 1, says what happened, and leaves nothing."""
    with demo(tmp_path) as running:
        running.wait_for(READY)
        (daemon,) = [child for child in running.children() if "run" in child.cmdline()]
        (host,) = daemon.children()
        daemon.kill()
        assert running.process.wait(15) == 1
        reap(host)
    assert "hailod: the daemon ended (exit code -9), and said:" in running.output
    assert list(tmp_path.iterdir()) == []


def test_runs_on_amqtt(tmp_path: Path) -> None:
    """Where there is no mosquitto the demo runs on a broker in Python, and obeys commands over it all the same; a
    closed terminal ends it in good order."""
    pytest.importorskip("amqtt")
    with demo(tmp_path, "--broker", "amqtt") as running:
        running.wait_for(READY, timeout=90.0)
        assert "Starting amqtt" in running.output
        with Observer(running.port, "hailod/demo/reply/#", protocol=4) as observer:
            observer.publish("hailod/demo/cmd/model.swap", json.dumps({"args": {"model": "accurate"}}))
            running.wait_for("model.swap: ok, model accurate")
        running.end(signal.SIGHUP)


def test_models_take_turns(tmp_path: Path) -> None:
    """`hailod demo swap` changes the model by itself and shows the gap; `kill` ends it in good order."""
    with demo(tmp_path, "swap") as running:
        running.wait_for("model.swap: ok, model accurate, gap_ms ")
        running.end(signal.SIGTERM)


def test_faults_pass(tmp_path: Path) -> None:
    """`hailod demo --faults` kills the device host, fails an inference, hangs the host, takes a camera and the broker
    away, tells what health said and how long each took, and ends by itself with balanced books."""
    with demo(tmp_path, "--faults") as running:
        assert running.process.wait(110) == 0, running.output
    output = running.output
    assert len(re.findall(r"its successor was started after .* detections again after \d+\.\d s", output)) == 2
    assert "degraded: device_lost: device host killed by signal 9" in output
    assert re.search(r"detections again \d+\.\d s after it was told|it failed before the models", output)
    assert "degraded: device_hung: " in output
    assert re.search(r"porch +camera offline", output)
    assert "degraded: camera_lost: camera porch" in output
    assert re.search(r"it was online after \d+\.\d s", output)
    assert re.search(r"the daemon was back after \d+\.\d s", output)
    assert "cmd/device.release" in output
    assert "books balanced" in output
    assert list(tmp_path.iterdir()) == []
