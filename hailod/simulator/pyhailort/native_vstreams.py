"""`_pyhailort`'s virtual streams: what a program sends and receives, converted to and from what the device takes.

They work in any process that has the network group. Everything waits without the GIL, unlike in HailoRT, whose device
needs no Python thread to get on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from hailod.simulator.native import (
    FormatOrder,
    FormatType,
    HailoFormat,
    HailoRTStatusException,
    VStreamInfo,
    host_format,
)
from hailod.simulator.networks.network import masked_layout
from hailod.simulator.pyhailort.params import VStreamParams
from hailod.simulator.pyhailort.rings import Ring
from hailod.simulator.pyhailort.shared_settings import SharedSettings
from hailod.types import TensorInfo, TensorOrder

if TYPE_CHECKING:
    from hailod.simulator.pyhailort.network_group import ConfiguredNetworkGroup

INVALID_ARGUMENT = 2
TIMEOUT = 4
INSUFFICIENT_BUFFER = 5
INVALID_OPERATION = 6
VSTREAM_PIPELINE_NOT_ACTIVATED = 70
NOT_FOUND = 61

Array = NDArray[Any]
Stream = TypeVar("Stream", bound="_VStream")


def user_format(tensor: TensorInfo, params: VStreamParams, *, is_input: bool) -> HailoFormat:
    """The format that parameters ask for, AUTO resolved. INVALID_ARGUMENT for what HailoRT cannot convert."""
    wanted = params.user_buffer_format
    compiled = host_format(tensor)
    chosen = HailoFormat(
        compiled.type if wanted.type == FormatType.AUTO else wanted.type,
        compiled.order if wanted.order == FormatOrder.AUTO else wanted.order,
        wanted.flags,
    )
    widths = ["UINT8", "UINT16", "FLOAT32"]
    have, want = widths.index(compiled.type.name), widths.index(chosen.type.name)
    # Host values may be wider than the device's. A float of the host is quantised, any other width of input is not.
    convertible = want >= have and (tensor.nms is None or want == have)
    if is_input and want > have:
        convertible = chosen.type == FormatType.FLOAT32
    if not convertible or chosen.order != compiled.order:
        raise HailoRTStatusException(INVALID_ARGUMENT)
    return chosen


def quantised(tensor: TensorInfo, values: Array) -> Array:
    """Real values as the device takes them, flat: with the tensor's one quantisation, or with that of each feature."""
    scale, zero = np.array(tensor.scale, np.float32), np.array(tensor.zero_point, np.float32)
    numbers = np.rint(values.reshape(-1, len(tensor.scale)) / scale + zero)
    limits = np.iinfo(tensor.dtype)
    return np.clip(numbers, limits.min, limits.max).astype(tensor.dtype).reshape(-1)


def dequantised(tensor: TensorInfo, values: Array) -> Array:
    """The device's values as real ones in float32, flat."""
    scale, zero = np.array(tensor.scale, np.float32), np.array(tensor.zero_point, np.float32)
    real: Array = (values.reshape(-1, len(tensor.scale)).astype(np.float32) - zero) * scale
    return real.reshape(-1)


class _VStream:
    """One virtual stream of a network group, and how long it waits."""

    def __init__(
        self, group: ConfiguredNetworkGroup, info: VStreamInfo, tensor: TensorInfo, ring: Ring, params: VStreamParams
    ) -> None:
        if params.queue_size < 1:
            raise HailoRTStatusException(INVALID_ARGUMENT)
        self._group = group
        self._info = info
        self._tensor = tensor
        self._format = user_format(tensor, params, is_input=info.direction.name == "H2D")
        self._timeout = params.timeout_ms / 1000
        self.ring = ring
        self._released = False

    @property
    def info(self) -> VStreamInfo:
        return self._info

    @property
    def timeout(self) -> float:
        return self._timeout

    def get_user_buffer_format(self) -> HailoFormat:
        return self._format

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self._format.type.name.lower())

    @property
    def user_tensor(self) -> TensorInfo:
        """The tensor as the program has it."""
        return replace(self._tensor, dtype=self.dtype.name, nbytes=math.prod(self._tensor.shape) * self.dtype.itemsize)

    @property
    def shape(self) -> list[int]:
        return list(self.user_tensor.shape)

    @property
    def frame_size(self) -> int:
        return self.user_tensor.nbytes

    def check(self) -> None:
        """Raise why the stream cannot be used now."""
        if self._released:
            raise HailoRTStatusException(VSTREAM_PIPELINE_NOT_ACTIVATED)
        self._group.check_active()

    def release(self) -> None:
        self._released = True


class NativeInputVStream(_VStream):
    """Frames to the device."""

    def send(self, data: Array) -> None:
        """One frame of exactly the stream's size, whatever its shape."""
        self.check()
        number = self._group.shuttle.take(self.ring.free, self._timeout)
        self.pass_on(number, np.asarray(data))

    def pass_on(self, number: int, data: Array) -> None:
        """Fill an owned place with a frame. INVALID_ARGUMENT when it has another size."""
        if data.nbytes != self.frame_size:
            self.ring.free.put(number)
            raise HailoRTStatusException(INVALID_ARGUMENT)
        frame = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
        if self.dtype.name != self._tensor.dtype:
            frame = quantised(self._tensor, frame.view(self.dtype)).view(np.uint8)
        self.ring.put(number, frame)

    def flush(self) -> None:
        """Return once the device has taken everything that was sent."""
        self.check()
        if not self.ring.drained(self._timeout * self.ring.places):
            raise HailoRTStatusException(TIMEOUT)


