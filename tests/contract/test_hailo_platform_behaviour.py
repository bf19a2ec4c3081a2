"""How the real `hailo_platform` behaves where its signatures do not tell, the ugly parts first."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from hailod import simulator
from hailod.simulator import Faults, Simulation, SimulatorOptions
from tests.support.waiting import wait_for

SCRIPT = """
[simulator]
input = [8, 12]
classes = 3
max_per_class = 4
frame_ms = {frame_ms}
outputs = "{outputs}"
detections = [
  {{ class_id = 1, score = 0.5, box = [0.1, 0.2, 0.3, 0.4] }},
  {{ class_id = 1, score = 0.9, box = [0.5, 0.6, 0.7, 0.8] }},
]
"""
OUTPUT_ELEMENTS = 3 * (1 + 5 * 4)


@dataclass
class Bench:
    """An open device with one configured timing-only model."""

    hailo: ModuleType
    python: ModuleType
    simulation: Simulation
    vdevice: Any
    infer_model: Any
    configured: Any
    ended: list[Exception | None] = field(default_factory=list)

    def bindings(self) -> Any:
        made = self.configured.create_bindings()
        made.input().set_buffer(np.zeros((8, 12, 3), np.uint8))
        made.output().set_buffer(np.full(OUTPUT_ELEMENTS, 7, np.float32))
        return made

    def completed(self, *, completion_info: Any) -> None:
        self.ended.append(completion_info.exception)

    def run(self, bindings: Any = None) -> Any:
        return self.configured.run_async([bindings or self.bindings()], self.completed)

    def all_ended(self, count: int) -> list[Exception | None]:
        wait_for(lambda: len(self.ended) >= count, what=f"{count} completions")
        return self.ended


Open = Callable[..., Bench]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Opens a bench with options of the simulator; closes it afterwards."""
    benches: list[Bench] = []

    def open_bench(
        faults: Faults | None = None,
        *,
        frame_ms: float = 0.0,
        outputs: str = "nms_by_class",
        scheduled: bool = True,
        batch: int = 1,
        **options: Any,
    ) -> Bench:
        path = tmp_path / "tiny.sim.toml"
        path.write_text(SCRIPT.format(frame_ms=frame_ms, outputs=outputs))
        settings = SimulatorOptions(
            serial=f"test-{os.getpid()}", configure_s=0.0, transfer_timeout_s=0.01, faults=faults or Faults(), **options
        )
        simulation = simulator.install(settings)
        hailo = importlib.import_module("hailo_platform")
        params = hailo.VDevice.create_params()
        if scheduled:
            params.scheduling_algorithm = hailo.HailoSchedulingAlgorithm.ROUND_ROBIN
        vdevice = hailo.VDevice(params)
        infer_model = vdevice.create_infer_model(str(path))
        infer_model.set_batch_size(batch)
        bench = Bench(hailo, hailo.pyhailort.pyhailort, simulation, vdevice, infer_model, infer_model.configure())
        benches.append(bench)
        return bench

    yield open_bench
    for bench in benches:
        bench.configured.__exit__(None, None, None)
        bench.vdevice.release()
    simulator.uninstall()


def status_of(error: BaseException) -> int:
    return int(str(error.__cause__))


# -- the ordinary way --------------------------------------------------------------------------------------------------


def test_results_by_class_are_views_with_float64_empties(opened: Open) -> None:
    """Per class get_buffer gives a view of the bound buffer, best score first, and float64 (0, 5) for none."""
    bench = opened()
    bindings = bench.bindings()
    bench.run(bindings).wait(1000)
    found = bindings.output().get_buffer()
    assert [(rows.shape, rows.dtype.name) for rows in found] == [
        ((0, 5), "float64"),
        ((2, 5), "float32"),
        ((0, 5), "float64"),
    ]
    assert np.shares_memory(found[1], bindings.output().get_buffer(None))
    assert found[1][0] == pytest.approx([0.6, 0.5, 0.8, 0.7, 0.9])
    assert found[1][1] == pytest.approx([0.2, 0.1, 0.4, 0.3, 0.5])
    padded = bindings.output().get_buffer(tf_format=True)
    assert padded.shape == (3, 5, 4)
    assert padded[1, 4].tolist() == pytest.approx([0.9, 0.5, 0.0, 0.0])


