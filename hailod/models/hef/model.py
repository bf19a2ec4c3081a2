"""What a HEF says of itself, as values. All of it is immutable and holds nothing of the file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from hailod.models.hef.chips import EXTENSIONS, Architecture, Chip
from hailod.models.hef.container import Signature, Sizes
from hailod.models.hef.formats import FormatOrder, FormatType

Direction = Literal["input", "output"]
Shape = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Quantisation:
    """real = (q - zero_point) * scale, by one pair or by one for each feature. `minimum` and `maximum` are real values.

    HailoRT shows one pair per stream, `single`; by feature it shows nothing there, and uses all of them.
    """

    zero_point: tuple[float, ...]
    scale: tuple[float, ...]
    minimum: float = 0.0
    maximum: float = 0.0
    per_feature: bool = False

    @property
    def single(self) -> tuple[float, float, float, float]:
        """qp_zp, qp_scale, limvals_min, limvals_max of HailoRT's `QuantInfo`."""
        if self.per_feature:
            return (0.0, 0.0, 0.0, 0.0)
        return (self.zero_point[0], self.scale[0], self.minimum, self.maximum)


@dataclass(frozen=True, slots=True)
class Nms:
    """How detections come about: on the neural core, or by HailoRT on the host's CPU.

    Thresholds, image and background are known of NMS on the host only; on the core they are compiled in.
    `classes` is what is reported, a background class that is removed not counted. `boxes_only` outputs a tensor of all
    decoded boxes and suppresses none. `max_mask_bytes` is HailoRT 4's figure; HailoRT 5 takes the double.
    """

    where: Literal["host", "core"]
    architecture: Literal["yolov5", "yolox", "yolov8", "ssd", "iou", "yolov5_seg", "unknown"]
    classes: int
    max_per_class: int
    max_total: int
    score_threshold: float | None = None
    iou_threshold: float | None = None
    background_index: int | None = None
    image: tuple[int, int] | None = None
    mask_threshold: float | None = None
    max_mask_bytes: int = 0
    boxes_only: bool = False


@dataclass(frozen=True, slots=True)
class Stream:
    """One tensor between host and chip, as the chip has it.

    `shape` and `padded_shape` are height, width, features; of NMS on the core they are classes, 5 and boxes per class.
    `frame_bytes` is what a frame takes on the bus. `index` is the stream's number on the device.
    """

    name: str
    network: str
    direction: Direction
    index: int
    shape: Shape
    padded_shape: Shape
    order: FormatOrder
    type: FormatType
    frame_bytes: int
    quantisation: Quantisation
    transposed: bool = False
    is_mux: bool = False


@dataclass(frozen=True, slots=True)
class VStream:
    """One input or output as the host binds it, with the order and type it has if nobody asks for another.

    `shape` is height, width, features, and None where the tensor is a list of detections. `streams` are the streams it
    travels in, `original_names` the layers of the network it was compiled from.
    """

    name: str
    network: str
    direction: Direction
    shape: Shape | None
    order: FormatOrder
    type: FormatType
    quantisation: Quantisation
    transposed: bool = False
    nms: Nms | None = None
    streams: tuple[str, ...] = ()
    original_names: tuple[str, ...] = ()

    def joined(self, other: VStream) -> VStream:
        """The same with the streams and origins of another part of it as well."""
        return replace(
            self,
            streams=(*self.streams, *other.streams),
            original_names=(*self.original_names, *other.original_names),
        )


@dataclass(frozen=True, slots=True)
class NetworkGroup:
    """What is configured as one model. Several contexts mean that the chip is rewritten within every frame or batch.

    `layouts` are bitmaps of the clusters that the same network was laid out for, where it was for several.
    """

    name: str
    networks: tuple[str, ...]
    contexts: int
    multi_context: bool
    bottleneck_fps: float
    inputs: tuple[Stream, ...]
    outputs: tuple[Stream, ...]
    input_vstreams: tuple[VStream, ...]
    output_vstreams: tuple[VStream, ...]
    sorted_outputs: tuple[str, ...]
    layouts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Resource:
    """A file within the file, such as a tokenizer."""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Hef:
    """A model file. `hailort` is the oldest version that takes it; `warnings` are sentences for people."""

    path: str | None
    format_version: int
    signature: Signature
    sizes: Sizes
    architecture: Architecture
    compiler: str
    compiled_at: int
    hailort: str
    extensions: tuple[int, ...]
    groups: tuple[NetworkGroup, ...]
    resources: tuple[Resource, ...]
    warnings: tuple[str, ...]

    @property
    def chips(self) -> tuple[Chip, ...]:
        """The chips that run it."""
        return self.architecture.chips

    def runs_on(self, chip: str) -> bool:
        """Whether HailoRT configures it on that chip, if with a warning."""
        return any(chip == each.name for each in self.chips)

    def unknown_to(self, hailort: tuple[int, int]) -> tuple[str, ...]:
        """The extensions it uses that HailoRT of that major and minor version lacks, and refuses it for (92)."""
        named = (EXTENSIONS[index] for index in self.extensions)
        return tuple(name for since, name in named if since > hailort)
