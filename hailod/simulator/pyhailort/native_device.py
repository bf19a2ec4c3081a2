"""`_pyhailort.Device`: an opened chip and its firmware's answers. Everything holds the GIL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hailod.simulator.chip import thermal
from hailod.simulator.chip.device import Simulation, current
from hailod.simulator.chip.foreign import Native
from hailod.simulator.native import ENUMS, DvmTypes, HailoRTStatusException, NativeEnum, PowerMeasurementTypes, profile
from hailod.simulator.pyhailort.board import DeviceArchitectureTypes
from hailod.simulator.pyhailort.firmware import (
    BoardInformation,
    CoreInformation,
    ExtendedDeviceInformation,
    FirmwareVersion,
    HealthInformation,
    PowerMeasurementData,
    SupportedFeatures,
    TemperatureInfo,
    ThrottlingLevel,
)
from hailod.simulator.pyhailort.notices import OvercurrentAlertState, TemperatureZone, notification
from hailod.simulator.pyhailort.power import PowerSensor
from hailod.simulator.pyhailort.unsupported import refuse

INVALID_ARGUMENT = 2
INVALID_OPERATION = 6
INTERNAL_FAILURE = 8
PROTOCOL_VERSION = 2

AveragingFactor = ENUMS["AveragingFactor"]
BootSource = ENUMS["BootSource"]
CpuId = ENUMS["CpuId"]
DeviceArchitecture = ENUMS["DeviceArchitecture"]
FwLoggerLevel = ENUMS["FwLoggerLevel"]
MeasurementBufferIndex = ENUMS["MeasurementBufferIndex"]
ResetDeviceMode = ENUMS["ResetDeviceMode"]
SamplingPeriod = ENUMS["SamplingPeriod"]
SleepState = ENUMS["SleepState"]

NotificationCallback = Callable[[int, object, object], None]

OVERCURRENT_MA = 3300.0

_BOARDS = {
    "hailo8": (DeviceArchitectureTypes.HAILO8, "HM218B1C2FAE", "HAILO-8 AI ACC M.2 M KEY MODULE EXT TEMP"),
    "hailo8l": (DeviceArchitectureTypes.HAILO8L, "HM21LB1C2LAE", "HAILO-8L AI ACC M.2 B+M KEY MODULE EXT TMP"),
    "hailo8r": (DeviceArchitectureTypes.HAILO8, "HM218B1C2RAE", "HAILO-8R AI ACC M.2 B+M KEY MODULE"),
    "hailo10h": (DeviceArchitectureTypes.HAILO10H, "HM21XH", "HAILO-10H AI ACC M.2 M KEY MODULE"),
    "hailo15h": (DeviceArchitectureTypes.HAILO15H, "HA15H", "HAILO-15H VISION PROCESSOR"),
    "hailo15m": (DeviceArchitectureTypes.HAILO15M, "HA15M", "HAILO-15M VISION PROCESSOR"),
    "hailo15l": (DeviceArchitectureTypes.HAILO15L, "HA15L", "HAILO-15L VISION PROCESSOR"),
}


class NativeDevice(Native):
    """An opened chip; every question fails once it is off the bus."""

    def __init__(self, simulation: Simulation, device_id: str) -> None:
        if device_id not in scan(simulation):
            raise HailoRTStatusException(INVALID_ARGUMENT)
        simulation.check_versions()
        self._device_id = device_id
        self._simulation: Simulation | None = simulation
        self._subscriptions: dict[int, Callable[[], None]] = {}
        self._sensor = PowerSensor(self._power, simulation.now)
        self._throttling = True
        self._overcurrent = True

    # Constructors, as the binding has them.

    @staticmethod
    def create(device_id: str) -> NativeDevice:
        if not isinstance(device_id, str):
            raise TypeError(f"create(): incompatible function arguments. Invoked with: {device_id!r}")
        return NativeDevice(current(), device_id)

    @staticmethod
    def scan() -> list[str]:
        return scan(current())

    @staticmethod
    def create_pcie(device_info: Any) -> NativeDevice:
        return NativeDevice(current(), str(device_info))

    create_eth = staticmethod(refuse)

    @property
    def device_id(self) -> str:
        return self._device_id

    def is_valid(self) -> bool:
        return self._simulation is not None

    def release(self) -> None:
        if self._interpreter_ends():
            return
        for unsubscribe in self._subscriptions.values():
            unsubscribe()
        self._subscriptions.clear()
        self._simulation = None

    @property
    def _chip(self) -> Simulation:
        """The simulation, while the device is not released and the chip is on the bus."""
        if self._simulation is None:
            raise HailoRTStatusException(INTERNAL_FAILURE)
        self._simulation.check_bus()
        return self._simulation

    def _power(self, moment: float) -> float | None:
        return self._chip.power(moment)

    # Who it is.

    def identify(self) -> BoardInformation:
        options = self._chip.options
        architecture, part, product = _BOARDS[options.arch]
        return BoardInformation(
            PROTOCOL_VERSION,
            _firmware_version(),
            0,
            # An 8L, too, calls its board a Hailo-8.
            "Hailo-8" if options.arch.startswith("hailo8") else f"Hailo-{options.arch.removeprefix('hailo').upper()}",
            True,
            False,
            DeviceArchitecture(int(architecture)),
            options.serial,
            part,
            product,
        )

    def core_identify(self) -> CoreInformation:
        self._chip  # noqa: B018 - asked for its error
        return CoreInformation(True, False, _firmware_version())

    def get_extended_device_information(self) -> ExtendedDeviceInformation:
        simulation = self._chip
        serial = simulation.options.serial.encode()
        return ExtendedDeviceInformation(
            thermal.CORE_CLOCK_HZ,
            SupportedFeatures(current_monitoring=simulation.power() is not None),
            BootSource.PCIE,
            3,
            serial.ljust(32, b"\0")[:32],
            bytes(6),
            serial.ljust(12, b"\0")[:12],
            bytes(24),
            0,
        )

    # How it is.

    def get_chip_temperature(self) -> TemperatureInfo:
        chip = self._chip
        first, second = chip.temperature()
        return TemperatureInfo(first, second, int(chip.now()) & 0xFFFF)

    def get_health_information(self) -> HealthInformation:
        health = self._chip.health()
        return HealthInformation(
            self._overcurrent,
            OvercurrentAlertState(health.overcurrent_zone),
            OVERCURRENT_MA,
            self._throttling,
            self._throttling,
            TemperatureZone(health.zone),
            health.level,
            [ThrottlingLevel(*level) for level in thermal.LEVELS],
            int(thermal.ORANGE_C),
            int(thermal.ORANGE_HYSTERESIS_C),
            int(thermal.RED_C),
            int(thermal.RED_HYSTERESIS_C),
            thermal.CORE_CLOCK_HZ,
            health.clock_hz,
        )

    _get_health_information = get_health_information

    def get_throttling_state(self) -> bool:
        self._chip  # noqa: B018 - asked for its error
        return self._throttling

    def set_throttling_state(self, should_activate: bool) -> None:
        self._chip  # noqa: B018 - asked for its error
        self._throttling = bool(should_activate)

    def _get_overcurrent_state(self) -> bool:
        self._chip  # noqa: B018 - asked for its error
        return self._overcurrent

    def _set_overcurrent_state(self, should_activate: bool) -> None:
        self._chip  # noqa: B018 - asked for its error
        self._overcurrent = bool(should_activate)

    def previous_system_state(self, cpu_id: NativeEnum) -> int:
        """Why the CPU stopped last time: 0, it did not."""
        self._chip  # noqa: B018 - asked for its error
        _expect(cpu_id, CpuId)
        return 0

    def test_chip_memories(self) -> None:
        self._chip  # noqa: B018 - asked for its error

    def set_fw_logger(self, level: NativeEnum, interface_mask: int) -> None:
        self._chip  # noqa: B018 - asked for its error
        _expect(level, FwLoggerLevel)

    def read_log(self, count: int, cpu_id: NativeEnum) -> bytes:
        """At most `count` bytes of the firmware's log, which is empty."""
        self._chip  # noqa: B018 - asked for its error
        _expect(cpu_id, CpuId)
        return b""

    # What it draws. Modules without a sensor, as on the AI HAT, fail with FW_CONTROL_FAILURE.

    def power_measurement(self, dvm: NativeEnum, measurement_type: NativeEnum) -> float:
        return self._sensor.measure(_expect(dvm, DvmTypes), _expect(measurement_type, PowerMeasurementTypes))

    def start_power_measurement(self, averaging_factor: NativeEnum, sampling_period: NativeEnum) -> None:
        self._sensor.start(_expect(averaging_factor, AveragingFactor), _expect(sampling_period, SamplingPeriod))

    def set_power_measurement(self, buffer_index: NativeEnum, dvm: NativeEnum, measurement_type: NativeEnum) -> None:
        index = int(_expect(buffer_index, MeasurementBufferIndex))
        self._sensor.set_buffer(index, _expect(dvm, DvmTypes), _expect(measurement_type, PowerMeasurementTypes))

    def get_power_measurement(self, buffer_index: NativeEnum, should_clear: bool) -> PowerMeasurementData:
        return self._sensor.read_buffer(int(_expect(buffer_index, MeasurementBufferIndex)), clear=should_clear)

    def stop_power_measurement(self) -> None:
        self._sensor.stop()

    # What it reports.

    def set_notification_callback(
        self, callback: NotificationCallback, notification_id: NativeEnum, opaque: object
    ) -> None:
        """Called as (address of the device, Notification, opaque) on a thread of the library; must not raise."""
        number = int(_expect(notification_id, ENUMS["NotificationId"]))
        if not callable(callback):
            raise TypeError(f"set_notification_callback(): incompatible function arguments. Invoked with: {callback!r}")

        def deliver(event: Any) -> None:
            if event.id == number:
                callback(id(self), notification(event.id, event.body, event.fields, event.sequence), opaque)

        self.remove_notification_callback(notification_id)
        self._subscriptions[number] = self._chip.notifier.subscribe(deliver)

    def remove_notification_callback(self, notification_id: NativeEnum) -> None:
        unsubscribe = self._subscriptions.pop(int(_expect(notification_id, ENUMS["NotificationId"])), None)
        if unsubscribe is not None:
            unsubscribe()

    # Resets.

    def reset(self, mode: NativeEnum) -> None:
        """Of the core or, soft, of the firmware; nothing re-attaches what was configured. A chip reset needs power."""
        simulation = self._chip
        if _expect(mode, ResetDeviceMode) == ResetDeviceMode.CHIP:
            raise HailoRTStatusException(INVALID_OPERATION)
        simulation.reset()

    def set_sleep_state(self, sleep_state: NativeEnum) -> None:
        self._chip  # noqa: B018 - asked for its error
        _expect(sleep_state, SleepState)

    # Flash, firmware, sensors, watchdogs, raw memory: see `unsupported.MAINTENANCE`.

    direct_read_memory = direct_write_memory = read_memory = write_memory = refuse
    firmware_update = second_stage_update = refuse
    examine_user_config = read_user_config = write_user_config = erase_user_config = refuse
    read_board_config = write_board_config = refuse
    i2c_read = i2c_write = refuse
    sensor_get_sections_info = sensor_load_and_start_config = sensor_reset = sensor_set_generic_i2c_slave = refuse
    sensor_set_i2c_bus_index = sensor_store_config = store_isp_config = refuse
    set_pause_frames = refuse
    wd_config = wd_disable = wd_enable = refuse


def scan(simulation: Simulation) -> list[str]:
    """The ids of the chips on the bus."""
    return [] if simulation.vanished else [simulation.options.device_id]


def _firmware_version() -> FirmwareVersion:
    return FirmwareVersion(*map(int, profile().version.split(".")))


def _expect(value: NativeEnum, kind: type[NativeEnum]) -> NativeEnum:
    if not isinstance(value, kind):
        raise TypeError(f"(): incompatible function arguments. Invoked with: {value!r}")
    return value
