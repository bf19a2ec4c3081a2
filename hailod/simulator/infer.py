"""`InferModel`: a model before it is configured, and the choices made for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hailod.simulator.configured import ConfiguredInferModel, NativeModel
from hailod.simulator.device import OpenDevice, Simulation, block
from hailod.simulator.errors import ExceptionWrapper
from hailod.simulator.hef import HEF
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
from hailod.simulator.network import HefInfo, Network, NmsSettings, nms_tensor
from hailod.types import NmsShape, TensorInfo, TensorOrder

INVALID_ARGUMENT = 2
INVALID_OPERATION = 6
NOT_FOUND = 61
HEF_NOT_COMPATIBLE_WITH_DEVICE = 93
MAX_TRANSFER_BYTES = 32 << 20


@dataclass(slots=True)
class NativeInferStream:
    """What was asked for one tensor, valid or not; `configure()` judges."""

    tensor: TensorInfo
    dtype: str
    order: NativeEnum
    score_threshold: float | None = None
    iou_threshold: float | None = None
    max_per_class: int | None = None
    max_mask_size: int | None = None

    def resolved(self) -> TensorInfo:
        """The tensor in the asked-for format. Raises the status of a format that cannot be."""
        tensor = self.tensor
        order = next((order for order in TensorOrder if format_order(order) == self.order), None)
        if tensor.nms is None:
            if order is not tensor.order or self.dtype not in (tensor.dtype, "float32"):
                raise HailoRTStatusException(INVALID_ARGUMENT)
            size = 4 if self.dtype == "float32" else tensor.nbytes // math.prod(tensor.shape)
            return replace(tensor, dtype=self.dtype, nbytes=math.prod(tensor.shape) * size)
        if order not in (TensorOrder.NMS_BY_CLASS, TensorOrder.NMS_BY_SCORE):
            raise HailoRTStatusException(INVALID_ARGUMENT)
        limits = NmsShape(tensor.nms.classes, self.max_per_class or tensor.nms.max_per_class)
        return nms_tensor(tensor.name, order, limits)

    def shape(self) -> list[int]:
        if self.tensor.nms is None:
            return list(self.tensor.shape)
        order = TensorOrder.NMS_BY_SCORE if self.order in _BY_BYTES else TensorOrder.NMS_BY_CLASS
        limits = NmsShape(self.tensor.nms.classes, self.max_per_class or self.tensor.nms.max_per_class)
        return list(nms_tensor(self.tensor.name, order, limits).shape)

    @property
    def touches_nms(self) -> bool:
        asked = (self.score_threshold, self.iou_threshold, self.max_per_class, self.max_mask_size)
        return any(value is not None for value in asked)


_BY_BYTES = (format_order(TensorOrder.NMS_BY_SCORE), format_order(TensorOrder.NMS_WITH_BYTE_MASK))


class NativeInferModel:
    """A parsed model on an open device."""

    def __init__(self, simulation: Simulation, device: OpenDevice, network: Network, scheduled: bool) -> None:
        self.inputs = [_asked(tensor) for tensor in network.info.inputs]
        self.outputs = [_asked(tensor) for tensor in network.info.outputs]
        self.batch_size = 0
        self._simulation = simulation
        self._device = device
        self._network = network
        self._scheduled = scheduled

    def configure(self) -> NativeModel:
        """Load it onto the device, which holds the GIL all the while."""
        simulation, info = self._simulation, self._network.info
        simulation.check_bus()
        if info.arch not in (None, simulation.options.arch, "hailo8l"):
            raise HailoRTStatusException(HEF_NOT_COMPATIBLE_WITH_DEVICE)
        settings = self._nms_settings(info)
        inputs = [stream.resolved() for stream in self.inputs]
        outputs = [stream.resolved() for stream in self.outputs]
        queue_size = self._queue_size([*inputs, *(output for output in outputs if output.nms is None)])
        if self.batch_size > queue_size:
            raise HailoRTStatusException(INVALID_OPERATION)
        block(simulation.options.configure_s, holding_gil=True)
        return NativeModel(
            simulation,
            self._device,
            info.timing,
            self._network.compile(inputs, outputs, settings),
            inputs=inputs,
            outputs=outputs,
            batch_size=max(1, self.batch_size),
            queue_size=queue_size,
            scheduled=self._scheduled,
        )

    def _nms_settings(self, info: HefInfo) -> NmsSettings | None:
        if any(stream.touches_nms for stream in self.inputs):
            raise HailoRTStatusException(INVALID_OPERATION)
        for stream in self.outputs:
            if stream.touches_nms and stream.tensor.nms is None:
                raise HailoRTStatusException(INVALID_ARGUMENT)
        if info.nms is None:
            return None
        asked = self.outputs[0]
        if asked.max_per_class is not None and asked.order in _BY_BYTES:
            raise HailoRTStatusException(INVALID_ARGUMENT)
        return NmsSettings(
            info.nms.score_threshold if asked.score_threshold is None else asked.score_threshold,
            info.nms.iou_threshold if asked.iou_threshold is None else asked.iou_threshold,
            asked.max_per_class or info.nms.max_per_class,
        )

    def _queue_size(self, transferred: Sequence[TensorInfo]) -> int:
        """How many frames fit into HailoRT's buffers: by size, but at least two batches and at most a fixed number."""
        pair = 2 * max(1, self.batch_size)
        most = max(pair, 8 if self._simulation.options.multi_process_build else 32)
        return min(min(max(MAX_TRANSFER_BYTES // tensor.nbytes, pair), most) for tensor in transferred)


def _asked(tensor: TensorInfo) -> NativeInferStream:
    return NativeInferStream(tensor, tensor.dtype, format_order(tensor.order))


class InferModel:
    """A model on a VDevice, to be given formats and a batch size and then configured."""

    class InferStream:
        """One input or output; every wrapper of the same name shares one state."""

        def __init__(self, infer_stream: NativeInferStream) -> None:
            self._infer_stream = infer_stream

        @property
        def name(self) -> str:
            return self._infer_stream.tensor.name

        @property
        def shape(self) -> list[int]:
            return self._infer_stream.shape()

        @property
        def format(self) -> HailoFormat:
            return HailoFormat(format_type(self._infer_stream.dtype), self._infer_stream.order)

        @property
        def quant_infos(self) -> list[QuantInfo]:
            return [quant_info(self._infer_stream.tensor)]

        @property
        def is_nms(self) -> bool:
            return self._infer_stream.order in [format_order(order) for order in NMS_ORDERS]

        def set_format_type(self, type: NativeEnum) -> None:  # noqa: A002 - HailoRT's name
            automatic = type == FormatType.AUTO
            self._infer_stream.dtype = self._infer_stream.tensor.dtype if automatic else type.name.lower()

        def set_format_order(self, order: NativeEnum) -> None:
            automatic = order.name == "AUTO"
            self._infer_stream.order = format_order(self._infer_stream.tensor.order) if automatic else order
            if order in _BY_BYTES:
                self._infer_stream.dtype = "uint8"

        def set_nms_score_threshold(self, threshold: float) -> None:
            self._infer_stream.score_threshold = float(threshold)

        def set_nms_iou_threshold(self, threshold: float) -> None:
            self._infer_stream.iou_threshold = float(threshold)

        def set_nms_max_proposals_per_class(self, max_proposals: int) -> None:
            self._infer_stream.max_per_class = int(max_proposals)

        def set_nms_max_accumulated_mask_size(self, max_accumulated_mask_size: int) -> None:
            self._infer_stream.max_mask_size = int(max_accumulated_mask_size)

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
        return [stream.tensor.name for stream in self._infer_model.inputs]

    @property
    def output_names(self) -> list[str]:
        return [stream.tensor.name for stream in self._infer_model.outputs]

    @property
    def inputs(self) -> list[InferModel.InferStream]:
        return [self.InferStream(stream) for stream in self._infer_model.inputs]

    @property
    def outputs(self) -> list[InferModel.InferStream]:
        return [self.InferStream(stream) for stream in self._infer_model.outputs]

    def input(self, name: str = "") -> InferModel.InferStream:
        with ExceptionWrapper():
            return self.InferStream(_named(self._infer_model.inputs, name))

    def output(self, name: str = "") -> InferModel.InferStream:
        with ExceptionWrapper():
            return self.InferStream(_named(self._infer_model.outputs, name))

    def set_batch_size(self, batch_size: int) -> None:
        if not 0 <= batch_size <= 0xFFFF:
            raise TypeError(f"set_batch_size(): incompatible function arguments. Invoked with: {batch_size}")
        self._infer_model.batch_size = batch_size

    def set_power_mode(self, power_mode: NativeEnum) -> None:
        if not isinstance(power_mode, PowerMode):
            raise TypeError(f"set_power_mode(): incompatible function arguments. Invoked with: {power_mode!r}")

    def configure(self) -> ConfiguredInferModel:
        with ExceptionWrapper():
            return ConfiguredInferModel(self._infer_model.configure(), self)


def _named(streams: Sequence[NativeInferStream], name: str) -> NativeInferStream:
    if not name:
        if len(streams) != 1:
            raise HailoRTStatusException(INVALID_OPERATION)
        return streams[0]
    for stream in streams:
        if stream.tensor.name == name:
            return stream
    raise HailoRTStatusException(NOT_FOUND)
