"""How `Device` and `Control` behave."""

from __future__ import annotations

import gc
import importlib
import os
import signal
import threading
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from hailod import simulator
from hailod.simulator import Faults, SimulatorOptions
from hailod.simulator.chip.device import current
from hailod.simulator.chip.faults import Lost
from tests.support.synchronous import status_of
from tests.support.waiting import wait_for

Installed = Callable[..., ModuleType]

HEATING = Faults(temperature=((0.0, 100.0), (0.05, 110.0)))
GONE = Faults(fault=(Lost(),))


@pytest.fixture
def installed() -> Iterator[Installed]:
    """Installs a simulated chip and gives `hailo_platform`."""

    def install(faults: Faults | None = None, **options: Any) -> ModuleType:
        simulator.install(SimulatorOptions(serial=f"control-{os.getpid()}", faults=faults or Faults(), **options))
        return importlib.import_module("hailo_platform")

    yield install
    simulator.uninstall()


def native(hailo: ModuleType) -> Any:
    return hailo.pyhailort._pyhailort


@pytest.mark.parametrize(
    ("arch", "architecture", "board"),
    [
        ("hailo8", "HAILO8", "Hailo-8"),
        ("hailo8l", "HAILO8L", "Hailo-8"),
        ("hailo8r", "HAILO8", "Hailo-8"),
        ("hailo10h", "HAILO10H", "Hailo-10H"),
        ("hailo15m", "HAILO15M", "Hailo-15M"),
    ],
)
def test_identity(installed: Installed, arch: str, architecture: str, board: str) -> None:
    """A chip tells its architecture, serial number and firmware; an 8L, too, calls its board a Hailo-8."""
    hailo = installed(arch=arch)
    with hailo.Device() as device:
        identity = device.control.identify()
        assert (str(identity.device_architecture), identity.board_name) == (architecture, board)
        assert identity.serial_number == f"control-{os.getpid()}"
        assert str(identity.firmware_version) == "4.23.0 (release,app)"
        assert f"Device Architecture: {architecture}\n" in repr(identity)
        assert str(device.control.core_identify()) == "Core Firmware Version: 4.23.0 (release,core)"
        assert device.device_id == device.control.device_id == hailo.Device.scan()[0] == "0000:01:00.0"
        assert (repr(device), device.loaded_network_groups) == ("Device('0000:01:00.0')", [])


def test_firmware_versions_compare(installed: Installed) -> None:
    """Versions are ordered and equal by number, and compatible when major and minor are the same."""
    hailo = installed()
    python = hailo.pyhailort.pyhailort

    def version(*numbers: int) -> Any:
        return python.HailoFirmwareVersion.construct_from_params(*numbers, True, False, python.HailoFirmwareType.APP)

    assert version(4, 22, 0) < version(4, 23, 0) == version(4, 23, 0x80000000)
    assert version(4, 23, 0).check_protocol_compatibility(version(4, 23, 7))
    assert not version(4, 23, 0).check_protocol_compatibility(version(4, 22, 0))


def test_extended_information(installed: Installed) -> None:
    """The clock is 400 MHz, the chip has booted over PCIe, and prints itself so."""
    hailo = installed(power_w=2.5)
    with hailo.Device() as device:
        information = device.control.get_extended_device_information()
        assert information.neural_network_core_clock_rate == 400_000_000
        assert information.supported_features.pcie
        assert information.supported_features.current_monitoring
        assert "Neural Network Core Clock Rate: 400.0MHz\n" in str(information)
        assert "Boot source: PCIE\n" in str(information)


def test_temperature(installed: Installed) -> None:
    """Both sensors and a running count of samples."""
    hailo = installed(temperature_c=61.0)
    with hailo.Device() as device:
        found = device.control.get_chip_temperature()
        assert found.ts0_temperature == 61.0
        assert found.ts1_temperature == pytest.approx(61.0, abs=1.0)
        assert 0 <= found.sample_count <= 0xFFFF
        assert found.equals(found)


def test_health(installed: Installed) -> None:
    """The protections' state and limits; throttling levels are told only while throttling is on."""
    hailo = installed()
    with hailo.Device() as device:
        health = device.control._get_health_information()
        assert (health.orange_temperature_threshold, health.red_temperature_threshold) == (104, 120)
        assert str(health.current_temperature_zone) == "TemperatureZone.TEMPERATURE_ZONE_GREEN"
        clocks = [level.throttling_nn_clock_freq for level in health.temperature_throttling_levels]
        assert clocks == [350_000_000, 300_000_000, 250_000_000, 200_000_000]
        assert device.control.get_throttling_state() is True
        device.control.set_throttling_state(False)
        assert device.control.get_throttling_state() is False
        off = device.control._get_health_information()
        assert off.temperature_throttling_levels == []
        assert "<Temperature throttling is disabled>" in str(off)
        device.control._set_overcurrent_state(False)
        assert device.control._get_overcurrent_state() is False


