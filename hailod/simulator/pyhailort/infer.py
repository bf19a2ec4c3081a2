"""`InferModel`: a model before it is configured, and the choices made for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import structlog

from hailod.models.hef.chips import ARCHITECTURES
from hailod.simulator.chip.device import OpenDevice, Simulation, block
from hailod.simulator.native import (
    NMS_ORDERS,
    FormatType,
    HailoFormat,
    HailoRTStatusException,
    NativeEnum,
    PowerMode,
    QuantInfo,
    format_order,
    format_type,
    quant_info,
)
from hailod.simulator.networks.network import HefInfo, Model, NmsSettings, nms_tensor
from hailod.simulator.pyhailort.configured import ConfiguredInferModel
from hailod.simulator.pyhailort.errors import ExceptionWrapper
from hailod.simulator.pyhailort.hef import HEF
from hailod.simulator.pyhailort.session import NativeConfiguredInferModel
from hailod.types import NmsShape, TensorInfo, TensorOrder

log = structlog.get_logger(__name__)

INVALID_ARGUMENT = 2
INVALID_OPERATION = 6
NOT_FOUND = 61
HEF_NOT_COMPATIBLE_WITH_DEVICE = 93
MAX_TRANSFER_BYTES = 32 << 20
MAX_BATCH = 63
"""The largest batch that a device takes, half the transfers that may be under way."""

T = TypeVar("T")


@dataclass(slots=True)
class _Asked:
    """What the setters left behind, valid or not; `configure()` judges."""

    score_threshold: float | None = None
    iou_threshold: float | None = None
    max_per_class: int | None = None
    max_total: int | None = None
    max_mask_bytes: int | None = None

    @property
    def anything(self) -> bool:
        values = (self.score_threshold, self.iou_threshold, self.max_per_class, self.max_total, self.max_mask_bytes)
        return any(value is not None for value in values)


class NativeInferStream:
    """`_pyhailort.InferModelInferStream`: one tensor, and the format that was asked for it."""

    def __init__(self, tensor: TensorInfo, max_total: int, profile: str) -> None:
        self.tensor = tensor
        self.asked = _Asked()
        self._max_total = max_total
        self._profile = profile
        # NMS of the host is of float32 in every order, its bytes notwithstanding.
        self._type = FormatType.FLOAT32 if tensor.nms is not None else format_type(tensor.dtype)
        self._order = format_order(tensor.order)

    def name(self) -> str:
        return self.tensor.name

    def format(self) -> HailoFormat:
        return HailoFormat(self._type, self._order)

    def shape(self) -> list[int]:
        if self.tensor.nms is None:
            return list(self.tensor.shape)
        order = next((order for order in NMS_ORDERS if format_order(order) == self._order), TensorOrder.NMS_BY_CLASS)
        return list(self._nms_tensor(order).shape)

    def is_nms(self) -> bool:
        return self.tensor.nms is not None

    def get_quant_infos(self) -> list[QuantInfo]:
        return [quant_info(self.tensor)]

    def set_format_type(self, type: NativeEnum) -> None:  # noqa: A002 - HailoRT's name
        self._type = _checked("set_format_type", FormatType, type)

    def set_format_order(self, order: NativeEnum) -> None:
        self._order = _checked("set_format_order", _FORMAT_ORDER, order)

    def set_nms_score_threshold(self, threshold: float) -> None:
        self.asked.score_threshold = float(threshold)

    def set_nms_iou_threshold(self, threshold: float) -> None:
        self.asked.iou_threshold = float(threshold)

    def set_nms_max_proposals_per_class(self, max_proposals: int) -> None:
        self.asked.max_per_class = _unsigned("set_nms_max_proposals_per_class", max_proposals)

    def set_nms_max_proposals_total(self, max_proposals: int) -> None:
        self.asked.max_total = _unsigned("set_nms_max_proposals_total", max_proposals)

    def set_nms_max_accumulated_mask_size(self, max_accumulated_mask_size: int) -> None:
        size = _unsigned("set_nms_max_accumulated_mask_size", max_accumulated_mask_size)
        self.asked.max_mask_bytes = size

    @property
    def max_total(self) -> int:
        return self._max_total if self.asked.max_total is None else self.asked.max_total

    def resolved(self) -> TensorInfo:
        """The tensor in the asked-for format. Raises the status of a format that cannot be."""
        tensor = self.tensor
        order, dtype = self._asked_order(), self._type.name.lower()
        allowed = _ORDERS_OF.get(tensor.order, (tensor.order,))
        types = ("float32", "auto") if tensor.nms is not None else (tensor.dtype, "float32", "auto")
        if order is None or order not in allowed or dtype not in types:
            raise HailoRTStatusException(INVALID_ARGUMENT)
        if tensor.nms is not None:
            return self._nms_tensor(order)
        if dtype == "auto":
            dtype = tensor.dtype
        nbytes = math.prod(tensor.shape) * np.dtype(dtype).itemsize
        return replace(tensor, order=order, dtype=dtype, nbytes=nbytes)

    def _asked_order(self) -> TensorOrder | None:
        """None: one that no tensor here has."""
        if self._order.name == "AUTO":
            return self.tensor.order
        return next((order for order in TensorOrder if order.value == self._order.name), None)

    def _nms_tensor(self, order: TensorOrder) -> TensorInfo:
        limits, asked = self.tensor.nms, self.asked
        assert limits is not None
        changed = NmsShape(
            limits.classes,
            limits.max_per_class if asked.max_per_class is None else asked.max_per_class,
            max_mask_bytes=limits.max_mask_bytes if asked.max_mask_bytes is None else asked.max_mask_bytes,
        )
        return nms_tensor(self.tensor.name, order, changed, self.max_total, self._profile)


_FORMAT_ORDER = type(format_order(TensorOrder.NHWC))
_BOXES = (TensorOrder.NMS_BY_CLASS, TensorOrder.NMS_BY_SCORE)
# On the host these differ in name only.
_PIXELS = (TensorOrder.NHWC, TensorOrder.FCR)
_ORDERS_OF = dict.fromkeys(_BOXES, _BOXES) | dict.fromkeys(_PIXELS, _PIXELS)
"""What a tensor may be asked for, by the order it has of itself; others for that alone."""


class NativeInferModel:
    """`_pyhailort.InferModel`: a parsed model on an open device."""

    def __init__(self, simulation: Simulation, device: OpenDevice, model: Model, name: str, scheduled: bool) -> None:
        network = model.group(name)
        assert network is not None
        info, profile = network.info, simulation.options.profile
        self._inputs = [_stream(tensor, info, profile) for tensor in info.inputs]
        self._outputs = [_stream(tensor, info, profile) for tensor in info.outputs]
        self._batch_size = 0
        self._simulation = simulation
        self._device = device
        self._network = network
        self._ambiguous = not name and len(model.networks) > 1
        self._scheduled = scheduled

    def get_input_names(self) -> list[str]:
        return [stream.name() for stream in self._inputs]

    def get_output_names(self) -> list[str]:
        return [stream.name() for stream in self._outputs]

    def inputs(self) -> list[NativeInferStream]:
        return list(self._inputs)

    def outputs(self) -> list[NativeInferStream]:
        return list(self._outputs)

    def input(self, name: str) -> NativeInferStream:
        return _named(self._inputs, name)

    def output(self, name: str) -> NativeInferStream:
        return _named(self._outputs, name)

    def set_batch_size(self, batch_size: int) -> None:
        self._batch_size = _unsigned("set_batch_size", batch_size, 0xFFFF)

    def set_power_mode(self, power_mode: NativeEnum) -> None:
        _checked("set_power_mode", PowerMode, power_mode)

    def configure(self) -> NativeConfiguredInferModel:
        """Load it onto the device, which holds the GIL all the while."""
        simulation, info = self._simulation, self._network.info
        simulation.check_bus()
        simulation.check_configure(info.name)
        check_architecture(simulation, info.arch)
        if self._batch_size > MAX_BATCH:
            log.error("batch too large", batch=self._batch_size, allowed=MAX_BATCH)
            raise HailoRTStatusException(INVALID_ARGUMENT)
        block(simulation.options.configure_s, holding_gil=True)
        if self._ambiguous:
            log.error("HEF of several network groups, and none was named", first=info.name)
            raise HailoRTStatusException(INVALID_ARGUMENT)
        inputs = [stream.resolved() for stream in self._inputs]
        outputs = [stream.resolved() for stream in self._outputs]
        settings = self._nms_settings(info)
        return NativeConfiguredInferModel(
            simulation,
            self._device,
            info,
            self._network.compile(inputs, outputs, settings),
            inputs=inputs,
            outputs=outputs,
            settings=settings,
            batch_size=self._batch_size,
            queue_size=queue_size(simulation, self._batch_size, info.transferred),
            scheduled=self._scheduled,
        )

    def _nms_settings(self, info: HefInfo) -> NmsSettings | None:
        if any(stream.asked.anything for stream in self._inputs):
            raise HailoRTStatusException(INVALID_OPERATION)
        settings = info.nms
        for stream in self._outputs:
            if not stream.asked.anything:
                continue
            if stream.tensor.nms is None or settings is None:
                raise HailoRTStatusException(INVALID_ARGUMENT)
            settings = _applied(stream, settings)
        return settings


def check_architecture(simulation: Simulation, compiled_for: str | None) -> None:
    """Raise HEF_NOT_COMPATIBLE_WITH_DEVICE where the chip does not run it; a smaller chip's model is only slower."""
    chip = simulation.options.arch
    if compiled_for in (None, chip):
        return
    architecture = next((each for each in ARCHITECTURES.values() if each.name == compiled_for), None)
    runs_it = next((each for each in architecture.chips if each.name == chip), None) if architecture else None
    if runs_it is None:
        log.error("HEF is not compatible with the device", hef=compiled_for, device=chip)
        raise HailoRTStatusException(HEF_NOT_COMPATIBLE_WITH_DEVICE)
    if runs_it.reduced:
        log.warning("HEF was compiled for another chip", hef=compiled_for, device=chip, note=runs_it.note)


