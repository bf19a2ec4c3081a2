"""The twelve surprises of HailoRT's Python API that break programs in the field, each by its number in the facts."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hailod.simulator import Faults, SimulatorOptions
from hailod.simulator.networks.nms import Boxes
from tests.support.gil import turns_during
from tests.support.simulated import OUTPUT_ELEMENTS, Bench, Open, run_python, status_of
from tests.support.waiting import wait_for

DEVICE = "0000:01:00.0"


def runs_without_activation(bench: Bench, vdevice: Any) -> bool:
    """Whether a model on a VDevice runs as it is configured."""
    model = vdevice.create_infer_model(str(bench.path))
    bench.infer_model, bench.configured = model, model.configure()
    try:
        bench.run().wait(1000)
    except bench.python.HailoRTNetworkGroupNotActivatedException:
        return False
    finally:
        bench.configured.__exit__(None, None, None)
        vdevice.release()
    return True


@pytest.mark.parametrize(("profile", "algorithm"), [("4.23", 0), ("5.2", 1)])
def test_01_scheduling_is_off_by_default_in_4_and_on_in_5(opened: Open, profile: str, algorithm: int) -> None:
    """A VDevice without params runs an inactive model in HailoRT 5 and refuses it in 4.x."""
    bench = opened(profile=profile)
    bench.close()
    assert bench.hailo.VDevice.create_params().scheduling_algorithm == algorithm
    assert runs_without_activation(bench, bench.hailo.VDevice()) is bool(algorithm)


@pytest.mark.parametrize(("profile", "runs"), [("4.23", False), ("5.2", True)])
def test_02_device_ids_beside_the_params_drop_them(opened: Open, profile: str, runs: bool) -> None:
    """VDevice(params, device_ids=...) forgets scheduler and group of the params in 4.x; ids inside of them do not."""
    bench = opened(profile=profile)
    bench.close()
    params = bench.hailo.VDevice.create_params()
    params.scheduling_algorithm = bench.hailo.HailoSchedulingAlgorithm.ROUND_ROBIN
    params.group_id = "SHARED"
    assert runs_without_activation(bench, bench.hailo.VDevice(params, device_ids=[DEVICE])) is runs
    params.device_ids = [DEVICE]
    assert runs_without_activation(bench, bench.hailo.VDevice(params))


def fill_the_queue(bench: Bench) -> None:
    for _ in range(2 * bench.configured.get_async_queue_size()):
        bench.run()


def bind_too_little(bench: Bench) -> None:
    bindings = bench.bindings()
    bindings.input().set_buffer(np.zeros(5, np.uint8))
    bench.run(bindings)


def be_told_to_fail(bench: Bench) -> None:
    bench.simulation.faults = Faults(fail_submits={bench.simulation.jobs + 1: 36})
    bench.run()


@pytest.mark.parametrize(
    ("cause", "status"),
    [(fill_the_queue, 82), (bind_too_little, 6), (be_told_to_fail, 36)],
    ids=["queue full", "wrong size", "told to"],
)
def test_03_any_exception_of_run_async_kills_the_model(
    opened: Open, cause: Callable[[Bench], None], status: int
) -> None:
    """Whatever run_async raises, every later call raises HailoRTStreamAborted, and what was in flight is aborted."""
    bench = opened(frame_ms=500.0)
    bench.run()
    with pytest.raises(bench.hailo.HailoRTException) as caught:
        cause(bench)
    assert status_of(caught.value) == status
    assert isinstance(bench.all_ended(1)[0], bench.python.HailoRTStreamAborted)
    for _ in range(2):
        with pytest.raises(bench.python.HailoRTStreamAborted) as caught:
            bench.run()
        assert status_of(caught.value) == 63


def test_04_wait_and_run_hide_failures_and_the_outputs_are_zero(opened: Open) -> None:
    """Only completion_info tells of a failure: wait() and run() return, and zeros parse as an empty scene."""
    bench = opened(Faults(fail_completions={1: 8}))
    waited = bench.bindings()
    bench.run(waited).wait(1000)
    (error,) = bench.ended
    assert str(error) == "libhailort failed with error: 8 (HAILO_INTERNAL_FAILURE)"
    assert error is not None
    assert error.__cause__ is None
    assert not waited.output().get_buffer(None).any()
    assert [len(rows) for rows in waited.output().get_buffer()] == [0, 0, 0]

    bench = reopened(opened, bench, Faults(fail_completions={1: 8}))
    ran = bench.bindings()
    bench.configured.run([ran], 1000)
    assert not ran.output().get_buffer(None).any()


def reopened(opened: Open, bench: Bench, faults: Faults) -> Bench:
    bench.close()
    return opened(faults)


SUBMIT = """
model = hailo_platform.VDevice(params).create_infer_model({path!r})
configured = model.configure()
bindings = configured.create_bindings()
bindings.input().set_buffer(np.zeros(model.input().shape, np.uint8))
bindings.output().set_buffer(np.zeros(model.output().shape, np.float32))
def callback(completion_info):
    raise KeyError("escaped")