def test_the_unused_tail_of_a_by_class_buffer_is_stale(opened: Open) -> None:
    """Only the used part is written: what follows keeps what the buffer held before."""
    bench = opened()
    bindings = bench.bindings()
    bench.run(bindings).wait(1000)
    raw = bindings.output().get_buffer(None)
    used = 3 + 2 * 5
    assert set(raw[used:]) == {7.0}


def test_results_by_score(opened: Open) -> None:
    """By score the buffer is bytes: a count and packed records, which get_buffer turns into Detection objects."""
    bench = opened(outputs="nms_by_score")
    size = 2 + 3 * 4 * 22
    assert bench.infer_model.output().shape == [size]
    bindings = bench.configured.create_bindings()
    bindings.input().set_buffer(np.zeros((8, 12, 3), np.uint8))
    with pytest.raises(bench.hailo.HailoRTException):
        bindings.output().set_buffer(np.zeros(size, np.int8))
    bindings.output().set_buffer(np.zeros(size, np.uint8))
    bench.configured.run([bindings], 1000)
    found = bindings.output().get_buffer()
    assert [(d.class_id, d.score, d.y_min, d.x_max) for d in found] == [
        (1, pytest.approx(0.9), pytest.approx(0.6), pytest.approx(0.7)),
        (1, pytest.approx(0.5), pytest.approx(0.2), pytest.approx(0.3)),
    ]
    with pytest.raises(bench.hailo.HailoRTException):
        bindings.output().get_buffer(tf_format=True)


def test_score_threshold_applies_at_configure(opened: Open) -> None:
    """A threshold set after configure() waits for the next configure(), equality with it passes."""
    bench = opened()
    bench.infer_model.output().set_nms_score_threshold(0.9)
    before = bench.bindings()
    bench.run(before).wait(1000)
    bench.configured = bench.infer_model.configure()
    after = bench.bindings()
    bench.run(after).wait(1000)
    assert [len(b.output().get_buffer()[1]) for b in (before, after)] == [2, 1]


def test_callbacks_come_in_order_on_one_foreign_thread(opened: Open) -> None:
    """One thread that Python did not start runs every callback, one at a time, in the order of submission."""
    bench = opened(frame_ms=0.1)
    seen: list[tuple[int, str, int]] = []

    def callback(number: int) -> Callable[..., None]:
        return lambda completion_info: seen.append(
            (number, type(threading.current_thread()).__name__, threading.get_ident())
        )

    for number in range(20):
        bench.configured.wait_for_async_ready(timeout_ms=1000)
        job = bench.configured.run_async([bench.bindings()], callback(number))
    job.wait(1000)
    assert [number for number, _, _ in seen] == list(range(20))
    assert {kind for _, kind, _ in seen} == {"_DummyThread"}
    assert len({ident for _, _, ident in seen}) == 1


def test_a_list_is_one_job(opened: Open) -> None:
    """Several frames in one call get one callback, when all of them are done."""
    bench = opened(batch=4)
    frames = [bench.bindings() for _ in range(4)]
    bench.configured.run_async(frames, bench.completed).wait(1000)
    assert bench.ended == [None]
    assert [len(frame.output().get_buffer()[1]) for frame in frames] == [2, 2, 2, 2]


def test_results_are_never_early(opened: Open) -> None:
    """A job completes no sooner than its service time after its submission, and wait() times out until then."""
    bench = opened(frame_ms=60.0)
    job = bench.run()
    with pytest.raises(bench.python.HailoRTTimeout) as caught:
        job.wait(1)
    assert status_of(caught.value) == 4
    assert bench.ended == []
    job.wait(5000)
    assert bench.ended == [None]


def test_queue_size_follows_the_formula(opened: Open) -> None:
    """At least two batches, at most 8 frames with service support and 32 without."""
    assert opened().configured.get_async_queue_size() == 8