def queue_size(simulation: Simulation, batch_size: int, transferred: Sequence[TensorInfo]) -> int:
    """How many frames fit into HailoRT's buffers: by size, but at least two batches and at most a fixed number."""
    pair = 2 * max(1, batch_size)
    most = max(pair, 8 if simulation.options.multi_process_build else 32)
    return min((min(max(MAX_TRANSFER_BYTES // tensor.nbytes, pair), most) for tensor in transferred), default=most)


def _applied(stream: NativeInferStream, settings: NmsSettings) -> NmsSettings:
    """The settings with what was asked of an NMS output. Raises INVALID_ARGUMENT for what its order has no use for."""
    asked, order = stream.asked, stream.format().order
    by_class = order == format_order(TensorOrder.NMS_BY_CLASS)
    by_score = order == format_order(TensorOrder.NMS_BY_SCORE)
    masked = stream.tensor.order is TensorOrder.NMS_WITH_BYTE_MASK
    refused = (
        (asked.max_per_class is not None and by_score)
        or (asked.max_total is not None and by_class)
        or (asked.max_mask_bytes is not None and not masked)
    )
    if refused:
        raise HailoRTStatusException(INVALID_ARGUMENT)
    if asked.max_per_class is not None and masked:
        log.warning("max proposals per class is deprecated with byte masks", output=stream.name())
    return replace(
        settings,
        score_threshold=settings.score_threshold if asked.score_threshold is None else asked.score_threshold,
        iou_threshold=settings.iou_threshold if asked.iou_threshold is None else asked.iou_threshold,
        max_per_class=settings.max_per_class if asked.max_per_class is None else asked.max_per_class,
        max_total=stream.max_total,
    )


def _stream(tensor: TensorInfo, info: HefInfo, profile: str) -> NativeInferStream:
    if tensor.nms is None:
        return NativeInferStream(tensor, 0, profile)
    total = info.nms.max_total if info.nms is not None else tensor.nms.classes * tensor.nms.max_per_class
    return NativeInferStream(tensor, total, profile)


def _named(streams: Sequence[NativeInferStream], name: str) -> NativeInferStream:
    if not name:
        if len(streams) != 1:
            raise HailoRTStatusException(INVALID_OPERATION)
        return streams[0]
    for stream in streams:
        if stream.name() == name:
            return stream
    raise HailoRTStatusException(NOT_FOUND)


def _checked(function: str, family: type[T], value: object) -> T:
    if not isinstance(value, family):
        raise TypeError(f"{function}(): incompatible function arguments. Invoked with: {value!r}")
    return value


def _unsigned(function: str, value: int, most: int = 0xFFFFFFFF) -> int:
    if not isinstance(value, int) or not 0 <= value <= most:
        raise TypeError(f"{function}(): incompatible function arguments. Invoked with: {value!r}")
    return value


class InferModel:
    """A model on a VDevice, to be given formats and a batch size and then configured."""

    class InferStream:
        """One input or output; every wrapper of the same name shares one state."""

        def __init__(self, infer_stream: NativeInferStream) -> None:
            self._infer_stream = infer_stream

        @property
        def name(self) -> str:
            return self._infer_stream.name()

        @property
        def shape(self) -> list[int]:
            return self._infer_stream.shape()

        @property
        def format(self) -> HailoFormat:
            return self._infer_stream.format()

        @property
        def quant_infos(self) -> list[QuantInfo]:
            return self._infer_stream.get_quant_infos()

        @property
        def is_nms(self) -> bool:
            return self._infer_stream.is_nms()

        def set_format_type(self, type: NativeEnum) -> None:  # noqa: A002 - HailoRT's name
            self._infer_stream.set_format_type(type)

        def set_format_order(self, order: NativeEnum) -> None:
            self._infer_stream.set_format_order(order)

        def set_nms_score_threshold(self, threshold: float) -> None:
            self._infer_stream.set_nms_score_threshold(threshold)

        def set_nms_iou_threshold(self, threshold: float) -> None:
            self._infer_stream.set_nms_iou_threshold(threshold)

        def set_nms_max_proposals_per_class(self, max_proposals: int) -> None:
            self._infer_stream.set_nms_max_proposals_per_class(max_proposals)

        def set_nms_max_accumulated_mask_size(self, max_accumulated_mask_size: int) -> None:
            self._infer_stream.set_nms_max_accumulated_mask_size(max_accumulated_mask_size)

    def __init__(self, infer_model: NativeInferModel, hef_path: str | bytes) -> None:
        self._infer_model = infer_model
        self._hef_path = hef_path
        self._hef: HEF | None = None

    @property
    def hef(self) -> HEF:
        """Parsed anew, lazily, from the same file, which must still be there."""
        if self._hef is None:
            self._hef = HEF(self._hef_path)
        return self._hef

    @property
    def input_names(self) -> list[str]:
        return self._infer_model.get_input_names()

    @property
    def output_names(self) -> list[str]:
        return self._infer_model.get_output_names()

    @property
    def inputs(self) -> list[InferModel.InferStream]:
        return [self.InferStream(stream) for stream in self._infer_model.inputs()]

    @property
    def outputs(self) -> list[InferModel.InferStream]:
        return [self.InferStream(stream) for stream in self._infer_model.outputs()]

    def input(self, name: str = "") -> InferModel.InferStream:
        with ExceptionWrapper():
            return self.InferStream(self._infer_model.input(name))

    def output(self, name: str = "") -> InferModel.InferStream:
        with ExceptionWrapper():
            return self.InferStream(self._infer_model.output(name))

    def set_batch_size(self, batch_size: int) -> None:
        self._infer_model.set_batch_size(batch_size)

    def set_power_mode(self, power_mode: NativeEnum) -> None:
        self._infer_model.set_power_mode(power_mode)

    def configure(self) -> ConfiguredInferModel:
        with ExceptionWrapper():
            return ConfiguredInferModel(self._infer_model.configure(), self)
