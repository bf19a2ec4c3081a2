"""What a program sets before it configures: the parameter structures of `_pyhailort`, plain values all of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hailod.simulator.native import (
    ENUMS,
    HailoFormat,
    HailoRTStatusException,
    NativeEnum,
    PowerMode,
    SchedulingAlgorithm,
    StreamDirection,
    StreamInterface,
    profile,
)

INVALID_OPERATION = 6
DEFAULT_BATCH_SIZE = 0
"""Automatic."""
VSTREAM_TIMEOUT_MS = 10_000
VSTREAM_QUEUE_SIZE = 2
UNIQUE_GROUP = "UNIQUE"

VStreamStatsFlags = ENUMS["VStreamStatsFlags"]
PipelineElemStatsFlags = ENUMS["PipelineElemStatsFlags"]
TransformMode = ENUMS["TransformMode"]


@dataclass(slots=True)
class _DeviceChoice:
    device_ids: list[str] = field(default_factory=list)
    device_count: int = 1
    scheduling_algorithm: NativeEnum = SchedulingAlgorithm.NONE
    group_id: str = UNIQUE_GROUP
    multi_process_service: bool = False


class VDeviceParams:
    """Parameters of a VDevice. In 4.x the scheduler is off unless it is asked for, in 5.x it is on."""

    def __init__(self) -> None:
        self._choice = _DeviceChoice()

    @staticmethod
    def default() -> VDeviceParams:
        params = VDeviceParams()
        params._choice.scheduling_algorithm = profile().default_scheduling
        return params

    @property
    def device_ids(self) -> list[str]:
        return list(self._choice.device_ids)

    @device_ids.setter
    def device_ids(self, ids: list[str]) -> None:
        self._choice.device_ids = list(ids)
        self._choice.device_count = len(self._choice.device_ids)

    @property
    def device_count(self) -> int:
        return self._choice.device_count

    @device_count.setter
    def device_count(self, count: int) -> None:
        self._choice.device_count = count

    @property
    def scheduling_algorithm(self) -> int:
        """Reads as a number, takes only the enum."""
        return int(self._choice.scheduling_algorithm)

    @scheduling_algorithm.setter
    def scheduling_algorithm(self, algorithm: Any) -> None:
        if not isinstance(algorithm, SchedulingAlgorithm):
            raise TypeError(f"(): incompatible function arguments. Invoked with: {self!r}, {algorithm!r}")
        self._choice.scheduling_algorithm = algorithm

    @property
    def group_id(self) -> str:
        return self._choice.group_id

    @group_id.setter
    def group_id(self, group: str) -> None:
        self._choice.group_id = group

    @property
    def multi_process_service(self) -> bool:
        return self._choice.multi_process_service

    @multi_process_service.setter
    def multi_process_service(self, on: bool) -> None:
        self._choice.multi_process_service = on


@dataclass
class NetworkParameters:
    """Of one network in a group."""

    batch_size: int = DEFAULT_BATCH_SIZE


@dataclass
class PcieInputStreamParams:
    """Nothing to set."""


@dataclass
class PcieOutputStreamParams:
    """Nothing to set."""


@dataclass
class IntegratedInputStreamParams:
    """Nothing to set."""


@dataclass
class IntegratedOutputStreamParams:
    """Nothing to set."""


class _Variant:
    """A member of a C union: there for one interface and direction only, else HAILO_INVALID_OPERATION."""

    def __init__(self, interface: str, direction: str) -> None:
        self._kind = (interface, direction)

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = f"_{name}"

    def _check(self, params: StreamParameters) -> None:
        if self._kind != (params.stream_interface.name, params.direction.name):
            raise HailoRTStatusException(INVALID_OPERATION)

    def __get__(self, params: Any, owner: type | None = None) -> Any:
        if params is None:
            return self
        self._check(params)
        return params.__dict__[self._name]

    def __set__(self, params: Any, value: object) -> None:
        self._check(params)
        params.__dict__[self._name] = value


class StreamParameters:
    """Of one low-level stream. `direction` is fixed, `stream_interface` may be set."""

    pcie_input_params = _Variant("PCIe", "H2D")
    pcie_output_params = _Variant("PCIe", "D2H")
    integrated_input_params = _Variant("INTEGRATED", "H2D")
    integrated_output_params = _Variant("INTEGRATED", "D2H")
    eth_input_params = _Variant("ETH", "H2D")
    eth_output_params = _Variant("ETH", "D2H")
    mipi_input_params = _Variant("MIPI", "H2D")

    def __init__(self, interface: NativeEnum, direction: NativeEnum) -> None:
        self._interface = interface
        self._direction = direction
        self._pcie_input_params = PcieInputStreamParams()
        self._pcie_output_params = PcieOutputStreamParams()
        self._integrated_input_params = IntegratedInputStreamParams()
        self._integrated_output_params = IntegratedOutputStreamParams()

    @property
    def stream_interface(self) -> NativeEnum:
        return self._interface

    @stream_interface.setter
    def stream_interface(self, interface: NativeEnum) -> None:
        self._interface = interface

    @property
    def direction(self) -> NativeEnum:
        return self._direction


@dataclass
class ConfigureParams:
    """Of one network group; a batch size of the group overrules those of its networks."""

    batch_size: int = DEFAULT_BATCH_SIZE
    power_mode: NativeEnum = PowerMode.PERFORMANCE
    stream_params_by_name: dict[str, StreamParameters] = field(default_factory=dict)
    network_params_by_name: dict[str, NetworkParameters] = field(default_factory=dict)


def stream_parameters(interface: NativeEnum, inputs: list[str], outputs: list[str]) -> dict[str, StreamParameters]:
    """Parameters for the streams of a network group. TypeError when `interface` is no interface."""
    if not isinstance(interface, StreamInterface):
        raise TypeError(f"create_configure_params(): incompatible function arguments. Invoked with: {interface!r}")
    return {name: StreamParameters(interface, StreamDirection.H2D) for name in inputs} | {
        name: StreamParameters(interface, StreamDirection.D2H) for name in outputs
    }


class ActivateNetworkGroupParams:
    """Nothing to set."""

    def __init__(self) -> None:
        self._reserved = 0

    @staticmethod
    def default() -> ActivateNetworkGroupParams:
        return ActivateNetworkGroupParams()


class VStreamParams:
    """How one virtual stream presents itself to the program; AUTO means as the HEF has it."""

    def __init__(self) -> None:
        self.user_buffer_format = HailoFormat()
        self.timeout_ms = VSTREAM_TIMEOUT_MS
        self.queue_size = VSTREAM_QUEUE_SIZE

    @staticmethod
    def make(type_: NativeEnum, timeout_ms: int, queue_size: int) -> VStreamParams:
        params = VStreamParams()
        params.user_buffer_format.type = type_
        params.timeout_ms, params.queue_size = timeout_ms, queue_size
        return params

    @property
    def vstream_stats_flags(self) -> NativeEnum:
        return VStreamStatsFlags.NONE

    @property
    def pipeline_elements_stats_flags(self) -> NativeEnum:
        return PipelineElemStatsFlags.NONE


@dataclass
class TransformParams:
    """Of HailoRT's raw streams, which Python does not reach."""

    transform_mode: NativeEnum = TransformMode.NO_TRANSFORM
    user_buffer_format: HailoFormat = field(default_factory=HailoFormat)