def test_no_sensor(installed: Installed) -> None:
    """A module without a sensor, as the AI HAT, fails with FW_CONTROL_FAILURE."""
    hailo = installed()
    python = hailo.pyhailort.pyhailort
    with hailo.Device() as device:
        for call in (device.control.power_measurement, device.control.start_power_measurement):
            with pytest.raises(python.HailoRTFirmwareControlFailedException) as caught:
                call()
            assert status_of(caught.value) == 18


def test_power(installed: Installed) -> None:
    """A sensor gives W, mA or mV; voltages of the evaluation board are not there to be measured."""
    hailo = installed(power_w=3.3)
    with hailo.Device() as device:
        control = device.control
        kinds = hailo.PowerMeasurementTypes
        assert control.power_measurement() == pytest.approx(3.3)
        assert control.power_measurement(hailo.DvmTypes.OVERCURRENT_PROTECTION, kinds.POWER) == pytest.approx(3.3)
        assert control.power_measurement(measurement_type=kinds.CURRENT) == pytest.approx(1000.0)
        assert control.power_measurement(measurement_type=kinds.BUS_VOLTAGE) == pytest.approx(3300.0)
        with pytest.raises(hailo.pyhailort.pyhailort.HailoRTFirmwareControlFailedException):
            control.power_measurement(hailo.DvmTypes.VDD_CORE)
        with pytest.raises(TypeError):
            control.power_measurement(0)


def test_a_long_measurement(installed: Installed) -> None:
    """Samples come every 2 x period x averaging factor, into the buffer that was set, and reading may clear them."""
    hailo = installed(power_w=3.3)
    with hailo.Device() as device:
        control = device.control
        index = hailo.MeasurementBufferIndex.MEASUREMENT_BUFFER_INDEX_1
        control.set_power_measurement(index, hailo.DvmTypes.AUTO, hailo.PowerMeasurementTypes.POWER)
        control.start_power_measurement(hailo.AveragingFactor.AVERAGE_1, hailo.SamplingPeriod.PERIOD_140us)
        wait_for(
            lambda: control.get_power_measurement(index, should_clear=False).total_number_of_samples > 2, what="samples"
        )
        found = control.get_power_measurement(index, should_clear=False)
        assert found.average_time_value_milliseconds == pytest.approx(0.28)
        values = [found.min_value, found.average_value, found.max_value]
        assert values == pytest.approx([3.3] * 3)
        control.stop_power_measurement()
        with pytest.raises(hailo.pyhailort.pyhailort.HailoRTFirmwareControlFailedException):
            control.get_power_measurement(index)


def test_what_enums_of_measurements_stand_for(installed: Installed) -> None:
    """Microseconds and samples."""
    hailo = installed()
    utils = hailo.pyhailort.pyhailort.HailoPowerMeasurementUtils
    assert utils.return_real_sampling_period(hailo.SamplingPeriod.PERIOD_8244us) == 8244
    assert utils.return_real_averaging_factor(hailo.AveragingFactor.AVERAGE_1024) == 1024


def test_notifications_are_typed(installed: Installed) -> None:
    """A callback gets the chip's address, the typed message in its union and what was given along."""
    hailo = installed()
    identifiers = hailo.pyhailort.pyhailort.NotificationId
    seen: list[tuple[object, Any, object, int]] = []
    with hailo.Device() as device:

        def alarm(chip: int, notification: Any, opaque: object) -> None:
            seen.append((chip, notification, opaque, threading.get_ident()))

        device.control.set_notification_callback(alarm, identifiers.HEALTH_MONITOR_TEMPERATURE_ALARM, "along")
        current().faults = HEATING
        wait_for(lambda: bool(seen), what="an alarm")
        chip, notification, opaque, thread = seen[0]
        assert isinstance(chip, int)
        assert (opaque, notification.notification_id) == ("along", identifiers.HEALTH_MONITOR_TEMPERATURE_ALARM)
        message = notification.body.health_monitor_temperature_alarm_notification
        assert type(message).__name__ == "HealthMonitorTemperatureAlarmNotificationMessage"
        assert message.temperature_zone == native(hailo).TemperatureZone.TEMPERATURE_ZONE_ORANGE
        assert message.ts0_temperature >= 104
        assert notification.body.health_monitor_clock_changed_notification.current_clock == 0
        assert thread != threading.get_ident()


