"""Who has the device, among objects and processes, and how a process ends with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from types import ModuleType

import pytest

from hailod import simulator
from hailod.simulator import Faults
from tests.support.simulated import Open, run_python, status_of


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
        device = bench.hailo.Device()
        assert device.control.get_chip_temperature().ts0_temperature == 48.0
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


def test_an_owner_that_aborts_gives_the_device_up(opened: Open) -> None:
    """The kernel frees it with the process, however that ends."""
    bench = opened()
    serial = bench.simulation.options.serial
    bench.close()
    ended = run_python("device = hailo_platform.VDevice()\nimport os\nos.abort()", serial=serial)
    assert ended.returncode == -signal.SIGABRT
    bench.hailo.VDevice().release()


def test_a_released_owner_gives_the_device_up_once(opened: Open) -> None:
    """release() is idempotent, and a VDevice that nobody holds any more is released."""
    bench = opened()
    bench.close()
    with bench.hailo.VDevice() as vdevice:
        vdevice.release()
        vdevice.release()
    vdevice = bench.hailo.VDevice()
    del vdevice
    bench.hailo.VDevice().release()


FORKED = """
import os
vdevice = hailo_platform.VDevice(params)
child = os.fork()
if child == 0:
    try:
        vdevice.create_infer_model({path!r})
    except hailo_platform.HailoRTException as error:
        os.write(1, str(error).encode())
    os._exit(0)
os.waitpid(child, 0)
vdevice.create_infer_model({path!r}).configure()
"""


def test_infer_models_belong_to_the_process_of_the_vdevice(opened: Open) -> None:
    """A forked child that creates one gets an exception, and what the parent owns is not harmed."""
    bench = opened()
    ended = run_python(FORKED.format(path=str(bench.path)), serial=f"fork-{os.getpid()}")
    assert ended.stdout == b"InferModel can be created only from the process VDevice was created in."
    assert (ended.returncode, ended.stderr) == (0, b"")


SUBMIT = """
model = hailo_platform.VDevice(params).create_infer_model({path!r})
configured = model.configure()
bindings = configured.create_bindings()
bindings.input().set_buffer(np.zeros(model.input().shape, np.uint8))
bindings.output().set_buffer(np.zeros(model.output().shape, np.float32))
configured.run_async([bindings], lambda completion_info: None)
sys.stdin.read()
"""


def test_a_scripted_abort_ends_the_process(opened: Open) -> None:
    """The job that is told to abort takes the process with it."""
    bench = opened()
    options = "faults=simulator.Faults(abort_at=1)"
    ended = run_python(SUBMIT.format(path=str(bench.path)), serial=f"abort-{os.getpid()}", options=options)
    assert ended.returncode == -signal.SIGABRT


CLOSE = SUBMIT.replace("lambda completion_info: None", "lambda completion_info: configured.__exit__(None, None, None)")


def test_closing_a_model_from_its_own_callback_aborts(opened: Open) -> None:
    """The destructor joins the very thread that it runs on, which ends the process."""
    bench = opened()
    ended = run_python(CLOSE.format(path=str(bench.path)), serial=f"abort-{os.getpid()}")
    assert ended.returncode == -signal.SIGABRT
    assert b"Resource deadlock avoided" in ended.stderr


def test_several_models_on_one_device(opened: Open) -> None:
    """With the scheduler several models are configured at once and run in turn."""
    bench = opened()
    first = bench.configured
    bench.configured = bench.infer_model.configure()
    for configured in (first, bench.configured, first):
        bindings = bench.bindings()
        configured.run([bindings], 1000)
        assert len(bindings.output().get_buffer()[1]) == 2
    first.__exit__(None, None, None)
    bench.run().wait(1000)
    assert bench.ended == [None]