configured.run_async([bindings], callback)
sys.stdin.read()
"""


def test_05_an_exception_that_leaves_a_callback_aborts_the_process(opened: Open) -> None:
    """The process ends by SIGABRT (134 for a shell), and says what a C++ program says then."""
    bench = opened()
    ended = run_python(SUBMIT.format(path=str(bench.path)), serial=f"abort-{os.getpid()}")
    assert ended.returncode == -signal.SIGABRT
    assert b"terminate called after throwing an instance of 'pybind11::error_already_set'" in ended.stderr
    assert b"KeyError: 'escaped'" in ended.stderr


def test_06_a_dead_pipeline_says_it_is_ready(opened: Open) -> None:
    """wait_for_async_ready looks at fill levels only; that the model is dead shows at the next run_async."""
    bench = opened(Faults(fail_submits={1: 8}))
    with pytest.raises(bench.hailo.HailoRTException):
        bench.run()
    assert bench.configured.wait_for_async_ready(timeout_ms=1, frames_count=8) is None
    with pytest.raises(bench.python.HailoRTStreamAborted):
        bench.run()


FEW = 30
"""Turns that may slip in before and after a call that holds the GIL; hundreds would fit into it."""


def test_07_configure_holds_the_gil(opened: Open) -> None:
    """While configure() runs no other Python thread does."""
    bench = opened()
    bench.close()
    bench = opened(configure_s=0.3)
    assert turns_during(bench.configure) < FEW


def test_07_shutdown_of_a_hung_device_holds_the_gil_and_the_destructor_does_not(opened: Open) -> None:
    """shutdown() stalls every Python thread until its time-outs are over; leaving `with` lets them run."""
    hung = Faults(hang_from=1)
    bench = opened(hung, transfer_timeout_s=0.05)
    bench.run()
    assert turns_during(bench.configured.shutdown) < FEW
    bench.close()
    bench = opened(hung, transfer_timeout_s=0.05)
    bench.run()
    assert turns_during(lambda: bench.configured.__exit__(None, None, None)) > FEW


def test_07_waiting_releases_the_gil(opened: Open) -> None:
    """wait_for_async_ready and AsyncInferJob.wait let other threads run until they time out."""
    bench = opened(frame_ms=2000.0)
    job = bench.run()

    def wait_for_job() -> None:
        with pytest.raises(bench.python.HailoRTTimeout):
            job.wait(200)

    def wait_for_room() -> None:
        with pytest.raises(bench.python.HailoRTTimeout):
            bench.configured.wait_for_async_ready(timeout_ms=200, frames_count=16)

    assert turns_during(wait_for_job) > FEW
    assert turns_during(wait_for_room) > FEW


def test_08_closing_a_hung_model_outlasts_a_time_out_for_each_place_in_its_queue(opened: Open) -> None:
    """Ten seconds by the length of the queue, as HailoRT has it; here shorter, and not a moment less than that."""
    assert SimulatorOptions().transfer_timeout_s == 10.0
    bench = opened(Faults(hang_from=1), transfer_timeout_s=0.03)
    bench.run()
    began = time.monotonic()
    bench.configured.__exit__(None, None, None)
    assert time.monotonic() - began >= 0.03 * 8
    assert [type(error).__name__ for error in bench.ended] == ["HailoRTStreamAborted"]


def test_09_results_by_class_are_views_and_empty_classes_are_float64(opened: Open) -> None:
    """What get_buffer gives changes with the next frame in the same buffer, unless it is a fresh float64 (0, 5)."""
    bench = opened()
    bindings = bench.bindings()
    bench.run(bindings).wait(1000)
    found = bindings.output().get_buffer()
    assert [(rows.shape, rows.dtype.name) for rows in found] == [
        ((0, 5), "float64"),
        ((2, 5), "float32"),
        ((0, 5), "float64"),
    ]
    raw = bindings.output().get_buffer(None)
    assert np.shares_memory(found[1], raw)
    raw[:] = 0
    assert not found[1].any()


@pytest.mark.parametrize(("profile", "related"), [("4.23", False), ("5.2", True)])
def test_10_native_exceptions_leak_and_are_no_hailort_exceptions_in_4(
    opened: Open, profile: str, related: bool
) -> None:
    """Calls that are not wrapped raise the native exception, its status a string, which `except HailoRTException`
    misses in 4.x."""
    bench = opened(profile=profile)
    hef = bench.hailo.HEF(str(bench.path))
    leaking = [
        (bench.native.HailoRTStatusException, lambda: bench.hailo.Device("nonsense")),
        (bench.native.HailoRTStatusException, lambda: hef.get_input_vstream_infos("nope")),
        (bench.native.HailoRTStatusException, lambda: hef.get_output_vstream_infos("nope")),
        (bench.native.HailoRTStatusException, lambda: hef.get_all_vstream_infos("nope")),
        (bench.native.HailoRTStatusException, lambda: hef.get_input_stream_infos("nope")),
        (bench.native.HailoRTStatusException, lambda: hef.get_output_stream_infos("nope")),
        (bench.native.HailoRTStatusException, lambda: hef.get_all_stream_infos("nope")),
        (bench.native.HailoRTCustomException, lambda: hef.get_input_vstream_infos()[0].nms_shape),
    ]
    for kind, call in leaking:
        with pytest.raises(kind) as caught:
            call()
        assert isinstance(caught.value, bench.hailo.HailoRTException) is related
        if kind is bench.native.HailoRTStatusException:
            assert caught.value.args[0] in ("2", "61")


def test_11_a_raised_limit_per_class_breaks_the_tf_format(opened: Open) -> None:
    """The limit that was set changes the shape, but tf_format still makes room for the HEF's limit only."""
    bench = opened(setup=lambda model, _: model.output().set_nms_max_proposals_per_class(6))
    assert bench.infer_model.output().shape == [3 * (1 + 5 * 6)]
    rows = np.linspace(0.9, 0.4, 6)
    crowd = Boxes.best_first(np.tile([0.0, 0.0, 1.0, 1.0], (6, 1)), rows, np.ones(6))
    bench.simulation.scenes["tiny"] = lambda _: crowd
    bindings = bench.bindings()
    bench.run(bindings).wait(1000)
    assert len(bindings.output().get_buffer()[1]) == 6
    with pytest.raises(ValueError, match="broadcast"):
        bindings.output().get_buffer(tf_format=True)


