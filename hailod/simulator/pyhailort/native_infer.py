"""`_pyhailort.InferVStreams`: batches in, batches out, in one blocking call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hailod.simulator.native import HailoFormat, HailoRTStatusException
from hailod.simulator.pyhailort.native_vstreams import (
    NativeInputVStream,
    NativeInputVStreams,
    NativeOutputVStream,
    NativeOutputVStreams,
)
from hailod.simulator.pyhailort.network_group import ConfiguredNetworkGroup
from hailod.simulator.pyhailort.params import VStreamParams
from hailod.simulator.pyhailort.rings import Tokens
from hailod.types import TensorOrder

INVALID_ARGUMENT = 2
INVALID_OPERATION = 6
NOT_FOUND = 61

Array = NDArray[Any]


class NativeInferVStreams:
    """The virtual streams of whole networks. INVALID_ARGUMENT when parameters name only part of a network's."""

    def __init__(
        self,
        group: ConfiguredNetworkGroup,
        input_params: Mapping[str, VStreamParams],
        output_params: Mapping[str, VStreamParams],
    ) -> None:
        self._group = group
        for network in group.get_networks_names():
            inputs = {info.name for info in group.get_input_vstream_infos(network)}
            outputs = {info.name for info in group.get_output_vstream_infos(network)}
            asked = len(inputs & input_params.keys()), len(outputs & output_params.keys())
            whole = asked == (len(inputs), len(outputs))
            if not whole and (any(asked) or group.multi_context):
                raise HailoRTStatusException(INVALID_ARGUMENT)
        self._inputs = NativeInputVStreams(group, input_params)
        self._outputs = NativeOutputVStreams(group, output_params)

    def release(self, *args: object) -> None:
        self._inputs.__exit__()
        self._outputs.__exit__()

    def infer(self, input_data: Mapping[str, Array], output_data: Mapping[str, Array], batch_size: int) -> None:
        """Fill the arrays of `output_data` from those of `input_data`, both of `batch_size` frames.

        INVALID_ARGUMENT when an array has another size or a stream of a network none; TIMEOUT when nothing moves for
        as long as a stream may wait.
        """
        inputs = self._matching(self._inputs.get_all_inputs(), input_data, batch_size)
        outputs = self._matching(self._outputs.get_all_outputs(), output_data, batch_size)
        group = self._group
        if group.multi_context and not group.scheduled and batch_size % max(1, group.batch_size):
            raise HailoRTStatusException(INVALID_ARGUMENT)
        _Exchange(group, inputs, outputs, batch_size).run()

    @staticmethod
    def _matching(streams: Mapping[str, Any], data: Mapping[str, Array], frames: int) -> list[tuple[Any, Array]]:
        if not data.keys() <= streams.keys():
            raise HailoRTStatusException(NOT_FOUND)
        if data.keys() != streams.keys():
            raise HailoRTStatusException(INVALID_ARGUMENT)
        for name, array in data.items():
            if not array.flags.writeable:
                raise ValueError("array is not writeable")
            if array.nbytes != frames * streams[name].frame_size:
                raise HailoRTStatusException(INVALID_ARGUMENT)
        return [(streams[name], array.reshape(frames, -1)) for name, array in data.items()]

    def _stream(self, name: str) -> NativeInputVStream | NativeOutputVStream:
        stream = self._inputs.get_all_inputs().get(name) or self._outputs.get_all_outputs().get(name)
        if stream is None:
            raise HailoRTStatusException(NOT_FOUND)
        return stream

    def get_host_dtype(self, stream_name: str) -> np.dtype[Any]:
        return self._stream(stream_name).dtype

    def get_shape(self, stream_name: str) -> list[int]:
        return self._stream(stream_name).shape

    def get_user_buffer_format(self, stream_name: str) -> HailoFormat:
        return self._stream(stream_name).get_user_buffer_format()

    # Settings of the NMS: INVALID_OPERATION when no output has one.

    def set_nms_score_threshold(self, threshold: float) -> None:
        for stream in self._nms_outputs():
            stream.set_nms_score_threshold(threshold)

    def set_nms_iou_threshold(self, threshold: float) -> None:
        for stream in self._nms_outputs():
            stream.set_nms_iou_threshold(threshold)

    def set_nms_max_proposals_per_class(self, max_proposals_per_class: int) -> None:
        for stream in self._nms_outputs(TensorOrder.NMS_BY_CLASS, TensorOrder.NMS_WITH_BYTE_MASK):
            stream.set_nms_max_proposals_per_class(max_proposals_per_class)

    def set_nms_max_accumulated_mask_size(self, max_accumulated_mask_size: int) -> None:
        for stream in self._nms_outputs(TensorOrder.NMS_WITH_BYTE_MASK):
            stream.set_nms_max_accumulated_mask_size(max_accumulated_mask_size)

    def _nms_outputs(self, *orders: TensorOrder) -> list[NativeOutputVStream]:
        found = [
            stream
            for stream in self._outputs.get_all_outputs().values()
            if stream.user_tensor.nms is not None and (not orders or stream.user_tensor.order in orders)
        ]
        if not found:
            raise HailoRTStatusException(INVALID_OPERATION)
        return found


class _Exchange:
    """One batch on its way: frames go in as places come free and results are fetched as they come."""

    def __init__(
        self,
        group: ConfiguredNetworkGroup,
        inputs: Sequence[tuple[NativeInputVStream, Array]],
        outputs: Sequence[tuple[NativeOutputVStream, Array]],
        frames: int,
    ) -> None:
        self._group = group
        self._frames = frames
        self._sources = [_Side(stream.ring.free, stream.pass_on, data) for stream, data in inputs]
        self._sinks = [_Side(stream.ring.filled, stream.fetch, data) for stream, data in outputs]
        self._timeout = min(stream.timeout for stream, _ in (*inputs, *outputs))

    def run(self) -> None:
        group, shuttle = self._group, self._group.shuttle
        while waiting := [side for side in (*self._sources, *self._sinks) if side.done < self._frames]:
            group.check_active()
            moved = [side.advance(self._frames) for side in waiting]
            if not any(moved):
                shuttle.wait([side.tokens for side in waiting if side.done < self._frames], self._timeout)


class _Side:
    """One stream's part of a batch."""

    def __init__(self, tokens: Tokens, handle: Any, data: Array) -> None:
        self.tokens = tokens
        self.done = 0
        self._handle = handle
        self._data = data

    def advance(self, frames: int) -> bool:
        """Whether any frame could be handled now; all that could are."""
        before = self.done
        while self.done < frames and (number := self.tokens.take()) is not None:
            self._handle(number, self._data[self.done])
            self.done += 1
        return self.done > before
