"""`python -m hailod.simulator`: real programs, unchanged, on the simulated device."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.support import leaks

EXAMPLES = REPOSITORY / "hailod/simulator/examples"

STREET = """
[simulator]
preset = "yolov8s@hailo8"
outputs = "nms_by_class"
classes = 3
[[simulator.detections]]
class_id = 0
score = 0.9
box = [0.1, 0.2, 0.3, 0.4]
[[simulator.detections]]
class_id = 2
score = 0.8
box = [0.5, 0.5, 0.75, 1.0]
"""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a Python command line in a scratch folder that holds `street.sim.toml`."""
    (tmp_path / "street.sim.toml").write_text(STREET)

    def start(*arguments: str | Path, simulated: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        serial = ["-m", "hailod.simulator", "--serial", f"runner-{os.getpid()}"] if simulated else []
        return subprocess.run(
            [sys.executable, *serial, *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment},
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )

    return start


def program(folder: Path, text: str) -> Path:
    path = folder / "program.py"
    path.write_text(text)
    return path


SPEAKS_OF_ITSELF = """
import os, sys, threading
main = sys.modules["__main__"]
print(sys.argv, sys.path[0], __name__, __file__, __spec__, main.__dict__ is globals(), sys.flags.dev_mode)
print(threading.current_thread().name, os.getcwd(), sys.stdin.isatty())
def fail(): raise ValueError("out of the blue")
if sys.argv[1] == "raise": fail()
if sys.argv[1] == "signal": sys.stdout.flush(); os.kill(os.getpid(), 15)
sys.exit(eval(sys.argv[2]))
"""


@pytest.mark.parametrize("arguments", [["exit", "3"], ["raise"], ["signal"]], ids=" ".join)
def test_program_runs_as_with_plain_python(run: Run, tmp_path: Path, arguments: list[str]) -> None:
    """Arguments, module, folder, traceback, exit code and signals of a program are those it has without the runner."""
    script = program(tmp_path, SPEAKS_OF_ITSELF)
    plain = run(script, *arguments, simulated=False)
    simulated = run(script, *arguments)
    assert (simulated.returncode, simulated.stdout, simulated.stderr) == (plain.returncode, plain.stdout, plain.stderr)
    assert plain.returncode not in (0, 2)


CHILDREN = """
import importlib.util, multiprocessing, subprocess, sys

def child(how):
    from hailo_platform import Device, HEF, VDevice
    from hailo_platform.pyhailort import pyhailort
    device = Device()
    chip = device.control.identify().device_architecture
    try:
        VDevice()
    except pyhailort.HailoRTException as error:
        print(how, chip.name, HEF("x.hef").get_network_group_names(), error.__cause__, flush=True)

if __name__ == "__main__":
    assert importlib.util.find_spec("hailo_platform")
    from hailo_platform import VDevice
    with VDevice():
        for how in ("fork", "spawn"):
            process = multiprocessing.get_context(how).Process(target=child, args=(how,))
            process.start()
            process.join()
            assert process.exitcode == 0
        subprocess.run([sys.executable, "-c", "import program; program.child('program')"], check=True)
    subprocess.run(["hailortcli", "fw-control", "identify"], check=True)
"""


def test_children_see_the_same_device(run: Run, tmp_path: Path) -> None:
    """Processes forked, spawned and started anew find the same chip, the same models, and the device taken; and so does
    HailoRT's command line."""
    before = leaks.census()
    done = run("--device", "hailo8l", "--model", "street.sim.toml", program(tmp_path, CHILDREN))
    # multiprocessing's resource tracker outlives its program by a moment and becomes ours.
    leaks.end_processes(leaks.census().since(before).processes)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[:3] == [f"{how} HAILO8L ['x'] 74" for how in ("fork", "spawn", "program")]
    assert "Device Architecture: HAILO8L" in lines[3:]


def test_missing_model_is_the_error_of_the_device(run: Run, tmp_path: Path) -> None:
    """A HEF that is not there and has no model behind it fails as it would with a device, and the log says why."""
    done = run(
        "--model", "a.hef=street.sim.toml", program(tmp_path, "import hailo_platform\nhailo_platform.HEF('b.hef')")
    )
    assert done.returncode == 1
    said = done.stderr.splitlines()
    assert said[0] == (
        "[HailoRT] [error] no HEF, and no model stands behind it path=b.hef reason=No such file or directory"
    )
    assert said[-1].endswith("libhailort failed with error: 13 (HAILO_OPEN_FILE_FAILURE)")


SUITE = """
import unittest
from hailo_platform import Device, HailoSchedulingAlgorithm, VDevice

class Chip(unittest.TestCase):
    def test_chip(self):
        device = Device()
        self.assertEqual(device.control.identify().device_architecture.name, "HAILO10H")
        self.assertEqual(VDevice.create_params().scheduling_algorithm, int(HailoSchedulingAlgorithm.ROUND_ROBIN))
"""


def test_module_is_run_on_the_simulator(run: Run, tmp_path: Path) -> None:
    """A suite of tests for a Hailo program runs without a device, here as HailoRT 5 sees a Hailo-10H."""
    (tmp_path / "test_chip.py").write_text(SUITE)
    done = run("--profile", "5.2", "--device", "hailo10h", "-m", "unittest", "test_chip")
    assert done.returncode == 0, done.stderr
    assert "Ran 1 test" in done.stderr


@pytest.mark.parametrize("example", ["detect_async", "detect_sync"])
def test_examples_see_what_the_model_sees(run: Run, example: str) -> None:
    """Each example prints the boxes of the model that stands behind its HEF."""
    done = run("--model", "yolov8s.hef=street.sim.toml", EXAMPLES / f"{example}.py", "yolov8s.hef")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:2] == [
        "class   0  0.90  0.100 0.200 0.300 0.400",
        "class   2  0.80  0.500 0.500 0.750 1.000",
    ]