@pytest.mark.parametrize(("batch", "build", "expected"), [(1, False, 32), (4, True, 8), (8, True, 16), (20, False, 40)])
def test_queue_size_grows_with_the_batch(opened: Open, batch: int, build: bool, expected: int) -> None:
    """The queue holds two batches even where that is more than its usual length."""
    bench = opened(batch=batch, multi_process_build=build)
    assert bench.configured.get_async_queue_size() == expected


def test_formats_and_infos(opened: Open) -> None:
    """Tensors tell name, shape, format and limits as HailoRT does, before and after configure()."""
    bench = opened()
    stream = bench.infer_model.input()
    assert (stream.name, stream.shape) == ("tiny/input_layer1", [8, 12, 3])
    assert stream.format.type == bench.hailo.FormatType.UINT8
    output = bench.infer_model.output()
    assert (output.is_nms, output.shape) == (True, [OUTPUT_ELEMENTS])
    assert output.format.order == bench.hailo.FormatOrder.HAILO_NMS_BY_CLASS
    info = bench.infer_model.hef.get_output_vstream_infos()[0]
    assert (info.nms_shape.number_of_classes, info.nms_shape.max_bboxes_per_class) == (3, 4)
    assert info.shape == (3, 5, 4)
    native = bench.hailo.pyhailort._pyhailort
    with pytest.raises(native.HailoRTCustomException):
        _ = bench.infer_model.hef.get_input_vstream_infos()[0].nms_shape
    with pytest.raises(native.HailoRTStatusException, match="61"):
        bench.infer_model.hef.get_input_vstream_infos("nope")
    assert [(group.name, group.is_multi_context) for group in bench.infer_model.hef.get_network_groups_infos()] == [
        ("tiny", False)
    ]
    with pytest.raises(bench.python.HailoRTNotFoundException):
        bench.infer_model.output("nope")


# -- failures that hide ------------------------------------------------------------------------------------------------


def test_wait_hides_that_the_inference_failed(opened: Open) -> None:
    """Only completion_info tells of a failure; wait() returns and the outputs are zeros, an empty scene."""
    bench = opened(Faults(fail_completions={1: 4}))
    bindings = bench.bindings()
    bench.run(bindings).wait(1000)
    (error,) = bench.ended
    assert isinstance(error, bench.python.HailoRTTimeout)
    assert error.__cause__ is None
    assert not bindings.output().get_buffer(None).any()
    assert [len(rows) for rows in bindings.output().get_buffer()] == [0, 0, 0]


def test_run_hides_that_the_inference_failed(opened: Open) -> None:
    """run() returns as if all were well."""
    bench = opened(Faults(fail_completions={1: 8}))
    bindings = bench.bindings()
    bench.configured.run([bindings], 1000)
    assert not bindings.output().get_buffer(None).any()


def test_a_failed_completion_ends_the_model(opened: Open) -> None:
    """What is behind the failure is aborted, and later submissions raise what killed the model."""
    bench = opened(Faults(fail_completions={2: 4}), frame_ms=5.0)
    for _ in range(4):
        bench.run()
    names = [type(error).__name__ for error in bench.all_ended(4)]
    assert names == ["NoneType", "HailoRTTimeout", "HailoRTStreamAborted", "HailoRTStreamAborted"]
    with pytest.raises(bench.python.HailoRTTimeout):
        bench.run()


def test_an_exception_of_run_async_kills_the_model_for_good(opened: Open) -> None:
    """After any exception of run_async every later one is HailoRTStreamAborted, and what was in flight is aborted."""
    bench = opened(Faults(fail_submits={2: 36}), frame_ms=500.0)
    bench.run()
    with pytest.raises(bench.python.HailoRTDriverOperationFailedException) as caught:
        bench.run()
    assert status_of(caught.value) == 36
    assert [type(error).__name__ for error in bench.all_ended(1)] == ["HailoRTStreamAborted"]
    for _ in range(2):
        with pytest.raises(bench.python.HailoRTStreamAborted) as caught:
            bench.run()
        assert status_of(caught.value) == 63


