"""What `Control` tells of a chip, as pyhailort's classes that print themselves."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from enum import Enum, IntEnum
from typing import Any, Self

from hailod.simulator.native import NativeEnum
from hailod.simulator.pyhailort.errors import HailoRTException

NOT_CONFIGURED = "<N/A>"
MEGA = 1_000_000.0


def _lines(*pairs: tuple[str, object]) -> str:
    return "\n".join(f"{label}: {value}" for label, value in pairs)


class DeviceArchitectureTypes(IntEnum):
    """Chips, as their firmware names them."""

    HAILO8_A0 = 0
    HAILO8 = 1
    HAILO8L = 2
    HAILO15H = 3
    HAILO15L = 4
    HAILO15M = 5
    HAILO10H = 6

    def __str__(self) -> str:
        return self.name


_FAMILIES = {
    DeviceArchitectureTypes.HAILO8: "hailo8",
    DeviceArchitectureTypes.HAILO8L: "hailo8",
    DeviceArchitectureTypes.HAILO15H: "hailo15",
    DeviceArchitectureTypes.HAILO15M: "hailo15",
    DeviceArchitectureTypes.HAILO10H: "hailo10",
}


class HailoFirmwareMode(Enum):
    """Whether a firmware is a release."""

    DEVELOP = "develop"
    RELEASE = "release"


class HailoFirmwareType(Enum):
    """Which CPU a firmware is for."""

    CORE = "core"
    APP = "app"


class HailoFirmwareVersion:
    """Version of a firmware. Flags in the revision are cut off."""

    DEV_BIT = 0x80000000
    EXTENDED_CONTEXT_SWITCH_BUFFER_BIT = 0x40000000
    CORE_BIT = 0x08000000
    FW_VERSION_FORMAT = "<III"

    def __init__(
        self,
        firmware_version_buffer: bytes,
        is_release: bool,
        extended_context_switch_buffer: bool,
        fw_type: HailoFirmwareType,
    ) -> None:
        self.major, self.minor, revision = struct.unpack(self.FW_VERSION_FORMAT, firmware_version_buffer)
        self.revision = revision & ~(self.CORE_BIT | self.EXTENDED_CONTEXT_SWITCH_BUFFER_BIT | self.DEV_BIT)
        self.fw_type = fw_type
        self.mode = HailoFirmwareMode.RELEASE if is_release else HailoFirmwareMode.DEVELOP
        self.extended_context_switch_buffer = extended_context_switch_buffer

    @classmethod
    def construct_from_params(  # noqa: PLR0917 - HailoRT's signature
        cls,
        major: int,
        minor: int,
        revision: int,
        is_release: bool,
        extended_context_switch_buffer: bool,
        fw_type: HailoFirmwareType,
    ) -> Self:
        packed = struct.pack(cls.FW_VERSION_FORMAT, major, minor, revision)
        return cls(packed, is_release, extended_context_switch_buffer, fw_type)

    def __str__(self) -> str:
        kind = [self.mode.value, self.fw_type.value]
        if self.extended_context_switch_buffer:
            kind.append("extended context switch buffer")
        return f"{self.major}.{self.minor}.{self.revision} ({','.join(kind)})"

    @property
    def comparable_value(self) -> int:
        return int((self.major << 64) + (self.minor << 32) + self.revision)

    def __hash__(self) -> int:
        return self.comparable_value

    def __eq__(self, other: object) -> bool:
        # Anything without one is an AttributeError, as in HailoRT.
        return bool(self.comparable_value == other.comparable_value)  # type: ignore[attr-defined]

    def __lt__(self, other: Self) -> bool:
        return self.comparable_value < other.comparable_value

    def check_protocol_compatibility(self, other: Self) -> bool:
        return (self.major, self.minor) == (other.major, other.minor)


class BoardInformation:
    """Who the chip is. `extended_context_switch_buffer` shows in the firmware version only."""

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
        device_architecture: int,
        serial_number: str,
        part_number: str,
        product_name: str,
    ) -> None:
        self.protocol_version = protocol_version
        self.firmware_version = HailoFirmwareVersion.construct_from_params(
            fw_version_major,
            fw_version_minor,
            fw_version_revision,
            is_release,
            extended_context_switch_buffer,
            HailoFirmwareType.APP,
        )
        self.logger_version = logger_version
        self.board_name = board_name
        self.is_release = is_release
        self.device_architecture = DeviceArchitectureTypes(device_architecture)
        self.serial_number = serial_number
        self.part_number = part_number
        self.product_name = product_name

    def _string_field_str(self, string_field: str) -> str:
        # Fields that were never written read as NULs.
        return string_field.rstrip("\x00") or NOT_CONFIGURED

    def __str__(self) -> str:
        text = _lines(
            ("Control Protocol Version", self.protocol_version),
            ("Firmware Version", self.firmware_version),
            ("Logger Version", self.logger_version),
            ("Board Name", self.board_name.rstrip("\x00")),
            ("Device Architecture", self.device_architecture),
            ("Serial Number", self._string_field_str(self.serial_number)),
            ("Part Number", self._string_field_str(self.part_number)),
            ("Product Name", self._string_field_str(self.product_name)),
        )
        return f"{text}\n"

    def __repr__(self) -> str:
        return str(self)

    @staticmethod
    def get_hw_arch_str(device_arch: DeviceArchitectureTypes) -> str:
        """The family of a chip: hailo8, hailo10 or hailo15. HailoRTException for the others."""
        if device_arch not in _FAMILIES:
            raise HailoRTException("Unsupported device architecture.")
        return _FAMILIES[device_arch]


class CoreInformation:
    """The firmware of the second CPU."""

    def __init__(
        self,
        fw_version_major: int,
        fw_version_minor: int,
        fw_version_revision: int,
        is_release: bool,
        extended_context_switch_buffer: bool,
    ) -> None:
        self.firmware_version = HailoFirmwareVersion.construct_from_params(
            fw_version_major,
            fw_version_minor,
            fw_version_revision,
            is_release,
            extended_context_switch_buffer,
            HailoFirmwareType.CORE,
        )
        self.is_release = is_release

    def __str__(self) -> str:
        return f"Core Firmware Version: {self.firmware_version}"

    def __repr__(self) -> str:
        return str(self)


class TemperatureThrottlingLevel:
    """One step of the clock."""

    def __init__(
        self,
        level_number: int,
        temperature_threshold: float,
        hysteresis_temperature_threshold: float,
        throttling_nn_clock_freq: int,
    ) -> None:
        self.level_number = level_number
        self.temperature_threshold = temperature_threshold
        self.hysteresis_temperature_threshold = hysteresis_temperature_threshold
        self.throttling_nn_clock_freq = throttling_nn_clock_freq

    def __str__(self) -> str:
        values = _lines(
            ("Temperature Threshold", self.temperature_threshold),
            ("Hysteresis Temperature Threshold", self.hysteresis_temperature_threshold),
            ("Throttling NN Clock Frequency", self.throttling_nn_clock_freq),
        )
        return f"Temperature Throttling Level {self.level_number}: \n{values}\n"

    def __repr__(self) -> str:
        return str(self)


class HealthInformation:
    """State of the protections. Of the throttling levels those with a new clock are kept, none when it is off."""

    def __init__(  # noqa: PLR0917 - HailoRT's signature
        self,
        overcurrent_protection_active: bool,
        current_overcurrent_zone: object,
        red_overcurrent_threshold: float,
        overcurrent_throttling_active: bool,
        temperature_throttling_active: bool,
        current_temperature_zone: object,
        current_temperature_throttling_level: int,
        temperature_throttling_levels: Iterable[Any],
        orange_temperature_threshold: float,
        orange_hysteresis_temperature_threshold: float,
        red_temperature_threshold: float,
        red_hysteresis_temperature_threshold: float,
        requested_overcurrent_clock_freq: int,
        requested_temperature_clock_freq: int,
    ) -> None:
        self.overcurrent_protection_active = overcurrent_protection_active
        self.current_overcurrent_zone = current_overcurrent_zone
        self.red_overcurrent_threshold = red_overcurrent_threshold
        self.overcurrent_throttling_active = overcurrent_throttling_active
        self.temperature_throttling_active = temperature_throttling_active
        self.current_temperature_zone = current_temperature_zone
        self.current_temperature_throttling_level = current_temperature_throttling_level
        self.orange_temperature_threshold = orange_temperature_threshold
        self.orange_hysteresis_temperature_threshold = orange_hysteresis_temperature_threshold
        self.red_temperature_threshold = red_temperature_threshold
        self.red_hysteresis_temperature_threshold = red_hysteresis_temperature_threshold
        self.requested_overcurrent_clock_freq = requested_overcurrent_clock_freq
        self.requested_temperature_clock_freq = requested_temperature_clock_freq
        by_clock: dict[int, TemperatureThrottlingLevel] = {}
        if temperature_throttling_active:
            for number, level in enumerate(temperature_throttling_levels):
                by_clock.setdefault(
                    level.throttling_nn_clock_freq,
                    TemperatureThrottlingLevel(
                        number,
                        level.temperature_threshold,
                        level.hysteresis_temperature_threshold,
                        level.throttling_nn_clock_freq,
                    ),
                )
        self.temperature_throttling_levels = list(by_clock.values())

    def __str__(self) -> str:
        levels = "\n".join(f"\n\n{level}\n" for level in self.temperature_throttling_levels)
        return _lines(
            ("Overcurrent Protection Active", self.overcurrent_protection_active),
            ("Overcurrent Protection Current Overcurrent Zone", self.current_overcurrent_zone),
            ("Overcurrent Protection Red Threshold", self.red_overcurrent_threshold),
            ("Overcurrent Protection Throttling State", self.overcurrent_throttling_active),
            ("Temperature Protection Red Threshold", self.red_temperature_threshold),
            ("Temperature Protection Red Hysteresis Threshold", self.red_hysteresis_temperature_threshold),
            ("Temperature Protection Orange Threshold", self.orange_temperature_threshold),
            ("Temperature Protection Orange Hysteresis Threshold", self.orange_hysteresis_temperature_threshold),
            ("Temperature Protection Throttling State", self.temperature_throttling_active),
            ("Temperature Protection Current Zone", self.current_temperature_zone),
            ("Temperature Protection Current Throttling Level", self.current_temperature_throttling_level),
            (
                "Temperature Protection Throttling Levels",
                levels if self.temperature_throttling_active else "<Temperature throttling is disabled>",
            ),
        )

    def __repr__(self) -> str:
        return str(self)


class SupportedFeatures:
    """What the module has."""

    def __init__(self, supported_features: Any) -> None:
        self.ethernet = supported_features.ethernet
        self.mipi = supported_features.mipi
        self.pcie = supported_features.pcie
        self.current_monitoring = supported_features.current_monitoring
        self.mdio = supported_features.mdio

    def _feature_str(self, feature_name: str, is_feature_enabled: bool) -> str:
        return f"{feature_name}: {'Enabled' if is_feature_enabled else 'Disabled'}\n"

    def _is_feature_enabled(self, feature: int) -> bool:
        # `supported_features` is never set, in HailoRT either: AttributeError.
        return bool(self.supported_features & feature)  # type: ignore[attr-defined]

    def __str__(self) -> str:
        features = {
            "Ethernet": self.ethernet,
            "MIPI": self.mipi,
            "PCIE": self.pcie,
            "Current Monitoring": self.current_monitoring,
            "MDIO": self.mdio,
        }
        return "Device supported features: \n" + "".join(self._feature_str(*each) for each in features.items())

    def __repr__(self) -> str:
        return str(self)


class ExtendedDeviceInformation:
    """Clock, identity and boot source of the chip."""

    def __init__(  # noqa: PLR0917 - HailoRT's signature
        self,
        neural_network_core_clock_rate: int,
        supported_features: Any,
        boot_source: NativeEnum,
        lcs: int,
        soc_id: bytes,
        eth_mac_address: bytes,
        unit_level_tracking_id: bytes,
        soc_pm_values: bytes,
        gpio_mask: int,
    ) -> None:
        self.neural_network_core_clock_rate = neural_network_core_clock_rate
        self.supported_features = SupportedFeatures(supported_features)
        self.boot_source = boot_source
        self.lcs = lcs
        self.soc_id = soc_id
        self.eth_mac_address = eth_mac_address
        self.unit_level_tracking_id = unit_level_tracking_id
        self.soc_pm_values = soc_pm_values
        self.gpio_mask = gpio_mask

    def __str__(self) -> str:
        text = f"Neural Network Core Clock Rate: {self.neural_network_core_clock_rate / MEGA}MHz\n"
        text += f"{self.supported_features}Boot source: {self.boot_source.name}\nLCS: {self.lcs or NOT_CONFIGURED}"
        optional = {
            "SoC ID": any(self.soc_id) and self.soc_id.hex(),
            "MAC Address": any(self.eth_mac_address) and ":".join(f"{byte:02X}" for byte in self.eth_mac_address),
            "ULT ID": any(self.unit_level_tracking_id) and self.unit_level_tracking_id.hex(),
            "PM Values": any(self.soc_pm_values) and self.soc_pm_values.hex(),
            "GPIO Mask": self.gpio_mask and f"{self.gpio_mask:04x}",
        }
        return text + "".join(f"\n{label}: {value}" for label, value in optional.items() if value)

    def __repr__(self) -> str:
        return str(self)
