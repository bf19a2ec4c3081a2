"""How inference through the real `hailo_platform` fails, the ugly parts included."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hailod.simulator import Faults
from tests.support.simulated import OUTPUT_ELEMENTS, Open, status_of


def test_a_failed_completion_ends_the_model(opened: Open) -> None:
    """What is behind the failure is aborted, and later submissions raise what killed the model."""
    bench = opened(Faults(fail_completions={2: 4}), frame_ms=5.0)
    for _ in range(4):
        bench.run()
    names = [type(error).__name__ for error in bench.all_ended(4)]
    assert names == ["NoneType", "HailoRTTimeout", "HailoRTStreamAborted", "HailoRTStreamAborted"]
    with pytest.raises(bench.python.HailoRTTimeout):
        bench.run()


def test_a_new_session_works_after_the_old_one_died(opened: Open) -> None:
    """The same InferModel can be configured again once its dead session is gone."""
    bench = opened(Faults(fail_submits={1: 8}))
    with pytest.raises(bench.hailo.HailoRTException):
        bench.run()
    bench.configured.__exit__(None, None, None)
    bench.configured = bench.infer_model.configure()
    bench.run().wait(1000)
    assert bench.ended == [None]


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


def test_after_close_everything_is_an_attribute_error(opened: Open) -> None:
    """A closed ConfiguredInferModel and a released VDevice fail with None's missing attributes."""
    bench = opened()
    bindings = bench.bindings()
    with bench.configured:
        pass
    with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'run_async'"):
        bench.run(bindings)
    bench.vdevice.release()
    with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'create_infer_model"):
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


def test_a_list_that_fails_half_way_is_never_called_back(opened: Open) -> None:
    """When a later frame of a list is refused the job is lost with the model: no callback comes."""
    bench = opened(batch=2)
    good, bad = bench.bindings(), bench.bindings()
    bad.input().set_buffer(np.zeros(3, np.uint8))
    with pytest.raises(bench.python.HailoRTInvalidOperationException):
        bench.configured.run_async([good, bad], bench.completed)
    bench.configured.__exit__(None, None, None)
    assert bench.ended == []


def test_an_exception_of_run_async_leaves_a_guard_behind(opened: Open) -> None:
    """The memory of the refused job is held for good, and later jobs let go of the wrong one: discard the object."""
    bench = opened()
    for _ in range(2):
        with pytest.raises(bench.hailo.HailoRTException):
            bench.run(bench.configured.create_bindings())
    assert len(bench.configured._buffer_guards) == 2
    bench.run().wait(1000)
    assert len(bench.configured._buffer_guards) == 2


def test_bindings_and_jobs_do_not_keep_a_model_alive(opened: Open) -> None:
    """Leaving `with` ends the model, whoever still has its bindings, its jobs or an exception of it."""
    bench = opened(frame_ms=1000.0)
    bindings, job = bench.bindings(), bench.run()
    with pytest.raises(bench.hailo.HailoRTException) as kept:
        bench.configured.run_async([bench.bindings() for _ in range(40)], bench.completed)
    bench.configured.__exit__(None, None, None)
    assert len(bench.ended) == 1
    job.wait(1)
    assert kept.value is not None
    assert bindings.input().get_buffer() is not None


@pytest.mark.parametrize(
    ("status", "name", "text"),
    [
        (2, "HailoRTInvalidArgumentException", "Invalid argument. See hailort.log for more information"),
        (4, "HailoRTTimeout", "Received a timeout - hailort has failed because a timeout had occurred"),
        (36, "HailoRTDriverOperationFailedException", None),
        (63, "HailoRTStreamAborted", None),
        (69, "HailoRTNetworkGroupNotActivatedException", None),
        (81, "HailoRTException", "libhailort failed with error: 81 (HAILO_OUT_OF_HOST_CMA_MEMORY)"),
        (87, "HailoRTException", "libhailort failed with error: 87 (HAILO_DRIVER_TIMEOUT)"),
    ],
)
def test_statuses_are_delivered_as_exceptions(opened: Open, status: int, name: str, text: str | None) -> None:
    """completion_info.exception is of the status's class, without a cause; raised by run_async it has one."""
    bench = opened(Faults(fail_completions={1: status}))
    bench.run().wait(1000)
    (error,) = bench.ended
    assert error is not None
    assert type(error).__name__ == name
    assert error.__cause__ is None
    assert text in (None, str(error))
    bench.simulation.faults = Faults(fail_submits={bench.simulation.jobs + 1: status})
    bench.configure()
    with pytest.raises(type(error)) as caught:
        bench.run()
    assert status_of(caught.value) == status
    assert str(caught.value) == str(error)


def test_what_killed_the_model_is_what_it_raises(opened: Open) -> None:
    """After a failed completion run_async raises that status; after one of its own, HailoRTStreamAborted."""
    bench = opened(Faults(fail_completions={1: 8}))
    bench.run().wait(1000)
    for _ in range(2):
        with pytest.raises(bench.hailo.HailoRTException) as caught:
            bench.run()
        assert status_of(caught.value) == 8


def test_a_configured_model_outlives_its_infer_model(opened: Open) -> None:
    """Only the VDevice must stay; the InferModel may go."""
    bench = opened()
    bindings = bench.bindings()
    bench.infer_model = None
    bench.run(bindings).wait(1000)
    assert bench.ended == [None]


def test_an_empty_scene_and_a_failure_look_the_same(opened: Open) -> None:
    """A buffer of zeros parses as no detections in every class."""
    bench = opened()
    bindings = bench.bindings()
    bindings.output().set_buffer(np.zeros(OUTPUT_ELEMENTS, np.float32))
    assert [rows.shape for rows in bindings.output().get_buffer()] == [(0, 5)] * 3
