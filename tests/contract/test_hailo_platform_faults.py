"""What a scripted fault looks like through `hailo_platform`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hailod.simulator import Faults
from hailod.simulator.chip import faults
from tests.support.models import sees_two
from tests.support.scripted import Benches
from tests.support.waiting import wait_for


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Benches]:
    """Opens a device with a script of faults."""
    made = Benches(tmp_path)
    yield made
    made.close()


def status_of(error: BaseException) -> int:
    return int(str(error.__cause__ or error))


# -- single jobs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [4, 8, 36, 63, 80, 87])
def test_a_completion_can_have_any_status(bench: Benches, status: int) -> None:
    """The callback gets the exception that stands for the status; the model is dead with it."""
    opened = bench(faults.Completion(status=status, job=2))
    model = opened.model()
    for _ in range(2):
        model.run().wait(1000)
    expected = type(opened.python.ExceptionWrapper.create_exception_from_status(status)).__name__
    assert model.all_ended(2) == ["ok", expected]
    with pytest.raises(opened.hailo.HailoRTException) as caught:
        model.run()
    assert status_of(caught.value) == status


@pytest.mark.parametrize("status", [3, 36, 82])
def test_a_submission_can_fail_with_any_status(bench: Benches, status: int) -> None:
    """run_async raises it, and everything after is aborted."""
    opened = bench(faults.Submit(status=status, job=2))
    model = opened.model()
    model.run().wait(1000)
    for expected in (status, 63):
        with pytest.raises(opened.hailo.HailoRTException) as caught:
            model.run()
        assert status_of(caught.value) == expected


def test_a_fault_of_one_model_leaves_the_others_alone(bench: Benches) -> None:
    """`model` names whose jobs are meant."""
    opened = bench(faults.Completion(status=63, model="bad"))
    good, bad = opened.model("good"), opened.model("bad")
    for model in (good, bad):
        model.run().wait(1000)
    good.run().wait(1000)
    assert (good.ended, bad.ended) == (["ok", "ok"], ["HailoRTStreamAborted"])


def test_a_timeout_takes_its_time_and_then_says_so(bench: Benches) -> None:
    """The chip is stuck on the job; its callback gets TIMEOUT and what is behind it is aborted."""
    opened = bench(faults.Timeout(job=1, after=0.05))
    model = opened.model()
    began = time.monotonic()
    for _ in range(2):
        model.run()
    assert model.all_ended(2) == ["HailoRTTimeout", "HailoRTStreamAborted"]
    assert model.moments[0] - began >= 0.05


def test_a_slow_job_delays_those_behind_it(bench: Benches) -> None:
    """A job that takes ten times as long ends so much later."""
    opened = bench(faults.Slow(job=1, factor=10))
    model = opened.model(frame_ms=5.0)
    began = time.monotonic()
    for _ in range(2):
        model.run()
    assert model.all_ended(2) == ["ok", "ok"]
    assert model.moments[0] - began >= 0.05
    assert model.moments[1] - began >= 0.055


def test_a_hang_that_ends_delivers_everything(bench: Benches) -> None:
    """While it hangs no callback comes; then all do, in order and sound."""
    opened = bench(faults.Hang(job=1, for_=0.1))
    model = opened.model()
    began = time.monotonic()
    jobs = [model.run() for _ in range(3)]
    with pytest.raises(opened.python.HailoRTTimeout):
        jobs[0].wait(20)
    assert model.all_ended(3) == ["ok"] * 3
    assert model.moments[0] - began >= 0.1


def test_a_hang_without_end_hides_until_the_model_is_closed(bench: Benches) -> None:
    """No callback comes; closing blocks for the time-outs and then aborts."""
    opened = bench(faults.Hang(at=0))
    model = opened.model()
    job = model.run()
    with pytest.raises(opened.python.HailoRTTimeout):
        job.wait(20)
    opened.close()
    assert model.ended == ["HailoRTStreamAborted"]


@pytest.mark.parametrize("fill", ["random", "nan"])
def test_garbage_is_delivered_as_success(bench: Benches, fill: str) -> None:
    """Outputs are garbage, the same for the same seed, and nobody is told."""
    opened = bench(faults.Garbage(job=2, fill=fill), seed=3)
    model = opened.model()
    for _ in range(3):
        model.run().wait(1000)
    assert model.ended == ["ok"] * 3
    sound, garbage, after = (each.output().get_buffer(None) for each in model.outputs)
    assert sound.tolist() == after.tolist()
    assert np.isnan(garbage).all() if fill == "nan" else len(np.unique(garbage.view(np.uint8))) > 100


def test_a_process_abort(tmp_path: Path) -> None:
    """The completion of the job ends the process by SIGABRT, and only that one: the next process lives."""
    model, script = tmp_path / "two.sim.toml", tmp_path / "faults.toml"
    model.write_text(sees_two(64, 96))
    script.write_text('[[fault]]\nkind = "process_abort"\njob = 2\n')
    memory, serial = str(tmp_path / "memory"), f"abort-{os.getpid()}"
    program = PROGRAM.format(memory=memory, script=str(script), model=str(model), serial=serial)
    outcomes = [subprocess.run([sys.executable, "-c", program], capture_output=True, check=False) for _ in range(2)]
    assert [outcome.returncode for outcome in outcomes] == [-signal.SIGABRT, 0]
    assert outcomes[1].stdout == b"ok ok ok \n"


PROGRAM = """
import numpy as np
from pathlib import Path
from hailod import simulator
simulator.install(simulator.SimulatorOptions(
    serial={serial!r}, configure_s=0.0, memory={memory!r}, faults=simulator.load_faults(Path({script!r}))))
