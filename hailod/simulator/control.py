"""`Device` and `Control`: the chip beside inference, which needs no ownership."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Literal

from hailod.simulator.device import Simulation, current
from hailod.simulator.errors import ExceptionWrapper, HailoRTException, HailoRTInvalidOperationException
from hailod.simulator.native import (
    DvmTypes,
    FirmwareVersion,
    HailoRTStatusException,
    NativeEnum,
    PowerMeasurementTypes,
    TemperatureInfo,
)

INVALID_ARGUMENT = 2
FW_CONTROL_FAILURE = 18
CORE_CLOCK_HZ = 400_000_000
TEMPERATURE_SAMPLES = 100

NotificationCallback = Callable[[int, object, object], None]


class DeviceArchitectureTypes(IntEnum):
    """Chips, as their firmware names them."""

    HAILO8_A0 = 0
    HAILO8 = 1
    HAILO8L = 2
    HAILO15H = 3
    HAILO15L = 4
    HAILO15M = 5
    HAILO10H = 6


class BoardInformation:
    """Who the chip is."""

    def __init__(  # noqa: PLR0917 - HailoRT's signature
        self,
        protocol_version: int,
        fw_version_major: int,
        fw_version_minor: int,
        fw_version_revision: int,
        logger_version: int,
        board_name: str,
        is_release: bool,
        extended_context_switch_buffer: bool,
        device_architecture: DeviceArchitectureTypes,
        serial_number: str,
        part_number: str,
        product_name: str,
    ) -> None:
        self.protocol_version = protocol_version
        self.firmware_version = FirmwareVersion(fw_version_major, fw_version_minor, fw_version_revision)
        self.logger_version = logger_version
        self.board_name = board_name
        self.is_release = is_release
        self.extended_context_switch_buffer = extended_context_switch_buffer
        self.device_architecture = device_architecture
        self.serial_number = serial_number
        self.part_number = part_number
        self.product_name = product_name

    def _string_field_str(self, string_field: str) -> str:
        # Empty fields read as one NUL, as an unconfigured board's do.
        return string_field.rstrip("\x00") or "<N/A>"

    def __repr__(self) -> str:
        version = self.firmware_version
        return (
            f"Control Protocol Version: {self.protocol_version}\n"
            f"Firmware Version: {version.major}.{version.minor}.{version.revision} (release,app)\n"
            f"Logger Version: {self.logger_version}\n"
            f"Board Name: {self._string_field_str(self.board_name)}\n"
            f"Device Architecture: {self.get_hw_arch_str(self.device_architecture)}\n"
            f"Serial Number: {self._string_field_str(self.serial_number)}\n"
            f"Part Number: {self._string_field_str(self.part_number)}\n"
            f"Product Name: {self._string_field_str(self.product_name)}\n"
        )

    @staticmethod
    def get_hw_arch_str(device_arch: DeviceArchitectureTypes) -> str:
        return device_arch.name


class ExtendedDeviceInformation:
    """Clock, identity and boot source of the chip."""

    def __init__(  # noqa: PLR0917 - HailoRT's signature
        self,
        neural_network_core_clock_rate: int,
        supported_features: object,
        boot_source: object,
        lcs: int,
        soc_id: bytes,
        eth_mac_address: bytes,
        unit_level_tracking_id: bytes,
        soc_pm_values: bytes,
        gpio_mask: int,
    ) -> None:
        self.neural_network_core_clock_rate = neural_network_core_clock_rate
        self.supported_features = supported_features
        self.boot_source = boot_source
        self.lcs = lcs
        self.soc_id = soc_id
        self.eth_mac_address = eth_mac_address
        self.unit_level_tracking_id = unit_level_tracking_id
        self.soc_pm_values = soc_pm_values
        self.gpio_mask = gpio_mask

    def __repr__(self) -> str:
        return (
            f"Neural Network Core Clock Rate: {self.neural_network_core_clock_rate // 1_000_000}MHz\n"
            f"LCS: {self.lcs}\nSoC ID: {self.soc_id.hex()}\n"
        )


_BOARDS = {
    "hailo8": (DeviceArchitectureTypes.HAILO8, "HM218B1C2FAE", "HAILO-8 AI ACC M.2 M KEY MODULE EXT TEMP"),
    "hailo8l": (DeviceArchitectureTypes.HAILO8L, "HM21LB1C2LAE", "HAILO-8L AI ACC M.2 B+M KEY MODULE EXT TMP"),
}


class NativeDevice:
    """An opened chip; every question fails once it is off the bus."""

    def __init__(self, simulation: Simulation, device_id: str) -> None:
        if device_id not in scan(simulation):
            raise HailoRTStatusException(INVALID_ARGUMENT)
        self.device_id = device_id
        self.notifications: dict[int, tuple[NotificationCallback, object]] = {}
        self._simulation = simulation

    def identify(self) -> BoardInformation:
        self._simulation.check_bus()
        options = self._simulation.options
        architecture, part, product = _BOARDS[options.arch]
        # An 8L, too, calls its board a Hailo-8.
        return BoardInformation(2, 4, 23, 0, 0, "Hailo-8", True, False, architecture, options.serial, part, product)

    def extended_information(self) -> ExtendedDeviceInformation:
        self._simulation.check_bus()
        serial = self._simulation.options.serial.encode()
        return ExtendedDeviceInformation(
            CORE_CLOCK_HZ, None, None, 2, serial.ljust(32, b"\0")[:32], bytes(6), serial[:12], bytes(24), 0
        )

    def temperature(self) -> TemperatureInfo:
        self._simulation.check_bus()
        celsius = self._simulation.options.temperature_c
        return TemperatureInfo(celsius, celsius - 0.5, TEMPERATURE_SAMPLES)

    def power(self) -> float:
        self._simulation.check_bus()
        if self._simulation.options.power_w is None:
            raise HailoRTStatusException(FW_CONTROL_FAILURE)
        return self._simulation.options.power_w


def scan(simulation: Simulation) -> list[str]:
    """The ids of the chips on the bus."""
    return [] if simulation.vanished else [simulation.options.device_id]


class Control:
    """Questions to the firmware. All of them hold the GIL."""

    WORD_SIZE = 4

    def __init__(self, device: NativeDevice | None) -> None:
        self.__device = device

    @property
    def _device(self) -> NativeDevice:
        if self.__device is None:
            raise HailoRTInvalidOperationException(
                "The device in use has been released. This can happen if 'device.release()' has been called, or "
                "one-liner usage of control 'Device().control.XX()'"
            )
        return self.__device

    @property
    def device_id(self) -> str:
        return self._device.device_id

    def open(self) -> None:
        """Nothing: the control is open as long as its device is."""

    def close(self) -> None:
        """Nothing, as in HailoRT."""

    def identify(self) -> BoardInformation:
        with ExceptionWrapper():
            return self._device.identify()

    def get_extended_device_information(self) -> ExtendedDeviceInformation:
        with ExceptionWrapper():
            return self._device.extended_information()

    def get_chip_temperature(self) -> TemperatureInfo:
        with ExceptionWrapper():
            return self._device.temperature()

    def power_measurement(
        self,
        dvm: NativeEnum = DvmTypes.AUTO,
        measurement_type: NativeEnum = PowerMeasurementTypes.AUTO,
    ) -> float:
        """Watts; the AI HAT has no sensor and fails with FW_CONTROL_FAILURE."""
        with ExceptionWrapper():
            return self._device.power()

    def set_notification_callback(
        self, callback_func: NotificationCallback, notification_id: NativeEnum, opaque: object
    ) -> None:
        self._device.notifications[int(notification_id)] = (callback_func, opaque)

    def remove_notification_callback(self, notification_id: NativeEnum) -> None:
        self._device.notifications.pop(int(notification_id), None)

    def release_device(self) -> None:
        """From now on every question is refused."""
        self.__device = None


class Device:
    """A chip by its id, the first one by default. Failures to open a given id leak as native exceptions."""

    def __init__(self, device_id: str | None = None) -> None:
        simulation = current()
        if device_id is None:
            found = scan(simulation)
            if not found:
                raise HailoRTException("HailoRT device not found in the system")
            device_id = found[0]
        self._device_id = device_id
        self._control = Control(NativeDevice(simulation, device_id))
        self._control.identify()

    @classmethod
    def scan(cls) -> list[str]:
        return scan(current())

    @property
    def device_id(self) -> str:
        return self._device_id

    @property
    def control(self) -> Control:
        return self._control

    @property
    def loaded_network_groups(self) -> list[object]:
        return []

    def release(self) -> None:
        self._control.release_device()

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *args: object) -> Literal[False]:
        self.release()
        return False

    def __repr__(self) -> str:
        return f"Device({self._device_id!r})"
