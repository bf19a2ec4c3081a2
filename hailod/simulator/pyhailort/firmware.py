"""What the firmware answers: the structures of `_pyhailort` behind `Control`."""

from __future__ import annotations

from dataclasses import dataclass

from hailod.simulator.native import NativeEnum


@dataclass(frozen=True, slots=True)
class FirmwareVersion:
    """Version of the chip's firmware."""

    major: int
    minor: int
    revision: int


@dataclass(frozen=True)
class BoardInformation:
    """Who the chip is. Strings come with the length that the firmware states."""

    protocol_version: int
    fw_version: FirmwareVersion
    logger_version: int
    board_name: str
    is_release: bool
    extended_context_switch_buffer: bool
    device_architecture: NativeEnum
    serial_number: str
    part_number: str
    product_name: str

    @property
    def board_name_length(self) -> int:
        return len(self.board_name)

    @property
    def serial_number_length(self) -> int:
        return len(self.serial_number)

    @property
    def part_number_length(self) -> int:
        return len(self.part_number)

    @property
    def product_name_length(self) -> int:
        return len(self.product_name)


@dataclass(frozen=True, slots=True)
class CoreInformation:
    """The firmware of the second CPU."""

    is_release: bool
    extended_context_switch_buffer: bool
    fw_version: FirmwareVersion


@dataclass(frozen=True, slots=True)
class SupportedFeatures:
    """What the module has."""

    ethernet: bool = False
    mipi: bool = False
    pcie: bool = True
    current_monitoring: bool = False
    mdio: bool = False


@dataclass(frozen=True, slots=True)
class ExtendedDeviceInformation:
    """Clock (Hz), features, where the firmware came from, life cycle state, and identities as bytes."""

    neural_network_core_clock_rate: int
    supported_features: SupportedFeatures
    boot_source: NativeEnum
    lcs: int
    soc_id: bytes
    eth_mac_address: bytes
    unit_level_tracking_id: bytes
    soc_pm_values: bytes
    gpio_mask: int


@dataclass(frozen=True, slots=True)
class TemperatureInfo:
    """Chip temperatures in degrees Celsius, and a running 16-bit count of samples."""

    ts0_temperature: float
    ts1_temperature: float
    sample_count: int

    def equals(self, other: TemperatureInfo) -> bool:
        return self == other


@dataclass(frozen=True, slots=True)
class ThrottlingLevel:
    """From which temperature (degrees Celsius) the clock is lowered to what (Hz)."""

    temperature_threshold: float
    hysteresis_temperature_threshold: float
    throttling_nn_clock_freq: int


@dataclass(frozen=True, slots=True)
class HealthInformation:
    """State of the protections against heat and overcurrent. Level -1: not throttled."""

    overcurrent_protection_active: bool
    current_overcurrent_zone: NativeEnum
    red_overcurrent_threshold: float
    overcurrent_throttling_active: bool
    temperature_throttling_active: bool
    current_temperature_zone: NativeEnum
    current_temperature_throttling_level: int
    temperature_throttling_levels: list[ThrottlingLevel]
    orange_temperature_threshold: int
    orange_hysteresis_temperature_threshold: int
    red_temperature_threshold: int
    red_hysteresis_temperature_threshold: int
    requested_overcurrent_clock_freq: int
    requested_temperature_clock_freq: int


@dataclass(frozen=True, slots=True)
class PowerMeasurementData:
    """A long measurement: W, mA or mV as asked for, and milliseconds between samples."""

    average_value: float
    average_time_value_milliseconds: float
    min_value: float
    max_value: float
    total_number_of_samples: int

    def equals(self, other: PowerMeasurementData) -> bool:
        return self == other


@dataclass(frozen=True, slots=True)
class FirmwareUserConfigInformation:
    """The user configuration in flash."""

    version: int
    entry_count: int
    total_size: int
