"""What a simulated model is: what a HEF would say of it, its cost, and how a frame becomes output bytes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from hailod.simulator import presets
from hailod.simulator.networks import layouts
from hailod.simulator.networks.nms import Boxes, best_per_class
from hailod.types import U8, NmsShape, TensorInfo, TensorOrder

Program = Callable[[Sequence[U8]], Sequence[U8]]
"""One frame through a configured model: the bytes of each input in, for each output the bytes used of its buffer."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Service time of a batch of n frames: `switch + n * frame` seconds."""

    switch: float = 0.0
    frame: float = 0.0


@dataclass(frozen=True, slots=True)
class NmsSettings:
    """What the host-side NMS of a model is configured to. `max_total` bounds the layouts that are not by class.

    `profile` is the version of HailoRT, whose records before masks differ.
    """

    score_threshold: float
    iou_threshold: float
    max_per_class: int
    max_total: int
    profile: str = "4.23"


@dataclass(frozen=True, slots=True)
class Stream:
    """One low-level stream: what crosses the bus, in the chip's `order`, its sides (h, w, c) padded for that."""

    tensor: TensorInfo
    index: int
    order: str
    padded: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a vstream comes from: its network, its streams, and its layers' names before compilation."""

    network: str
    streams: tuple[str, ...]
    layers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HefInfo:
    """What is known of one network group before it is configured. `arch`: what it is compiled for, None for anything.

    `inputs` and `outputs` are as the host sees them by default, `outputs` in the order that the compiler gave.
    `origins` by vstream name; a vstream without one is a stream by itself.
    """

    name: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    timing: Timing = Timing()
    multi_context: bool = False
    arch: str | None = None
    nms: NmsSettings | None = None
    bottleneck_fps: float = 0.0
    networks: tuple[str, ...] = ()
    input_streams: tuple[Stream, ...] = ()
    output_streams: tuple[Stream, ...] = ()
    origins: Mapping[str, Origin] = field(default_factory=dict)

    @property
    def transferred(self) -> tuple[TensorInfo, ...]:
        """What crosses the bus in one piece per frame; boxes of the core's NMS come as they are found."""
        streams = (*self.input_streams, *self.output_streams)
        return tuple(stream.tensor for stream in streams if stream.order != "HAILO_NMS_ON_CHIP")

    def origin(self, vstream: str) -> Origin:
        """Where a vstream of the group comes from."""
        return self.origins.get(vstream) or Origin(self.networks[0], (vstream,), (vstream.rpartition("/")[2],))


class Network(ABC):
    """A loaded network group."""

    info: HefInfo

    @abstractmethod
    def compile(
        self, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo], settings: NmsSettings | None
    ) -> Program:
        """The program for the formats the user chose, which may differ from `info` in dtype and in order of NMS."""


@dataclass(frozen=True, eq=False)
class Model:
    """A loaded model file: its network groups, of which nearly all files have one, and what else is in it."""

    networks: tuple[Network, ...]
    resources: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def info(self) -> HefInfo:
        """What is known of the first group."""
        return self.networks[0].info

    def group(self, name: str = "") -> Network | None:
        """The network group of a name, the first without one; None when there is none of the name."""
        return next((network for network in self.networks if name in ("", network.info.name)), None)


def nms_tensor(
    name: str, order: TensorOrder, limits: NmsShape, max_total: int | None = None, profile: str = "4.23"
) -> TensorInfo:
    """An NMS output in one of HailoRT's detection layouts; `max_total`: of all classes together by default."""
    if order is TensorOrder.NMS_BY_CLASS:
        elements = limits.classes * (1 + 5 * limits.max_per_class)
        return TensorInfo(name, (elements,), "float32", order, elements * 4, nms=limits)
    total = limits.classes * limits.max_per_class if max_total is None else max_total
    if order is TensorOrder.NMS_BY_SCORE:
        size = 2 + total * layouts.DETECTION.itemsize
    else:
        size = 2 + total * layouts.MASKED_DETECTIONS[profile].itemsize + limits.max_mask_bytes
    return TensorInfo(name, (size,), "uint8", order, size, nms=limits)


def write_detections(
    found: Boxes, output: TensorInfo, settings: NmsSettings, picture: tuple[int, int], mask_of: layouts.MaskOf
) -> U8:
    """The used bytes of an NMS output for what is left after suppression; too many lose the lowest scores.

    By score libhailort lets one more through than there may be: the count says so, the last record may be cut off.
    """
    assert output.nms is not None
    if output.order is TensorOrder.NMS_BY_CLASS:
        return layouts.pack_by_class(best_per_class(found, settings.max_per_class), output.nms.classes)
    if output.order is TensorOrder.NMS_BY_SCORE:
        return layouts.pack_by_score(found[: settings.max_total + 1])[: output.nbytes]
    return masked_layout(output, settings, picture).pack(found, mask_of)


def masked_layout(output: TensorInfo, settings: NmsSettings, picture: tuple[int, int]) -> layouts.MaskedLayout:
    """How an NMS output with masks lies in memory."""
    record = layouts.MASKED_DETECTIONS[settings.profile]
    return layouts.MaskedLayout(record, output.nbytes, settings.max_total, picture)


def streams_of(tensors: Sequence[TensorInfo]) -> tuple[Stream, ...]:
    """One stream for each tensor, as the compiler lays most: rows of features, padded to eight columns."""
    return tuple(_stream(tensor, index) for index, tensor in enumerate(tensors))


def _stream(tensor: TensorInfo, index: int) -> Stream:
    if tensor.nms is not None:
        return Stream(tensor, index, "HAILO_NMS_ON_CHIP", (tensor.nms.classes, 5, tensor.nms.max_per_class))
    if tensor.order is TensorOrder.NC:
        return Stream(tensor, index, "NC", (1, 1, -(-tensor.shape[0] // 8) * 8))
    height, width, features = (*tensor.shape, 1)[:3]
    order = "NHCW" if tensor.order is TensorOrder.NHWC else tensor.order.value
    return Stream(tensor, index, order, (height, -(-width // 8) * 8, features))


def cost(stem: str, arch: str, *, preset: str | None, switch_ms: float | None, frame_ms: float | None) -> HefInfo:
    """Timing, contexts and chip of a model: its own figures, else its preset, else the published ones of its name.

    With none of them the service time is zero. ModelError when the preset does not exist.
    """
    timed = presets.preset(preset) if preset is not None else None
    if timed is None and switch_ms is None and frame_ms is None:
        timed = presets.find(stem, arch)
    if switch_ms is not None or frame_ms is not None or timed is None:
        own = Timing((switch_ms or 0.0) / 1000, (frame_ms or 0.0) / 1000)
        return _unknown(stem, own, own.switch > 0, timed.chip if timed else None)
    return _unknown(stem, Timing(timed.switch_ms / 1000, timed.frame_ms / 1000), timed.multi_context, timed.chip)


def _unknown(name: str, timing: Timing, multi_context: bool, arch: str | None) -> HefInfo:
    """A group whose tensors are not known yet."""
    fps = 1 / timing.frame if timing.frame else 0.0
    return HefInfo(name, (), (), timing, multi_context, arch, bottleneck_fps=fps, networks=(f"{name}/{name}",))
