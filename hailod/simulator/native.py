"""The values of `hailo_platform.pyhailort._pyhailort`: enums as pybind11 makes them, statuses, formats and infos."""

from __future__ import annotations

import json
import types
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from hailod.types import NmsShape as NmsLimits
from hailod.types import TensorInfo, TensorOrder

VERSION = "4.23.0"
_CONTRACT = json.loads(resources.files(__package__).joinpath("data/contract.json").read_text("ascii"))

STATUSES: dict[int, tuple[str, str | None, str | None]] = {
    int(number): (name, exception, message) for number, (name, exception, message) in _CONTRACT["statuses"].items()
}
"""Status number to its name, the exception that stands for it and that exception's text."""

STATUSES_5: dict[int, tuple[str, str | None, str | None]] = {
    94: ("HAILO_INVALID_HEF_USE", "HailoRTException", None),
    95: ("HAILO_OPERATION_ABORTED", "HailoRTException", None),
    96: ("HAILO_DEVICE_NOT_CONNECTED", "HailoRTException", None),
    97: ("HAILO_DEVICE_TEMPORARILY_UNAVAILABLE", "HailoRTException", None),
}
"""What HailoRT 5 added."""


class HailoRTException(Exception):
    """The native exception; the one of the same name that users see is another class in 4.x."""

    __slots__ = ()


class HailoRTCustomException(Exception):
    """What native getters raise for questions that have no answer."""

    __slots__ = ()


class HailoRTStatusException(Exception):
    """A status that libhailort returned; `str()` is its number."""

    __slots__ = ()

    def __init__(self, status: int | str) -> None:
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


@dataclass(frozen=True, slots=True)
class Profile:
    """What differs between the major versions of HailoRT."""

    version: str
    default_scheduling: NativeEnum
    ids_disable_scheduler: bool
    """`VDevice(device_ids=...)` drops the params, the scheduler with them."""
    one_exception_tree: bool
    """What the binding raises is a HailoRTException, too."""
    mask_by_offset: bool
    """Byte masks are found by their offset in the buffer and not by an address."""


PROFILES = {
    "4.23": Profile(VERSION, SchedulingAlgorithm.NONE, True, False, False),
    "5.2": Profile("5.2.0", SchedulingAlgorithm.ROUND_ROBIN, False, True, True),
}
_profile = PROFILES["4.23"]


def profile() -> Profile:
    """The version that is simulated."""
    return _profile


def set_profile(name: str) -> None:
    """Simulate another version from now on. KeyError for one that is not known."""
    global _profile  # noqa: PLW0603 - the modules that it changes are as global
    _profile = PROFILES[name]


BBOX_PARAMS = 5
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

    type: NativeEnum = FormatType.AUTO
    order: NativeEnum = FormatOrder.AUTO
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

    number_of_classes: int = 0
    max_bboxes_per_class: int = 0
    max_accumulated_mask_size: int = 0


@dataclass(frozen=True, slots=True)
class NetworkGroupInfo:
    """Name of a network group and whether it takes several contexts, which batching then pays for."""

    name: str
    is_multi_context: bool


@dataclass
class ImageShape:
    """Sides of a tensor."""

    height: int = 0
    width: int = 0
    features: int = 0


@dataclass
class NmsInfo:
    """Limits of an NMS layer as the chip has them."""

    number_of_classes: int = 0
    max_bboxes_per_class: int = 0
    bbox_size: int = 0
    chunks_per_frame: int = 0


