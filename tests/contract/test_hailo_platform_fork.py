"""What of a device works in processes forked from the one that holds it, in processes of their own as forks need."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY
from tests.support.simulated import SCRIPT

HEAD = """
import multiprocessing, os, sys
import numpy as np
from hailod import simulator
simulator.install(simulator.SimulatorOptions(serial={serial!r}, configure_s=0.0))
from hailo_platform import (
    HEF, ConfigureParams, HailoRTException, HailoSchedulingAlgorithm, HailoStreamInterface, InferVStreams,
    InputVStreamParams, InputVStreams, OutputVStreamParams, OutputVStreams, VDevice,
)
Process = multiprocessing.get_context("fork").Process
hef = HEF({path!r})
"""

STREAMS = """
def send(group, count):
    group.wait_for_activation(1000)
    params = InputVStreamParams.make(group)
    with InputVStreams(group, params) as streams:
        frames = {stream: np.empty([1, *stream.shape], stream.dtype) for stream in streams}
        for _ in range(count):
            for stream, frame in frames.items():
                stream.send(frame)

def receive(group, params, count):
    group.wait_for_activation(1000)
    with OutputVStreams(group, params) as streams:
        seen = [len(stream.recv()[1]) for _ in range(count) for stream in streams]
    if seen != [2] * count:
        sys.exit(f"received {seen}")

def receive_all(group, count):
    group.wait_for_activation(1000)
    parts = [Process(target=receive, args=(group, params, count)) for params in OutputVStreamParams.make_groups(group)]
    for part in parts:
        part.start()
    for part in parts:
        part.join()
    sys.exit(sum(part.exitcode for part in parts))

with VDevice() as target:
    group = target.configure(hef, ConfigureParams.create_from_hef(hef, HailoStreamInterface.PCIe))[0]
    processes = [Process(target=receive_all, args=(group, 1000)), Process(target=send, args=(group, 1000))]
    for process in processes:
        process.start()
    with group.activate(group.create_params()):
        for process in processes:
            process.join()
    print([process.exitcode for process in processes])
"""

BATCHES = """
def infer(group):
    with InferVStreams(group, InputVStreamParams.make(group), OutputVStreamParams.make(group)) as pipeline:
        result = pipeline.infer(np.zeros((20, 8, 12, 3), np.uint8))
        sys.exit(len(result["tiny/nms_postprocess"]) - 20)

params = VDevice.create_params()
params.scheduling_algorithm = HailoSchedulingAlgorithm.ROUND_ROBIN
with VDevice(params) as target:
    (group,) = target.configure(hef)
    for _ in range(3):
        child = Process(target=infer, args=(group,))
        child.start()
        child.join()
        print(child.exitcode)
"""

OWNERSHIP = """
def meddle(target, group):
    for call in (lambda: target.configure(hef), lambda: target.create_infer_model({path!r})):
        try:
            call()
        except HailoRTException as error:
            print(error, flush=True)
    try:
        with group.activate():
            print("activated")
    except HailoRTException as error:
        print(type(error).__name__, flush=True)
    target.release()
    del target, group

with VDevice() as target:
    (group,) = target.configure(hef)
    child = Process(target=meddle, args=(target, group))
    child.start()
    child.join()
    with InferVStreams(group, InputVStreamParams.make(group), OutputVStreamParams.make(group)) as pipeline:
        with group.activate():
            print(len(pipeline.infer(np.zeros((2, 8, 12, 3), np.uint8))["tiny/nms_postprocess"]))
print(child.exitcode)
"""


ABANDONED = """
params = VDevice.create_params()
params.scheduling_algorithm = HailoSchedulingAlgorithm.ROUND_ROBIN
target = VDevice(params)
(group,) = target.configure(hef)
streams = InputVStreams(group, InputVStreamParams.make(group)).__enter__()
streams.get().send(np.zeros((2, 8, 12, 3), np.uint8))
print("left")
"""

# Modules are emptied in the reverse order of their import: what `os` holds outlives what is in those of the simulator.
OUTLIVING = """
from hailo_platform import Device
params = VDevice.create_params()
params.scheduling_algorithm = HailoSchedulingAlgorithm.ROUND_ROBIN
target = VDevice(params)
os.kept = [Device(), target, target.configure(hef), target.create_infer_model({path!r}).configure()]
os.kept += sys.modules.values()
print("left")
"""


def run(folder: Path, script: str) -> list[str]:
    """What a program prints, line by line; it must end well."""
    model = folder / "tiny.sim.toml"
    model.write_text(SCRIPT.format(frame_ms=0.1, outputs="nms_by_class"))
    program = folder / "program.py"
    # Not by format: the scripts are full of braces.
    head = HEAD.replace("{serial!r}", repr(f"fork-{os.getpid()}"))
    program.write_text((head + script).replace("{path!r}", repr(str(model))))
    # Python of 3.12 and later warns of forks in a process with threads, which HailoRT has as well.
    ended = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", str(program)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout.splitlines()


def test_sending_and_receiving_in_processes_of_their_own(tmp_path: Path) -> None:
    """A thousand frames go from one forked process to another's children while their parent activates the device."""
    assert run(tmp_path, STREAMS) == ["[0, 0]"]


def test_batches_in_forked_processes(tmp_path: Path) -> None:
    """With the scheduler forked processes run batches one after the other on the parent's network group."""
    assert run(tmp_path, BATCHES) == ["0", "0", "0"]


def test_a_forked_process_owns_nothing(tmp_path: Path) -> None:
    """It can neither configure nor activate, and what it releases stays with its parent."""
    assert run(tmp_path, OWNERSHIP) == [
        "VDevice can only be configured from the process it was created in.",
        "InferModel can be created only from the process VDevice was created in.",
        "HailoRTInvalidOperationException",
        "2",
        "0",
    ]


def test_a_program_that_ends_without_releasing(tmp_path: Path) -> None:
    """What is open when a program ends does not keep it from ending."""
    assert run(tmp_path, ABANDONED) == ["left"]


def test_what_outlives_the_modules_ends_in_silence(tmp_path: Path) -> None:
    """Objects that are collected when Python has taken its modules apart give nothing back, and say nothing."""
    assert run(tmp_path, OUTLIVING) == ["left"]
