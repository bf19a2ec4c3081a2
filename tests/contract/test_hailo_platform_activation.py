"""When the synchronous API takes frames, and how it ends: activation, scheduler, time-outs, failures."""

from __future__ import annotations

import pickle
import threading
from pathlib import Path
from typing import Any

import pytest

from hailod.simulator import Faults
from tests.support.synchronous import OpenSync, pictures, status_of
from tests.support.waiting import wait_for

# poll and ppoll, on x86-64 and on arm64.
POLLING = {"7", "271", "73"}


def test_nothing_moves_without_activation(open_group: OpenSync) -> None:
    """Without a scheduler infer, send and recv raise HailoRTNetworkGroupNotActivatedException before activation."""
    bench = open_group()
    inputs, outputs = bench.streams()
    refused = bench.python.HailoRTNetworkGroupNotActivatedException
    with bench.pipeline() as pipeline, inputs, outputs:
        for call in (
            lambda: pipeline.infer(pictures(1)),
            lambda: inputs.get().send(pictures(1)),
            outputs.get().recv,
        ):
            with pytest.raises(refused):
                call()
        with bench.group.activate():
            pipeline.infer(pictures(1))
        with pytest.raises(refused):
            pipeline.infer(pictures(1))


def test_one_network_group_is_active_at_a_time(open_group: OpenSync) -> None:
    """Activation while any is active is an invalid operation; afterwards the other may be."""
    bench = open_group()
    (other,) = bench.vdevice.configure(bench.hef)
    with bench.group.activate() as activated:
        assert (activated.name, activated.get_number_of_invalid_frames()) == ("tiny", 0)
        activated.validate_all_frames_are_valid()
        for group in (other, bench.group):
            with pytest.raises(bench.python.HailoRTInvalidOperationException), group.activate():
                pytest.fail("activated")
    with other.activate():
        other.wait_for_activation(0)


def test_waiting_for_activation(open_group: OpenSync) -> None:
    """wait_for_activation returns once another thread has activated it, and times out until then."""
    bench = open_group()
    with pytest.raises(bench.python.HailoRTTimeout):
        bench.group.wait_for_activation(1)
    waiting = threading.Thread(target=bench.group.wait_for_activation, args=(10_000,))
    waiting.start()
    with bench.group.activate():
        waiting.join()


def test_results_of_an_earlier_activation_are_gone(open_group: OpenSync) -> None:
    """What was sent and not received before a deactivation never arrives."""
    bench = open_group()
    inputs, outputs = bench.streams(timeout_ms=20)
    with inputs, outputs:
        with bench.group.activate():
            inputs.get().send(pictures(2))
        with bench.group.activate(), pytest.raises(bench.python.HailoRTTimeout):
            outputs.get().recv()


def test_deactivation_wakes_who_waits(open_group: OpenSync) -> None:
    """Who waits for a frame when the group is deactivated gets HailoRTStreamAborted."""
    bench = open_group()
    _, outputs = bench.streams()
    ended: list[Exception] = []

    def receive() -> None:
        try:
            outputs.get().recv()
        except bench.python.HailoRTException as error:
            ended.append(error)

    waiting = threading.Thread(target=receive)
    with outputs:
        with bench.group.activate():
            waiting.start()
            wait_for(lambda: _polls(waiting), what="a thread that waits for a frame")
        waiting.join()
    assert [type(error).__name__ for error in ended] == ["HailoRTStreamAborted"]


def _polls(thread: threading.Thread) -> bool:
    return Path(f"/proc/self/task/{thread.native_id}/syscall").read_text("ascii").split()[0] in POLLING


def test_with_the_scheduler_activation_is_empty(open_group: OpenSync, capsys: pytest.CaptureFixture[str]) -> None:
    """activate() warns and does nothing, frames are taken at once, and nobody may wait for an activation."""
    bench = open_group(scheduled=True)
    context = bench.group.activate(bench.group.create_params())
    assert type(context).__name__ == "EmptyContextManager"
    assert "Calls to `activate()` when working with scheduler are deprecated!" in capsys.readouterr().out
    with bench.pipeline() as pipeline, context as activated:
        assert activated is None
        assert len(pipeline.infer(pictures(5))["tiny/nms_postprocess"]) == 5
    with pytest.raises(bench.python.HailoRTInvalidOperationException):
        bench.group.wait_for_activation(1)


def test_scheduler_settings(open_group: OpenSync) -> None:
    """They need a scheduler, and priorities reach from 0 to 31; the native exceptions leak."""
    bench = open_group(scheduled=True)
    bench.group.set_scheduler_timeout(10)
    bench.group.set_scheduler_timeout(10, "tiny/tiny")
    bench.group.set_scheduler_threshold(2)
    bench.group.set_scheduler_priority(31)
    with pytest.raises(bench.native.HailoRTStatusException) as caught:
        bench.group.set_scheduler_priority(32)
    assert status_of(caught.value) == 2
    with pytest.raises(bench.native.HailoRTStatusException) as caught:
        bench.group.set_scheduler_timeout(10, "another")
    assert status_of(caught.value) == 7


def test_scheduler_settings_without_a_scheduler(open_group: OpenSync) -> None:
    """Each of them is an invalid operation, as a native exception."""
    bench = open_group()
    for call in (
        lambda: bench.group.set_scheduler_timeout(1),
        lambda: bench.group.set_scheduler_threshold(1),
        lambda: bench.group.set_scheduler_priority(1),
    ):
        with pytest.raises(bench.native.HailoRTStatusException) as caught:
            call()
        assert status_of(caught.value) == 6