import hailo_platform
params = hailo_platform.VDevice.create_params()
params.scheduling_algorithm = hailo_platform.HailoSchedulingAlgorithm.ROUND_ROBIN
with hailo_platform.VDevice(params) as vdevice:
    model = vdevice.create_infer_model({model!r})
    with model.configure() as configured:
        for _ in range(3):
            bindings = configured.create_bindings()
            bindings.input().set_buffer(np.zeros((64, 96, 3), np.uint8))
            bindings.output().set_buffer(np.zeros(model.output().shape, np.float32))
            configured.run_async([bindings], lambda completion_info: print("ok", end=" ")).wait(1000)
print()
"""


# -- opening -----------------------------------------------------------------------------------------------------------


def test_out_of_devices_for_some_attempts(bench: Benches) -> None:
    """VDevice() fails with 74 as often as told, then it opens."""
    opened = bench(faults.Open(times=2), opened=False)
    for _ in range(2):
        with pytest.raises(opened.hailo.HailoRTException, match="74"):
            opened.open()
    opened.open()


@pytest.mark.parametrize(("of", "status"), [("driver", 76), ("firmware", 16)])
def test_versions_that_do_not_match(bench: Benches, of: str, status: int) -> None:
    """VDevice() and Device() refuse, the latter with the raw native exception."""
    opened = bench(faults.Mismatch(of=of), opened=False)
    with pytest.raises(opened.hailo.HailoRTException) as caught:
        opened.open()
    assert status_of(caught.value) == status
    with pytest.raises(Exception, match=str(status)):
        opened.hailo.Device()


def test_configure_can_fail(bench: Benches) -> None:
    """configure() raises what it was told to, as often as told."""
    opened = bench(faults.Configure(status=8, times=1, model="two"))
    opened.model("other")
    with pytest.raises(opened.hailo.HailoRTException, match="8"):
        opened.model()
    opened.model()


# -- the device --------------------------------------------------------------------------------------------------------


def test_a_stream_abort_hits_every_model(bench: Benches) -> None:
    """What is in flight is aborted, all models are dead, and new ones work."""
    opened = bench(faults.StreamAbort(job=3))
    one, two = opened.model("one", frame_ms=60_000.0), opened.model("two", frame_ms=60_000.0)
    one.run()
    two.run()
    with pytest.raises(opened.python.HailoRTStreamAborted):
        one.run()
    assert (one.all_ended(1), two.all_ended(1)) == (["HailoRTStreamAborted"], ["HailoRTStreamAborted"])
    with pytest.raises(opened.python.HailoRTStreamAborted):
        two.run()
    fresh = opened.model("fresh")
    fresh.run().wait(1000)
    assert fresh.ended == ["ok"]


def test_a_stream_abort_comes_at_its_time(bench: Benches) -> None:
    """Nobody needs to submit for the abort to reach what is in flight."""
    opened = bench()
    model = opened.model(frame_ms=60_000.0)
    job = model.run()
    with pytest.raises(opened.python.HailoRTTimeout):
        job.wait(20)
    opened.simulation.faults = Faults(fault=(faults.StreamAbort(at=0.05),))
    assert model.all_ended(1) == ["HailoRTStreamAborted"]


def test_a_device_goes_and_comes_back(bench: Benches) -> None:
    """While it is away no callback comes, nothing scans or opens; then a new VDevice works, the old one never again."""
    opened = bench(faults.Lost(job=2, for_=0.3))
    control = opened.control()
    model = opened.model()
    model.run().wait(1000)
    job = model.run()
    with pytest.raises(opened.python.HailoRTTimeout):
        job.wait(20)
    assert opened.hailo.Device.scan() == []
    with pytest.raises(opened.python.HailoRTDriverOperationFailedException):
        control.get_chip_temperature()
    with pytest.raises(opened.hailo.HailoRTException, match="74"):
        opened.hailo.VDevice()
    wait_for(opened.hailo.Device.scan, what="the device is back")
    with pytest.raises(opened.python.HailoRTTimeout):
        job.wait(20)
    opened.close()
    assert model.ended == ["ok", "HailoRTStreamAborted"]
    opened.open()
    again = opened.model()
    again.run().wait(1000)
    assert again.ended == ["ok"]


def test_heat_is_seen_announced_and_stops_dataflow(bench: Benches) -> None:
    """Along a temperature curve the firmware announces alarm, clocks and shutdown, and all models are aborted."""
    opened = bench()
    control = opened.control()
    told: list[tuple[str, Any]] = []
    ids = opened.hailo.pyhailort._pyhailort.NotificationId
    for identity in (
        ids.HEALTH_MONITOR_TEMPERATURE_ALARM,
        ids.HEALTH_MONITOR_CLOCK_CHANGED_EVENT,
        ids.HEALTH_MONITOR_DATAFLOW_SHUTDOWN,
    ):
        control.set_notification_callback(lambda *each: told.append((each[2], each[1])), identity, identity.name)
    model = opened.model(frame_ms=10_000.0)
    model.run()
    opened.simulation.faults = Faults(temperature=[(0.02, 90.0), (0.2, 125.0)])
    assert model.all_ended(1) == ["HailoRTStreamAborted"]
    wait_for(lambda: len(told) >= 7, what="seven notifications")
    names = [name.removeprefix("HEALTH_MONITOR_") for name, _ in told]
    assert names == ["TEMPERATURE_ALARM", *["CLOCK_CHANGED_EVENT"] * 4, "TEMPERATURE_ALARM", "DATAFLOW_SHUTDOWN"]
    alarm = told[0][1].body.health_monitor_temperature_alarm_notification
    assert (int(alarm.temperature_zone), alarm.ts0_temperature) == (1, pytest.approx(104.0))
    clocks = [each.body.health_monitor_clock_changed_notification.current_clock for _, each in told[1:5]]
    assert clocks == [350_000_000, 300_000_000, 250_000_000, 200_000_000]
    assert control.get_chip_temperature().ts0_temperature >= 120.0


def test_overcurrent_and_other_alarms_are_announced(bench: Benches) -> None:
    """Whatever the script lets the firmware say reaches the callback of its kind, and no other."""
    opened = bench()
    control = opened.control()
    ids = opened.hailo.pyhailort._pyhailort.NotificationId
    told: list[Any] = []
    control.set_notification_callback(
        lambda *arguments: told.append(arguments[1].body.health_monitor_overcurrent_alert_notification),
        ids.HEALTH_MONITOR_OVERCURRENT_ALARM, None,
    )  # fmt: skip
    bitmaps: list[int] = []
    control.set_notification_callback(
        lambda *arguments: bitmaps.append(arguments[1].body.health_monitor_cpu_ecc_notification.memory_bitmap),
        ids.HEALTH_MONITOR_CPU_ECC_ERROR, None,
    )  # fmt: skip
    opened.simulation.faults = Faults(
        fault=(
            faults.Overcurrent(at=0.02, for_=0.04, threshold=3000.0),
            faults.Notify(id="HEALTH_MONITOR_CPU_ECC_ERROR", fields={"memory_bitmap": 5}, at=0.04),
        )
    )
    wait_for(lambda: len(told) >= 2, what="the alarm and its end")
    assert [int(each.overcurrent_zone) for each in told] == [1, 0]
    assert told[0].exceeded_alert_threshold == 3000.0
    assert bitmaps == [5]


def test_a_throttled_chip_is_slower(bench: Benches) -> None:
    """At 200 MHz a frame takes twice as long as at 400."""
    opened = bench(faults.Throttle(at=0, level=3))
    model = opened.model(frame_ms=50.0)
    began = time.monotonic()
    model.run()
    model.all_ended(1)
    assert model.moments[0] - began >= 0.1


def test_power_and_temperature_follow_their_curves(bench: Benches) -> None:
    """With a curve there is a sensor."""
    opened = bench(temperature=[(0, 61.0)], power=[(0, 2.5)])
    control = opened.control()
    assert control.get_chip_temperature().ts0_temperature == pytest.approx(61.0)
    assert control.power_measurement() == pytest.approx(2.5)


def test_a_seed_hits_the_same_jobs_again(bench: Benches) -> None:
    """Two runs of one script spoil the same jobs in the same way, another seed others."""

    def run(seed: int) -> list[bytes]:
        opened = bench(faults.Garbage(rate=0.3), seed=seed)
        model = opened.model()
        for _ in range(30):
            model.run().wait(1000)
        opened.close()
        return [each.output().get_buffer(None).tobytes() for each in model.outputs]

    first, again, other = run(1), run(1), run(2)
    assert first == again != other
    assert 2 <= len(set(first)) <= 20