def test_11_a_lowered_limit_pads_to_the_limit_of_the_hef(opened: Open) -> None:
    """With fewer boxes than the HEF allows tf_format keeps the HEF's width."""
    bench = opened(setup=lambda model, _: model.output().set_nms_max_proposals_per_class(1))
    assert bench.infer_model.output().shape == [3 * (1 + 5 * 1)]
    bindings = bench.bindings()
    bench.run(bindings).wait(1000)
    assert [len(rows) for rows in bindings.output().get_buffer()] == [0, 1, 0]
    assert bindings.output().get_buffer(tf_format=True).shape == (3, 5, 4)


def test_12_what_python_cannot_reach_is_not_there(opened: Open) -> None:
    """Latency flags and a total limit are libhailort's alone; the raw limit is a method of the wrapped stream."""
    bench = opened(outputs="nms_by_score")
    model, stream = bench.infer_model, bench.infer_model.output()
    for owner, name in (
        (model, "set_hw_latency_measurement_flags"),
        (model, "set_enable_kv_cache"),
        (bench.configured, "get_hw_latency_measurement"),
        (stream, "set_nms_max_proposals_total"),
    ):
        assert not hasattr(owner, name)
    stream._infer_stream.set_nms_max_proposals_total(1)
    assert stream.shape == [2 + 22]
    bench.configure()
    bench.run().wait(1000)
    assert bench.ended == [None]


def test_callbacks_of_a_closing_model_run_on_the_library_thread(opened: Open) -> None:
    """What is aborted by closing is told to its callback on the same foreign thread, before closing returns."""
    bench = opened(frame_ms=1000.0)
    threads: list[int] = []
    bindings = bench.configured.create_bindings(
        {bench.infer_model.input_names[0]: np.zeros((8, 12, 3), np.uint8)},
        {bench.infer_model.output_names[0]: np.zeros(OUTPUT_ELEMENTS, np.float32)},
    )
    bench.configured.run_async([bindings], lambda completion_info: threads.append(threading.get_ident()))
    bench.configured.__exit__(None, None, None)
    wait_for(lambda: threads, what="the callback")
    assert threads != [threading.get_ident()]