class VStreamInfo:
    """One input or output of a HEF as its host side sees it."""

    def __init__(self, tensor: TensorInfo, network_name: str, direction: NativeEnum) -> None:
        self._tensor = tensor
        self._network_name = network_name
        self._direction = direction
        self._format = host_format(tensor)
        self._quant_info = quant_info(tensor)

    @property
    def name(self) -> str:
        return self._tensor.name

    @property
    def network_name(self) -> str:
        return self._network_name

    @property
    def direction(self) -> NativeEnum:
        return self._direction

    @property
    def format(self) -> HailoFormat:
        return self._format

    @property
    def quant_info(self) -> QuantInfo:
        return self._quant_info

    @property
    def nms_shape(self) -> NmsShape:
        nms = self._nms
        return NmsShape(nms.classes, nms.max_per_class, nms.max_mask_bytes)

    @property
    def shape(self) -> tuple[int, ...]:
        if self._tensor.order is TensorOrder.NMS_BY_CLASS:
            return (self._nms.classes, BBOX_PARAMS, self._nms.max_per_class)
        if self._tensor.order in NMS_ORDERS:
            raise HailoRTCustomException("Format order has no shape")
        return self._tensor.shape

    @property
    def _nms(self) -> NmsLimits:
        if self._tensor.nms is None:
            raise HailoRTCustomException("nms_shape is available on NMS vstreams only")
        return self._tensor.nms

    def __repr__(self) -> str:
        return f'VStreamInfo("{self.name}")'


class StreamInfo:
    """One low-level stream of a HEF: what crosses the bus, its shape padded to what the chip transfers."""

    def __init__(
        self,
        tensor: TensorInfo,
        direction: NativeEnum,
        *,
        index: int,
        shape: tuple[int, int, int],
        order: NativeEnum,
    ) -> None:
        self._tensor = tensor
        self._direction = direction
        self._index = index
        self._shape = shape
        self._format = HailoFormat(format_type(tensor.dtype), order, FormatFlags.NONE)

    @property
    def name(self) -> str:
        return self._tensor.name

    @property
    def direction(self) -> NativeEnum:
        return self._direction

    @property
    def format(self) -> HailoFormat:
        return self._format

    @property
    def sys_index(self) -> int:
        return self._index

    @property
    def data_bytes(self) -> int:
        return data_bytes(self._format.type)

    @property
    def quant_info(self) -> QuantInfo:
        return quant_info(self._tensor)

    @property
    def shape(self) -> tuple[int, ...]:
        order = self._format.order
        height, width, features = self._shape
        if order == FormatOrder.NC:
            return (features,)
        if order == FormatOrder.NHW:
            return (height, width)
        if order == FormatOrder.HAILO_NMS_ON_CHIP:
            return (height * width * features * self.data_bytes,)
        return self._shape

    @property
    def nms_shape(self) -> tuple[int, ...]:
        if self._format.order != FormatOrder.HAILO_NMS_ON_CHIP:
            raise HailoRTCustomException("nms_shape is available on NMS streams only")
        return self.shape

    def __repr__(self) -> str:
        return f'StreamInfo("{self.name}")'


def host_format(tensor: TensorInfo) -> HailoFormat:
    """How the host sees a tensor unless it asks for something else: of an NMS floats, in every order."""
    dtype = "float32" if tensor.nms is not None else tensor.dtype
    return HailoFormat(format_type(dtype), format_order(tensor.order))


def data_bytes(type_: NativeEnum) -> int:
    """Bytes of one value; AUTO counts as one."""
    return {"UINT16": 2, "FLOAT32": 4}.get(type_.name, 1)


def quant_info(tensor: TensorInfo) -> QuantInfo:
    """The tensor's one quantisation as HailoRT reports it, with its range; zeros where each feature has its own."""
    if len(tensor.scale) > 1:
        return QuantInfo(0.0, 0.0)
    scale, zero = tensor.scale[0], tensor.zero_point[0]
    if tensor.nms is not None:
        return QuantInfo(zero, scale)
    top = 65535 if tensor.dtype == "uint16" else 255
    return QuantInfo(zero, scale, (0.0 - zero) * scale, (top - zero) * scale)


def get_status_message(status: int) -> str:
    """The name of a status, "" for what is none."""
    known = STATUSES | STATUSES_5 if _profile.one_exception_tree else STATUSES
    return known[status][0] if status in known else ""