class NativeOutputVStream(_VStream):
    """Results from the device."""

    def recv(self) -> Array:
        """The next frame as a new array."""
        self.check()
        number = self._group.shuttle.take(self.ring.filled, self._timeout)
        out: Array = np.empty(self.shape, self.dtype)
        self.fetch(number, out)
        return out

    def fetch(self, number: int, out: Array) -> None:
        """Copy the frame of an owned place into `out`, a contiguous array of the stream's size, and free the place.

        INSUFFICIENT_BUFFER when not all masks had room; the others are there.
        """
        frame = self.ring.frame(number)
        fitted = True
        if self._tensor.nms is None:
            values = frame.view(self._tensor.dtype)
            out.reshape(-1)[:] = values if self.dtype.name == self._tensor.dtype else dequantised(self._tensor, values)
        else:
            raw = out.reshape(-1).view(np.uint8)[: frame.size]
            raw[:] = frame[: raw.size]
            if self._tensor.order is TensorOrder.NMS_WITH_BYTE_MASK and self._group.settings is not None:
                height, width = self._group.info.inputs[0].shape[:2]
                fitted = masked_layout(self.user_tensor, self._nms.read(), (height, width)).locate(raw)
        self.ring.free.put(number)
        if not fitted:
            raise HailoRTStatusException(INSUFFICIENT_BUFFER)

    @property
    def user_tensor(self) -> TensorInfo:
        if self._tensor.nms is None or self._group.settings is None:
            return super().user_tensor
        return self._group.settings.apply(self._tensor)

    def set_nms_score_threshold(self, threshold: float) -> None:
        self._nms.set_score_threshold(float(threshold))

    def set_nms_iou_threshold(self, threshold: float) -> None:
        self._nms.set_iou_threshold(float(threshold))

    def set_nms_max_proposals_per_class(self, max_proposals_per_class: int) -> None:
        self._nms.set_max_per_class(int(max_proposals_per_class))

    def set_nms_max_accumulated_mask_size(self, max_accumulated_mask_size: int) -> None:
        if self._tensor.order is not TensorOrder.NMS_WITH_BYTE_MASK:
            raise HailoRTStatusException(INVALID_OPERATION)
        self._nms.set_max_mask_bytes(int(max_accumulated_mask_size))

    @property
    def _nms(self) -> SharedSettings:
        """The settings of the network's NMS. INVALID_OPERATION on a stream without one."""
        if self._tensor.nms is None or self._group.settings is None:
            raise HailoRTStatusException(INVALID_OPERATION)
        return self._group.settings


class _Holder(Generic[Stream]):
    """Virtual streams by name, for as long as they are entered."""

    def __init__(self, streams: dict[str, Stream]) -> None:
        self._streams: dict[str, Stream] = streams

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *args: object) -> None:
        for stream in self._streams.values():
            stream.release()
        self._streams.clear()

    def _named(self, name: str) -> Stream:
        if name not in self._streams:
            raise HailoRTStatusException(NOT_FOUND)
        return self._streams[name]

    def clear(self) -> None:
        """Forget what is on its way."""
        for stream in self._streams.values():
            stream.ring.drop()


class NativeInputVStreams(_Holder[NativeInputVStream]):
    """The inputs that parameters name. NOT_FOUND for one that is none."""

    def __init__(self, group: ConfiguredNetworkGroup, params: Mapping[str, VStreamParams]) -> None:
        rings = group.shuttle.inputs
        super().__init__(
            _made(group, params, NativeInputVStream, group.info.inputs, rings, group.get_input_vstream_infos(""))
        )

    def get_all_inputs(self) -> dict[str, NativeInputVStream]:
        return dict(self._streams)

    def get_input_by_name(self, name: str) -> NativeInputVStream:
        return self._named(name)


class NativeOutputVStreams(_Holder[NativeOutputVStream]):
    """The outputs that parameters name. NOT_FOUND for one that is none."""

    def __init__(self, group: ConfiguredNetworkGroup, params: Mapping[str, VStreamParams]) -> None:
        rings = group.shuttle.outputs
        super().__init__(
            _made(group, params, NativeOutputVStream, group.info.outputs, rings, group.get_output_vstream_infos(""))
        )

    def get_all_outputs(self) -> dict[str, NativeOutputVStream]:
        return dict(self._streams)

    def get_output_by_name(self, name: str) -> NativeOutputVStream:
        return self._named(name)


def _made(  # noqa: PLR0917 - what each stream is made of
    group: ConfiguredNetworkGroup,
    params: Mapping[str, VStreamParams],
    kind: type[Stream],
    tensors: Sequence[TensorInfo],
    rings: Sequence[Ring],
    infos: Sequence[VStreamInfo],
) -> dict[str, Stream]:
    known = {info.name: (info, tensor, ring) for info, tensor, ring in zip(infos, tensors, rings, strict=True)}
    if not params.keys() <= known.keys():
        raise HailoRTStatusException(NOT_FOUND)
    # In the network group's order, whatever that of the parameters.
    return {name: kind(group, *known[name], params[name]) for name in known if name in params}