def test_a_new_session_works_after_the_old_one_died(opened: Open) -> None:
    """The same InferModel can be configured again once its dead session is gone."""
    bench = opened(Faults(fail_submits={1: 8}))
    with pytest.raises(bench.hailo.HailoRTException):
        bench.run()
    bench.configured.__exit__(None, None, None)
    bench.configured = bench.infer_model.configure()
    bench.run().wait(1000)
    assert bench.ended == [None]


def test_a_dead_pipeline_says_it_is_ready(opened: Open) -> None:
    """wait_for_async_ready looks at fill levels only, and those of a dead pipeline are low."""
    bench = opened(Faults(fail_submits={1: 8}))
    with pytest.raises(bench.hailo.HailoRTException):
        bench.run()
    assert bench.configured.wait_for_async_ready(timeout_ms=1, frames_count=8) is None


def test_readiness_times_out_for_what_can_never_fit(opened: Open) -> None:
    """Asking room for more frames than all queues hold times out; as many as the queue size fit when idle."""
    bench = opened()
    size = bench.configured.get_async_queue_size()
    bench.configured.wait_for_async_ready(timeout_ms=1, frames_count=size)
    with pytest.raises(bench.python.HailoRTTimeout):
        bench.configured.wait_for_async_ready(timeout_ms=1, frames_count=2 * size)


def test_readiness_waits_for_room(opened: Open) -> None:
    """With full queues wait_for_async_ready returns as soon as a frame is done."""
    bench = opened(frame_ms=20.0)
    for _ in range(2 * bench.configured.get_async_queue_size() - 1):
        bench.run()
    bench.configured.wait_for_async_ready(timeout_ms=5000)
    assert bench.all_ended(1)[0] is None


def test_a_full_queue_kills_the_model(opened: Open) -> None:
    """Submitting without room raises QUEUE_IS_FULL, which is as deadly as any other exception of run_async."""
    bench = opened(frame_ms=1000.0)
    for _ in range(2 * bench.configured.get_async_queue_size() - 1):
        bench.run()
    with pytest.raises(bench.hailo.HailoRTException) as caught:
        bench.run()
    assert (type(caught.value).__name__, status_of(caught.value)) == ("HailoRTException", 82)
    assert str(caught.value) == "libhailort failed with error: 82 (HAILO_QUEUE_IS_FULL)"
    with pytest.raises(bench.python.HailoRTStreamAborted):
        bench.run()


@pytest.mark.parametrize("which", ["input", "output"])
def test_wrong_number_of_bytes_shows_at_run_async(opened: Open, which: str) -> None:
    """set_buffer accepts any size; run_async refuses the wrong one, and the model is dead."""
    bench = opened()
    bindings = bench.bindings()
    getattr(bindings, which)().set_buffer(np.zeros(5, np.uint8))
    with pytest.raises(bench.python.HailoRTInvalidOperationException) as caught:
        bench.run(bindings)
    assert status_of(caught.value) == 6
    with pytest.raises(bench.python.HailoRTStreamAborted):
        bench.run()


