"""Which memory the tensors of one frame use: `_pyhailort`'s bindings, and the Python ones that read results from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hailod.simulator import native
from hailod.simulator.native import FormatOrder, HailoRTStatusException, NativeEnum, QuantInfo
from hailod.simulator.pyhailort.errors import ExceptionWrapper, HailoRTException
from hailod.simulator.pyhailort.transform import HailoRTTransformUtils as Utils
from hailod.types import U8, TensorInfo

INVALID_OPERATION = 6
NOT_FOUND = 61

Array = NDArray[Any]
_OF_BYTES = (FormatOrder.HAILO_NMS_WITH_BYTE_MASK, FormatOrder.HAILO_NMS_BY_SCORE)


class NativeBindingsStream:
    """`_pyhailort.ConfiguredInferModelInferStream`: the memory of one tensor. Only its size is checked, and late."""

    __slots__ = ("memory", "tensor")

    def __init__(self, tensor: TensorInfo) -> None:
        self.tensor = tensor
        self.memory: U8 | None = None

    def set_buffer(self, buffer: Array) -> None:
        if not buffer.flags.writeable:
            raise ValueError("array is not writeable")
        self.memory = buffer.reshape(-1).view(np.uint8)

    def checked(self) -> U8:
        """The memory, INVALID_OPERATION when it is of another size, NOT_FOUND without any."""
        if self.memory is None:
            raise HailoRTStatusException(NOT_FOUND)
        if self.memory.size != self.tensor.nbytes:
            raise HailoRTStatusException(INVALID_OPERATION)
        return self.memory


class NativeBindings:
    """`_pyhailort.ConfiguredInferModelBindings`: the memory of one frame."""

    def __init__(self, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo]) -> None:
        self._inputs = {tensor.name: NativeBindingsStream(tensor) for tensor in inputs}
        self._outputs = {tensor.name: NativeBindingsStream(tensor) for tensor in outputs}

    def input(self, name: str) -> NativeBindingsStream:
        return _named(self._inputs, name)

    def output(self, name: str) -> NativeBindingsStream:
        return _named(self._outputs, name)

    def frame(self) -> tuple[list[U8], list[U8]]:
        """Inputs and outputs when every buffer is there in the right size. Raises the status of what is not."""
        inputs = [stream.checked() for stream in self._inputs.values()]
        return inputs, [stream.checked() for stream in self._outputs.values()]

    @property
    def lacks_output(self) -> bool:
        return any(stream.memory is None for stream in self._outputs.values())


def _named(streams: Mapping[str, NativeBindingsStream], name: str) -> NativeBindingsStream:
    if not name:
        if len(streams) != 1:
            raise HailoRTStatusException(INVALID_OPERATION)
        return next(iter(streams.values()))
    if name not in streams:
        raise HailoRTStatusException(NOT_FOUND)
    return streams[name]


@dataclass
class NmsTransformationInfo:
    """How to read an NMS buffer."""

    format_order: NativeEnum
    input_height: int
    input_width: int
    number_of_classes: int
    max_bboxes_per_class: int
    quant_info: QuantInfo
    output_dtype: np.dtype[Any] = np.dtype("float32")  # noqa: RUF009 - immutable


@dataclass
class NmsHailoTransformationInfo(NmsTransformationInfo):
    """In HailoRT's format."""

    use_tf_nms_format: bool = False


@dataclass
class NmsTfTransformationInfo(NmsTransformationInfo):
    """In TensorFlow's format."""

    use_tf_nms_format: bool = True


class BoundStream:
    """The buffer of one tensor."""

    def __init__(self, infer_stream: NativeBindingsStream, nms_info: NmsTransformationInfo | None = None) -> None:
        self._infer_stream = infer_stream
        self._nms_info = nms_info
        self._buffer: Any = None

    @staticmethod
    def _validate_c_contiguous(buffer: Array) -> None:
        if not buffer.flags.c_contiguous:
            raise HailoRTException("Buffer must be C_CONTIGUOUS")

    def set_buffer(self, buffer: Array) -> None:
        """Bind memory: C-contiguous and writable, inputs too; its size is not checked.

        Until 5.2 what NMS gives as bytes must be uint8.
        """
        with ExceptionWrapper():
            self._validate_c_contiguous(buffer)
            order = self._nms_info.format_order if self._nms_info is not None else None
            if order in _OF_BYTES and buffer.dtype != np.uint8 and not native.profile().mask_by_offset:
                raise HailoRTException(f"Buffer must be of type uint8 for {order} format order. Got {buffer.dtype}.")
            self._infer_stream.set_buffer(buffer)
        self._buffer = buffer

    def get_buffer(self, tf_format: bool | None = False) -> Any:
        """The results. NMS by class: per class a float32 view (n, 5) of the bound buffer, or float64 (0, 5).

        With `tf_format` one array (classes, 5, max_per_class), the limit being that of the HEF. NMS by score: a list of
        `Detection`; with byte masks: of `DetectionWithByteMask`, and None with `tf_format`, which is the real one's
        mistake. Anything else, and everything with `tf_format=None`: the bound array itself.
        """
        info = self._nms_info
        if info is None or tf_format is None:
            return self._buffer
        if info.format_order == FormatOrder.HAILO_NMS_BY_SCORE:
            if tf_format:
                raise HailoRTException(f"Use of tf format is unsupported for format order: {info.format_order}.")
            return Utils._output_raw_buffer_to_nms_by_score_format_single_frame(self._buffer)
        if info.format_order == FormatOrder.HAILO_NMS_WITH_BYTE_MASK:
            if tf_format:
                return None
            return Utils._output_raw_buffer_to_nms_with_byte_mask_hailo_format_single_frame(self._buffer)
        if not tf_format:
            return Utils.output_raw_buffer_to_nms_format_single_frame(self._buffer, info.number_of_classes)
        shape = (1, info.number_of_classes, native.BBOX_PARAMS, info.max_bboxes_per_class)
        flat, empty = self._buffer.reshape(-1), np.zeros(native.BBOX_PARAMS, info.output_dtype)
        return Utils.output_raw_buffer_to_nms_tf_format(flat, shape, info.output_dtype, empty)[0]


class Bindings:
    """The buffers of one frame."""

    InferStream = BoundStream

    def __init__(
        self,
        bindings: NativeBindings,
        input_names: Sequence[str],
        output_names: Sequence[str],
        nms_infos: Mapping[str, NmsTransformationInfo],
    ) -> None:
        self._bindings = bindings
        self._inputs: dict[str, BoundStream] = {}
        self._outputs: dict[str, BoundStream] = {}
        self._input_names = input_names
        self._output_names = output_names
        self._nms_infos = nms_infos

    def input(self, name: str = "") -> BoundStream:
        if name == "" and len(self._input_names) == 1:
            name = self._input_names[0]
        if name not in self._inputs:
            with ExceptionWrapper():
                self._inputs[name] = BoundStream(self._bindings.input(name))
        return self._inputs[name]

    def output(self, name: str = "") -> BoundStream:
        if name == "" and len(self._output_names) == 1:
            name = self._output_names[0]
        if name not in self._outputs:
            with ExceptionWrapper():
                self._outputs[name] = BoundStream(self._bindings.output(name), self._nms_infos.get(name))
        return self._outputs[name]

    def get(self) -> NativeBindings:
        return self._bindings