def test_a_removed_callback_is_not_called(installed: Installed) -> None:
    """After remove_notification_callback another one still is called, and removing what is not there is no error."""
    hailo = installed()
    identifiers = hailo.pyhailort.pyhailort.NotificationId
    removed: list[object] = []
    called: list[object] = []
    with hailo.Device() as first, hailo.Device() as second:
        kind = identifiers.HEALTH_MONITOR_TEMPERATURE_ALARM
        first.control.set_notification_callback(lambda *event: removed.append(event), kind, None)
        first.control.remove_notification_callback(kind)
        first.control.remove_notification_callback(kind)
        second.control.set_notification_callback(lambda *event: called.append(event), kind, None)
        current().faults = HEATING
        wait_for(lambda: bool(called), what="an alarm")
        with pytest.raises(TypeError):
            first.control.set_notification_callback(None, kind, None)
    assert removed == []


def test_after_release_every_question_is_refused(installed: Installed) -> None:
    """A control whose device was released, or was never kept, says so."""
    hailo = installed()
    refused = hailo.pyhailort.pyhailort.HailoRTInvalidOperationException
    device = hailo.Device()
    control = device.control
    device.release()
    device.release()
    for call in (control.identify, control.get_chip_temperature, control.chip_reset, lambda: control.device_id):
        with pytest.raises(refused, match="The device in use has been released"):
            call()
    with pytest.raises(AttributeError):
        device.read_log(10, hailo.HailoCpuId.CPU0)
    one_liner = hailo.Device().control
    gc.collect()
    with pytest.raises(refused, match="one-liner usage"):
        one_liner.identify()


def test_resets(installed: Installed) -> None:
    """A chip reset is an invalid operation over PCIe; the others succeed, and nothing re-attaches what is open."""
    hailo = installed()
    with hailo.Device() as device:
        with pytest.raises(hailo.pyhailort.pyhailort.HailoRTInvalidOperationException):
            device.control.chip_reset()
        device.control.nn_core_reset()
        device.control.soft_reset()
        device.control.forced_soft_reset()
        assert device.control.identify().is_release


def test_opening_leaks_native_exceptions(installed: Installed) -> None:
    """An id that is none is a native INVALID_ARGUMENT, no chip at all a HailoRTException."""
    hailo = installed()
    with pytest.raises(native(hailo).HailoRTStatusException) as caught:
        hailo.Device("nonsense")
    assert status_of(caught.value) == 2
    hailo = installed(GONE)
    assert hailo.Device.scan() == []
    with pytest.raises(hailo.HailoRTException, match="HailoRT device not found in the system") as missing:
        hailo.Device()
    assert missing.value.__cause__ is None


def test_off_the_bus_every_question_fails(installed: Installed) -> None:
    """Once the chip is gone the driver's calls fail with DRIVER_OPERATION_FAILED."""
    hailo = installed()
    with hailo.Device() as device:
        current().faults = GONE
        for call in (device.control.identify, device.control.get_chip_temperature, device.control.test_chip_memories):
            with pytest.raises(hailo.pyhailort.pyhailort.HailoRTDriverOperationFailedException) as caught:
                call()
            assert status_of(caught.value) == 36


def test_small_talk(installed: Installed) -> None:
    """The log is empty, the memories are sound, the CPUs never crashed, and levels of the log are taken."""
    hailo = installed()
    with hailo.Device() as device:
        control = device.control
        assert device.read_log(100, hailo.HailoCpuId.CPU1) == b""
        assert control.previous_system_state(hailo.HailoCpuId.CPU0) == 0
        control.test_chip_memories()
        control.set_fw_logger(native(hailo).FwLoggerLevel.WARN, 1)
        control.open()
        control.close()
        with pytest.raises(TypeError):
            control.set_fw_logger(3, 1)


def test_opening_blocks_the_signal_of_a_resized_terminal(installed: Installed) -> None:
    """HailoRT blocks SIGWINCH in the thread that opens a device."""
    hailo = installed()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGWINCH])
    with hailo.Device():
        assert signal.SIGWINCH in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGWINCH])


def test_addresses_on_the_bus(installed: Installed) -> None:
    """An address parses with and without a domain, compares, prints, and says what is wrong to argparse."""
    python = installed().pyhailort.pyhailort
    address = python.PcieDeviceInfo.from_string("0000:01:00.0")
    assert (address.domain, address.bus, address.device, address.func) == (0, 1, 0, 0)
    assert repr(address) == "PcieDeviceInfo(0000:01:00.0)"
    assert address == python.PcieDeviceInfo(1, 0, 0, 0)
    assert python.PcieDeviceInfo.from_string("01:00.0").domain == python.PCIE_ANY_DOMAIN
    with pytest.raises(python.HailoRTInvalidArgumentException):
        python.PcieDeviceInfo.from_string("nonsense")
    with pytest.raises(ArgumentTypeError):
        python.PcieDeviceInfo.argument_type("nonsense")
