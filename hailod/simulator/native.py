"""The values of `hailo_platform.pyhailort._pyhailort`: enums as pybind11 makes them, statuses, formats and infos."""

from __future__ import annotations

import json
import types
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Any

from hailod.types import NmsShape as NmsLimits
from hailod.types import TensorInfo, TensorOrder

VERSION = "4.23.0"
_CONTRACT = json.loads(resources.files(__package__).joinpath("data/contract.json").read_text("ascii"))

STATUSES: dict[int, tuple[str, str | None, str | None]] = {
    int(number): (name, exception, message) for number, (name, exception, message) in _CONTRACT["statuses"].items()
}
"""Status number to its name, the exception that stands for it and that exception's text."""


class HailoRTException(Exception):
    """The native exception; the one of the same name that users see is another class in 4.x."""


class HailoRTCustomException(Exception):
    """What native getters raise for questions that have no answer."""


class HailoRTStatusException(Exception):
    """A status that libhailort returned; `str()` is its number."""

    def __init__(self, status: int) -> None:
        super().__init__(str(status))


class _EnumType(type):
    if TYPE_CHECKING:

        def __getattr__(cls, name: str) -> NativeEnum: ...


class NativeEnum(metaclass=_EnumType):
    """A pybind11 enum: equal only within its own family, no arithmetic, and it can be subclassed."""

    __members__: dict[str, NativeEnum] = {}  # noqa: RUF012 - as pybind11 names it; replaced in each enum

    def __init__(self, value: int) -> None:
        self.value = value

    @property
    def name(self) -> str:
        return next((name for name, member in self.__members__.items() if member.value == self.value), "???")

    def __int__(self) -> int:
        return self.value

    __index__ = __int__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NativeEnum) and self.__members__ is other.__members__ and self.value == other.value

    def __hash__(self) -> int:
        return self.value

    def __repr__(self) -> str:
        return f"<{type(self).__name__}.{self.name}: {self.value}>"

    def __str__(self) -> str:
        return f"{type(self).__name__}.{self.name}"


def _enum(name: str, members: dict[str, int]) -> type[NativeEnum]:
    made: type[NativeEnum] = types.new_class(name, (NativeEnum,))
    made.__members__ = {member: made(value) for member, value in members.items()}
    for member, instance in made.__members__.items():
        setattr(made, member, instance)
    return made


ENUMS: dict[str, type[NativeEnum]] = {name: _enum(name, members) for name, members in _CONTRACT["enums"].items()}
CpuId = ENUMS["CpuId"]
DvmTypes = ENUMS["DvmTypes"]
FormatFlags = ENUMS["FormatFlags"]
FormatOrder = ENUMS["FormatOrder"]
FormatType = ENUMS["FormatType"]
NotificationId = ENUMS["NotificationId"]
PowerMeasurementTypes = ENUMS["PowerMeasurementTypes"]
PowerMode = ENUMS["PowerMode"]
SchedulingAlgorithm = ENUMS["SchedulingAlgorithm"]
StreamDirection = ENUMS["StreamDirection"]
StreamInterface = ENUMS["StreamInterface"]

NMS_ORDERS = (TensorOrder.NMS_BY_CLASS, TensorOrder.NMS_BY_SCORE, TensorOrder.NMS_WITH_BYTE_MASK)


def format_order(order: TensorOrder) -> NativeEnum:
    """HailoRT's enum of an order; hailod's own are named after it."""
    return FormatOrder.__members__[order.value]


def format_type(dtype: str) -> NativeEnum:
    """HailoRT's enum of a NumPy dtype."""
    return FormatType.__members__[dtype.upper()]


@dataclass(slots=True)
class HailoFormat:
    """`.type`, `.order` and `.flags` of a tensor."""

    type: NativeEnum
    order: NativeEnum
    flags: NativeEnum = FormatFlags.NONE

    def equals(self, other: HailoFormat) -> bool:
        return self == other


@dataclass(slots=True)
class QuantInfo:
    """real = (q - qp_zp) * qp_scale."""

    qp_zp: float = 0.0
    qp_scale: float = 1.0
    limvals_min: float = 0.0
    limvals_max: float = 0.0