def test_another_dtype_of_the_right_size_is_accepted(opened: Open) -> None:
    """Only bytes are counted: a float32 array of a quarter of the elements passes for a picture."""
    bench = opened()
    bindings = bench.bindings()
    bindings.input().set_buffer(np.zeros(8 * 12 * 3 // 4, np.float32))
    bench.run(bindings).wait(1000)
    assert bench.ended == [None]


def test_missing_buffers(opened: Open) -> None:
    """Without an output buffer the model survives the exception, without an input buffer it does not."""
    bench = opened()
    bindings = bench.configured.create_bindings()
    with pytest.raises(bench.python.HailoRTInvalidOperationException):
        bench.run(bindings)
    bindings.output().set_buffer(np.zeros(OUTPUT_ELEMENTS, np.float32))
    with pytest.raises(bench.python.HailoRTNotFoundException):
        bench.run(bindings)
    with pytest.raises(bench.python.HailoRTStreamAborted):
        bench.run()


def test_what_set_buffer_does_check(opened: Open) -> None:
    """Memory must be contiguous and writable, inputs included, and be an array."""
    bindings = opened().bindings()
    with pytest.raises(Exception, match="Buffer must be C_CONTIGUOUS"):
        bindings.input().set_buffer(np.zeros((8, 12, 6), np.uint8)[..., ::2])
    with pytest.raises(ValueError, match="array is not writeable"):
        bindings.input().set_buffer(np.frombuffer(bytes(288), np.uint8))
    with pytest.raises(AttributeError):
        bindings.input().set_buffer([0] * 288)


def test_results_need_a_flat_buffer(opened: Open) -> None:
    """An output array of shape (1, n) is filled, but its results cannot be read."""
    bench = opened()
    bindings = bench.bindings()
    bindings.output().set_buffer(np.zeros((1, OUTPUT_ELEMENTS), np.float32))
    bench.run(bindings).wait(1000)
    with pytest.raises(TypeError):
        bindings.output().get_buffer()


def test_after_close_everything_is_an_attribute_error(opened: Open) -> None:
    """A closed ConfiguredInferModel and a released VDevice fail with None's missing attributes."""
    bench = opened()
    bindings = bench.bindings()
    with bench.configured:
        pass
    with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'run_async'"):
        bench.run(bindings)
    bench.vdevice.release()
    with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'create_infer_model'"):
        bench.vdevice.create_infer_model("x")


def test_closing_delivers_what_is_in_flight_as_aborted(opened: Open) -> None:
    """Every accepted job gets its callback, at the latest when the model is closed."""
    bench = opened(frame_ms=1000.0)
    for _ in range(3):
        bench.run()
    bench.configured.__exit__(None, None, None)
    assert [type(error).__name__ for error in bench.ended] == ["HailoRTStreamAborted"] * 3


def test_shutdown_twice_is_harmless(opened: Open) -> None:
    """shutdown() aborts once; the model is then dead."""
    bench = opened()
    bench.configured.shutdown()
    bench.configured.shutdown()
    with pytest.raises(bench.python.HailoRTStreamAborted):
        bench.run()


def test_a_hung_device_calls_back_only_when_closed(opened: Open) -> None:
    """From the job on which it hangs no callback comes, until closing the model has outlasted its time-outs."""
    bench = opened(Faults(hang_from=2))
    bench.run().wait(1000)
    hung = [bench.run() for _ in range(3)]
    with pytest.raises(bench.python.HailoRTTimeout):
        hung[0].wait(20)
    assert bench.ended == [None]
    bench.configured.__exit__(None, None, None)
    assert [type(error).__name__ for error in bench.ended[1:]] == ["HailoRTStreamAborted"] * 3


def test_a_vanished_device(opened: Open) -> None:
    """Off the bus: no callback, controls fail in the driver, a scan finds nothing, and none can be opened."""
    bench = opened(Faults(vanish_at=1))
    device = bench.vdevice.get_physical_devices()[0]
    job = bench.run()
    with pytest.raises(bench.python.HailoRTTimeout):
        job.wait(20)
    with pytest.raises(bench.python.HailoRTDriverOperationFailedException):
        device.control.get_chip_temperature()
    assert bench.hailo.Device.scan() == []
    with pytest.raises(bench.hailo.HailoRTException, match="not found"):
        bench.hailo.Device()


def test_faults_can_change_while_it_runs(opened: Open) -> None:
    """A test may let a device fail when it pleases."""
    bench = opened()
    bench.run().wait(1000)
    bench.simulation.faults = replace(bench.simulation.faults, fail_completions={bench.simulation.jobs + 1: 63})
    bench.run().wait(1000)
    assert [type(error).__name__ for error in bench.ended] == ["NoneType", "HailoRTStreamAborted"]


# -- scheduling and ownership ------------------------------------------------------------------------------------------


def test_without_scheduler_the_model_must_be_activated(opened: Open) -> None:
    """Scheduling is off by default: an inactive model refuses to run, and activation makes it run."""
    bench = opened(scheduled=False)
    with pytest.raises(bench.python.HailoRTNetworkGroupNotActivatedException):
        bench.run()
    bench.configured = bench.infer_model.configure()
    bench.configured.activate()
    bench.run().wait(1000)
    bench.configured.deactivate()
    assert bench.ended == [None]
    with pytest.raises(bench.python.HailoRTInvalidOperationException):
        bench.configured.set_scheduler_threshold(1)


def test_with_scheduler_activation_is_refused(opened: Open) -> None:
    """activate() belongs to models without a scheduler."""
    bench = opened()
    with pytest.raises(bench.python.HailoRTInvalidOperationException):
        bench.configured.activate()


def test_one_owner_in_a_process(opened: Open) -> None:
    """A second VDevice finds no free device (74), or the one it names in use (73), until the first is released."""
    bench = opened()
    with pytest.raises(bench.hailo.HailoRTException) as caught:
        bench.hailo.VDevice()
    assert str(caught.value) == "libhailort failed with error: 74 (HAILO_OUT_OF_PHYSICAL_DEVICES)"
    assert status_of(caught.value) == 74
    with pytest.raises(bench.hailo.HailoRTException) as caught:
        bench.hailo.VDevice(device_ids=["0000:01:00.0"])
    assert status_of(caught.value) == 73
    with pytest.raises(bench.python.HailoRTInvalidArgumentException):
        bench.hailo.VDevice(device_ids=["nonsense"])
    bench.configured.__exit__(None, None, None)
    bench.vdevice.release()
    bench.hailo.VDevice().release()


def test_a_group_shares_its_device(opened: Open) -> None:
    """VDevices of one process and group are one device, owned until the last of them is released."""
    bench = opened()
    bench.configured.__exit__(None, None, None)
    bench.vdevice.release()
    params = bench.hailo.VDevice.create_params()
    params.group_id = "SHARED"
    first, second = bench.hailo.VDevice(params), bench.hailo.VDevice(params)
    first.release()
    with pytest.raises(bench.hailo.HailoRTException):
        bench.hailo.VDevice()
    second.release()
    bench.hailo.VDevice().release()


OWNER = """
from hailod import simulator
simulator.install(simulator.SimulatorOptions(serial={serial!r}))
import hailo_platform, sys
device = hailo_platform.VDevice()
print("owned", flush=True)
sys.stdin.read()
"""


def test_one_owner_among_processes_until_it_is_killed(opened: Open) -> None:
    """Another process holds the device until it ends, by SIGKILL too; telemetry needs no ownership."""
    bench = opened()
    bench.configured.__exit__(None, None, None)
    bench.vdevice.release()
    script = OWNER.format(serial=bench.simulation.options.serial)
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"owned\n"
        with pytest.raises(bench.hailo.HailoRTException, match="74"):
            bench.hailo.VDevice()
        assert bench.hailo.Device().control.get_chip_temperature().ts0_temperature == 48.0
        owner.kill()
        owner.wait()
    bench.hailo.VDevice().release()


def test_told_to_be_unavailable(opened: Open) -> None:
    """A fault makes every VDevice() fail with the status it names."""
    bench = opened()
    bench.simulation.faults = Faults(open_status=76)
    with pytest.raises(bench.hailo.HailoRTException) as caught:
        bench.hailo.VDevice()
    assert status_of(caught.value) == 76


# -- the end of the process --------------------------------------------------------------------------------------------

ABORTING = """
import numpy as np, sys
from hailod import simulator
simulator.install(simulator.SimulatorOptions(serial={serial!r}, configure_s=0.0, faults=simulator.Faults({faults})))
import hailo_platform
params = hailo_platform.VDevice.create_params()
params.scheduling_algorithm = hailo_platform.HailoSchedulingAlgorithm.ROUND_ROBIN
model = hailo_platform.VDevice(params).create_infer_model({path!r})
configured = model.configure()
bindings = configured.create_bindings()
bindings.input().set_buffer(np.zeros((8, 12, 3), np.uint8))
bindings.output().set_buffer(np.zeros(63, np.float32))
def callback(completion_info):
    {callback}
configured.run_async([bindings], callback)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("faults", "callback", "words"),
    [
        (
            "",
            "raise KeyError('escaped')",
            b"terminate called after throwing an instance of",
        ),
        ("abort_at=1", "return", b""),
    ],
    ids=["callback raises", "told to abort"],
)
def test_the_process_aborts(tmp_path: Path, faults: str, callback: str, words: bytes) -> None:
    """An exception that leaves a callback ends the process by SIGABRT, as a scripted abort does."""
    path = tmp_path / "tiny.sim.toml"
    path.write_text(SCRIPT.format(frame_ms=0.0, outputs="nms_by_class"))
    script = ABORTING.format(serial=f"abort-{os.getpid()}", faults=faults, path=str(path), callback=callback)
    ended = _run(script)
    assert ended.returncode == -signal.SIGABRT
    assert words in ended.stderr


def _run(script: str) -> subprocess.CompletedProcess[bytes]:
    """Run a script whose standard input stays open."""
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        errors = process.stderr.read()
        process.wait(30)
    return subprocess.CompletedProcess([], process.returncode, b"", errors)


# -- the chip itself ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("arch", "number"), [("hailo8", 1), ("hailo8l", 2)])
def test_identify(opened: Open, arch: str, number: int) -> None:
    """The chip says what it is; an 8L calls its board a Hailo-8."""
    bench = opened(arch=arch)
    board = bench.vdevice.get_physical_devices()[0].control.identify()
    assert (int(board.device_architecture), board.board_name) == (number, "Hailo-8")
    version = board.firmware_version
    assert (version.major, version.minor, version.revision) == (4, 23, 0)
    assert board.serial_number == bench.simulation.options.serial


def test_power_needs_a_sensor(opened: Open) -> None:
    """The AI HAT has none and says so by a status; with one the reading is in watts."""
    bench = opened()
    control = bench.hailo.Device().control
    with pytest.raises(bench.python.HailoRTFirmwareControlFailedException):
        control.power_measurement()
    assert control.get_extended_device_information().neural_network_core_clock_rate == 400_000_000


def test_a_released_device_refuses_controls(opened: Open) -> None:
    """After release() every control says that the device is gone."""
    bench = opened()
    device = bench.hailo.Device()
    device.release()
    with pytest.raises(bench.python.HailoRTInvalidOperationException, match="has been released"):
        device.control.identify()


def test_an_unknown_device_id_leaks_a_raw_exception(opened: Open) -> None:
    """Device(id) is not wrapped: the native exception comes through, and it is no HailoRTException."""
    bench = opened()
    native = bench.hailo.pyhailort._pyhailort
    with pytest.raises(native.HailoRTStatusException, match=r"^2$"):
        bench.hailo.Device("nonsense")


def test_configure_holds_the_gil(opened: Open) -> None:
    """While configure() runs no other Python thread does."""
    bench = opened()
    bench.simulation.options = replace(bench.simulation.options, configure_s=0.3)
    turns: list[int] = []
    inside = threading.Event()
    over = threading.Event()

    def turn() -> None:
        while not over.is_set():
            turns.append(1)
            inside.set()
            over.wait(0.001)

    thread = threading.Thread(target=turn)
    thread.start()
    inside.wait()
    before = len(turns)
    bench.configured = bench.infer_model.configure()
    during = len(turns) - before
    over.set()
    thread.join()
    # 300 turns would fit; a few may slip in before and after the call itself.
    assert during < 30


def test_the_real_module_is_never_replaced(opened: Open) -> None:
    """Once the real hailo_platform is imported the simulated one refuses to take its place."""
    bench = opened()
    bench.configured.__exit__(None, None, None)
    bench.vdevice.release()
    simulator.uninstall()
    real = ModuleType("hailo_platform")
    sys.modules["hailo_platform"] = real
    try:
        with pytest.raises(RuntimeError, match="real hailo_platform"):
            simulator.install()
        simulator.uninstall()
        assert sys.modules["hailo_platform"] is real
    finally:
        del sys.modules["hailo_platform"]