def test_example_reports_a_failed_inference(run: Run, tmp_path: Path) -> None:
    """A job that the fault file lets fail ends the example with the failure, not with an empty picture."""
    (tmp_path / "faults.toml").write_text('[[fault]]\nkind = "completion"\nstatus = "STREAM_ABORT"\njob = 5\n')
    asked = ("--model", "street.sim.toml", "--faults", "faults.toml")
    done = run(*asked, EXAMPLES / "detect_async.py", "yolov8s.hef")
    assert done.returncode == 1
    assert "abort" in done.stderr.lower()
    assert "class" not in done.stdout


TUTORIAL = """
from multiprocessing import Process
import numpy as np
from hailo_platform import (ConfigureParams, FormatType, HEF, HailoStreamInterface, InputVStreamParams, InputVStreams,
    OutputVStreamParams, OutputVStreams, VDevice)

FRAMES = 1000

def send(network):
    network.wait_for_activation(1000)
    params = InputVStreamParams.make(network, quantized=False, format_type=FormatType.FLOAT32)
    with InputVStreams(network, params) as streams:
        frames = {stream: np.ones([1, *stream.shape], stream.dtype) for stream in streams}
        for _ in range(FRAMES):
            for stream, frame in frames.items():
                stream.send(frame)

def receive(network, params):
    network.wait_for_activation(1000)
    boxes = 0
    with OutputVStreams(network, params) as streams:
        for _ in range(FRAMES):
            for stream in streams:
                boxes += sum(len(found) for found in stream.recv())
    print("boxes", boxes, flush=True)

def receive_all(network):
    groups = OutputVStreamParams.make_groups(network, quantized=False, format_type=FormatType.FLOAT32)
    receivers = [Process(target=receive, args=(network, group)) for group in groups]
    for receiver in receivers:
        receiver.start()
    for receiver in receivers:
        receiver.join()
        assert receiver.exitcode == 0

target = VDevice()
hef = HEF("resnet.hef")
network = target.configure(hef, ConfigureParams.create_from_hef(hef=hef, interface=HailoStreamInterface.PCIe))[0]
children = [Process(target=receive_all, args=(network,)), Process(target=send, args=(network,))]
for child in children:
    child.start()
with network.activate(network.create_params()):
    for child in children:
        child.join()
assert [child.exitcode for child in children] == [0, 0]
target.release()
print("done")
"""


def test_streams_cross_two_forked_processes(run: Run, tmp_path: Path) -> None:
    """One child sends 1,000 frames and another's child receives them, while the parent holds the network active."""
    small = STREET.replace('preset = "yolov8s@hailo8"', "input = [32, 32]")
    (tmp_path / "small.sim.toml").write_text(small)
    done = run("--model", "small.sim.toml", program(tmp_path, TUTORIAL))
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["boxes 2000", "done"]