@dataclass(frozen=True, slots=True)
class NmsShape:
    """Limits of an NMS output."""

    number_of_classes: int
    max_bboxes_per_class: int
    max_accumulated_mask_size: int = 0


@dataclass(frozen=True, slots=True)
class NetworkGroupInfo:
    """Name of a network group and whether it takes several contexts, which batching then pays for."""

    name: str
    is_multi_context: bool


@dataclass(frozen=True, slots=True)
class TemperatureInfo:
    """Chip temperatures in degrees Celsius."""

    ts0_temperature: float
    ts1_temperature: float
    sample_count: int

    def equals(self, other: TemperatureInfo) -> bool:
        return self == other


@dataclass(frozen=True, slots=True)
class FirmwareVersion:
    """Version of the chip's firmware."""

    major: int
    minor: int
    revision: int


class VStreamInfo:
    """One input or output of a HEF as its host side sees it."""

    def __init__(self, tensor: TensorInfo, network_name: str, direction: NativeEnum) -> None:
        self._tensor = tensor
        self.name = tensor.name
        self.network_name = network_name
        self.direction = direction
        self.format = HailoFormat(format_type(tensor.dtype), format_order(tensor.order))
        self.quant_info = quant_info(tensor)

    @property
    def nms_shape(self) -> NmsShape:
        return NmsShape(self._nms.classes, self._nms.max_per_class)

    @property
    def shape(self) -> tuple[int, ...]:
        if self._tensor.order is TensorOrder.NMS_BY_CLASS:
            return (self._nms.classes, 5, self._nms.max_per_class)
        if self._tensor.order in NMS_ORDERS:
            raise HailoRTCustomException("Format order has no shape")
        return self._tensor.shape

    @property
    def _nms(self) -> NmsLimits:
        if self._tensor.nms is None:
            raise HailoRTCustomException("Format order is not NMS")
        return self._tensor.nms

    def __repr__(self) -> str:
        return f"VStreamInfo({self.name!r})"


@dataclass(slots=True)
class _Params:
    device_ids: list[str] = field(default_factory=list)
    device_count: int = 1
    scheduling_algorithm: NativeEnum = SchedulingAlgorithm.NONE
    group_id: str = "UNIQUE"
    multi_process_service: bool = False


class VDeviceParams:
    """Parameters of a VDevice. In 4.x the scheduler is off unless it is asked for."""

    def __init__(self) -> None:
        self._params = _Params()

    @staticmethod
    def default() -> VDeviceParams:
        return VDeviceParams()

    @property
    def device_ids(self) -> list[str]:
        return list(self._params.device_ids)

    @device_ids.setter
    def device_ids(self, ids: list[str]) -> None:
        self._params.device_ids = list(ids)
        self._params.device_count = len(self._params.device_ids)

    @property
    def device_count(self) -> int:
        return self._params.device_count

    @device_count.setter
    def device_count(self, count: int) -> None:
        self._params.device_count = count

    @property
    def scheduling_algorithm(self) -> int:
        """Reads as a number, takes only the enum."""
        return int(self._params.scheduling_algorithm)

    @scheduling_algorithm.setter
    def scheduling_algorithm(self, algorithm: Any) -> None:
        if not isinstance(algorithm, SchedulingAlgorithm):
            raise TypeError(f"(): incompatible function arguments. Invoked with: {self!r}, {algorithm!r}")
        self._params.scheduling_algorithm = algorithm

    @property
    def group_id(self) -> str:
        return self._params.group_id

    @group_id.setter
    def group_id(self, group: str) -> None:
        self._params.group_id = group

    @property
    def multi_process_service(self) -> bool:
        return self._params.multi_process_service

    @multi_process_service.setter
    def multi_process_service(self, on: bool) -> None:
        self._params.multi_process_service = on


def quant_info(tensor: TensorInfo) -> QuantInfo:
    """The tensor's one quantisation as HailoRT reports it, with the range it spans."""
    scale, zero = tensor.scale[0], tensor.zero_point[0]
    if tensor.nms is not None:
        return QuantInfo(zero, scale)
    top = 65535 if tensor.dtype == "uint16" else 255
    return QuantInfo(zero, scale, (0.0 - zero) * scale, (top - zero) * scale)


def get_status_message(status: int) -> str:
    """The name of a status."""
    return STATUSES[status][0] if status in STATUSES else ""