# -- time-outs and failures --------------------------------------------------------------------------------------------


def test_recv_times_out(open_group: OpenSync) -> None:
    """Without a frame on its way recv raises HailoRTTimeout after timeout_ms, and works afterwards."""
    bench = open_group()
    inputs, outputs = bench.streams(timeout_ms=10)
    with bench.group.activate(), inputs, outputs:
        with pytest.raises(bench.python.HailoRTTimeout):
            outputs.get().recv()
        inputs.get().send(pictures(1))
        wait_for(lambda: _received(bench, outputs), what="the frame")


def _received(bench: Any, outputs: Any) -> bool:
    try:
        return len(outputs.get().recv()[1]) == 2
    except bench.python.HailoRTTimeout:
        return False


def test_send_times_out_when_nobody_receives(open_group: OpenSync) -> None:
    """Queues are bounded: with nobody to fetch results the device stops taking frames, and send raises in the end."""
    bench = open_group()
    inputs, outputs = bench.streams(timeout_ms=20)
    taken = 0

    def send_on() -> None:
        nonlocal taken
        for _ in range(1000):
            inputs.get().send(pictures(1))
            taken += 1

    with bench.group.activate(), inputs, outputs:
        with pytest.raises(bench.python.HailoRTTimeout):
            send_on()
        assert 2 <= taken < 64
        for _ in range(2):
            assert len(outputs.get().recv()[1]) == 2


def test_a_hung_device_times_out(open_group: OpenSync) -> None:
    """When no frame is ever answered infer raises HailoRTTimeout."""
    bench = open_group(Faults(hang_from=1))
    with (
        bench.group.activate(),
        bench.pipeline(timeout_ms=20) as pipeline,
        pytest.raises(bench.python.HailoRTTimeout),
    ):
        pipeline.infer(pictures(1))


@pytest.mark.parametrize(
    ("status", "name"), [(63, "HailoRTStreamAborted"), (36, "HailoRTDriverOperationFailedException")]
)
def test_a_failed_frame_ends_the_streams(open_group: OpenSync, status: int, name: str) -> None:
    """The status of a frame that fails is raised, by later calls as well, until the group is activated anew."""
    bench = open_group(Faults(fail_completions={2: status}))
    with bench.pipeline() as pipeline:
        with bench.group.activate():
            pipeline.infer(pictures(1))
            for _ in range(2):
                with pytest.raises(getattr(bench.python, name)) as caught:
                    pipeline.infer(pictures(1))
                assert status_of(caught.value) == status
        with bench.group.activate():
            pipeline.infer(pictures(1))


def test_everything_fails_after_release(open_group: OpenSync) -> None:
    """A network group dies with its VDevice: the native INTERNAL_FAILURE leaks from its getters, wrapped elsewhere."""
    bench = open_group()
    bench.vdevice.release()
    with pytest.raises(bench.native.HailoRTStatusException) as caught:
        bench.group.name  # noqa: B018 - a property that raises
    assert status_of(caught.value) == 8
    with pytest.raises(bench.python.HailoRTException) as wrapped:
        bench.hailo.InputVStreamParams.make(bench.group)
    assert status_of(wrapped.value) == 8
    with pytest.raises(AttributeError):
        bench.vdevice.configure(bench.hef)


def test_a_pipeline_that_was_left_is_not_activated(open_group: OpenSync) -> None:
    """Streams of a pipeline that was left raise VSTREAM_PIPELINE_NOT_ACTIVATED."""
    bench = open_group()
    inputs, _ = bench.streams()
    with bench.group.activate():
        with inputs:
            sender = inputs.get()
        with pytest.raises(bench.python.HailoRTException) as caught:
            sender.send(pictures(1))
    assert status_of(caught.value) == 70


def test_configuring_what_cannot_be(open_group: OpenSync) -> None:
    """Network groups that the HEF has not, streams over Ethernet and batches beyond the queue are refused."""
    bench = open_group()
    hailo, python = bench.hailo, bench.python
    params = hailo.ConfigureParams.create_from_hef(bench.hef, hailo.HailoStreamInterface.PCIe)
    with pytest.raises(python.HailoRTInvalidArgumentException):
        bench.vdevice.configure(bench.hef, {"another": params["tiny"]})
    ethernet = hailo.ConfigureParams.create_from_hef(bench.hef, interface=hailo.HailoStreamInterface.ETH)
    with pytest.raises(python.HailoRTInvalidOperationException):
        bench.vdevice.configure(bench.hef, ethernet)
    stream = params["tiny"].stream_params_by_name["tiny/input_layer1"]
    assert stream.pcie_input_params is not None
    with pytest.raises(bench.native.HailoRTStatusException) as caught:
        stream.pcie_output_params  # noqa: B018 - a property that raises
    assert status_of(caught.value) == 6
    with pytest.raises(TypeError):
        hailo.ConfigureParams.create_from_hef(bench.hef, 0)


def test_a_network_group_cannot_be_pickled(open_group: OpenSync) -> None:
    """Only a network group of the multi-process service crosses by pickle; this one needs a fork."""
    bench = open_group()
    with pytest.raises(bench.native.HailoRTStatusException) as caught:
        pickle.dumps(bench.group)
    assert status_of(caught.value) == 6
