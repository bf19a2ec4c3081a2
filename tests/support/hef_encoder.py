"""Writes minimal HEFs, of every format version, for tests of what reads them.

It is written from the layout of the file and shares nothing with the reader. `Tensor` and `HostNms` say what a model
takes and gives, `encode_hef` makes a whole file of them; `sign` puts any bytes into a file with a right hash, so that
a damaged description reaches the parser.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import xxhash

MAGIC = 0x01484546
# Compiler's numbers for layouts on the chip.
NHWC, NHCW, NC, FCR, BAYER, NHW, NMS, F8CR, RGB888 = range(9)
YUY2, YYUV = 11, 14
HAILO8, HAILO8R, HAILO8L, HAILO15M, HAILO15L, HAILO15H = 1, 2, 3, 4, 6, 103
# Extensions: what every file has, and what some need.
REQUIRED = (0, 3, 12, 26)
MULTI_CONTEXT, MULTI_NETWORK, NET_FLOW, NMS_BURST, PER_FEATURE = 4, 8, 13, 19, 25
META_ARCHITECTURES = {"yolov5": 7, "yolox": 8, "ssd": 9, "iou": 10, "yolov5_seg": 11, "yolov8": 12}


@dataclass(frozen=True)
class Tensor:
    """A stream and the one tensor in it. `scales` and `zero_points` are by feature."""

    name: str
    shape: tuple[int, int, int]
    order: int = NHWC
    data_bytes: int = 1
    padded: tuple[int, int, int] | None = None
    zero_point: float = 0.0
    scale: float = 1.0
    limits: tuple[float, float] = (0.0, 255.0)
    zero_points: tuple[float, ...] = ()
    scales: tuple[float, ...] = ()
    transposed: bool = False
    original_names: tuple[str, ...] = ()
    context: int = 0
    core_nms: CoreNms | None = None
    network: int = 0


@dataclass(frozen=True)
class CoreNms:
    """NMS on the neural core: boxes of `classes`, at most so many of each in each of `chunks`."""

    classes: int
    max_per_class: int
    chunks: int = 1
    bbox_size: int = 10
    burst_size: int = 0
    part_of: str = ""


@dataclass(frozen=True)
class HostNms:
    """NMS that HailoRT does on the host, of all outputs or of those named in `takes`."""

    name: str
    architecture: str = "yolov8"
    classes: int = 80
    max_per_class: int = 100
    score_threshold: float = 0.2
    iou_threshold: float = 0.7
    image: tuple[int, int] = (640, 640)
    background: int | None = None
    boxes_only: bool = False
    mask_threshold: float = 0.5
    takes: tuple[str, ...] = ()
    anchors: int = 0


@dataclass(frozen=True)
class Logits:
    """Argmax (0) or softmax (1) of one output, on the host."""

    name: str
    takes: str
    kind: int = 0


@dataclass(frozen=True)
class Group:
    """A network group. `layouts` puts it into a layout for each of these cluster bitmaps, as for Hailo-8L."""

    name: str
    inputs: Sequence[Tensor]
    outputs: Sequence[Tensor]
    operations: Sequence[HostNms | Logits] = ()
    contexts: int = 1
    bottleneck_fps: float = 100.0
    networks: Sequence[str] = ()
    layouts: Sequence[int] = ()
    sorted_outputs: Sequence[str] | None = None
    fused: Sequence[tuple[str, CoreNms]] = ()
    written: bytes = b""


@dataclass(frozen=True)
class File:
    """What surrounds the groups."""

    version: int = 3
    hw_arch: int = HAILO8
    compiler: str = "3.33.0"
    timestamp: int = 1_700_000_000_000
    configuration: bytes = b"weights!" * 8
    padding: int = 0
    additional: bytes = b""
    own_hash: bool = False
    extensions: Sequence[int] = ()
    resources: Sequence[tuple[str, int]] = field(default=())


def encode_hef(*groups: Group, file: File = File()) -> bytes:
    """A HEF with these network groups."""
    return sign(
        describe(*groups, file=file),
        version=file.version,
        configuration=file.configuration,
        padding=file.padding,
        additional=file.additional,
        own_hash=file.own_hash,
    )


def detector(*, name: str = "yolov8s", size: int = 640, classes: int = 80, max_per_class: int = 100) -> Group:
    """A YOLOv8 with its NMS on the host, as the model zoo compiles it."""
    outputs = []
    for index, stride in enumerate((8, 16, 32)):
        side = size // stride
        outputs.append(Tensor(f"{name}/conv{41 + index}", (side, side, 64), FCR, scale=0.1, zero_point=120.0))
        outputs.append(Tensor(f"{name}/conv{51 + index}", (side, side, classes), NHCW, scale=1 / 255))
    nms = HostNms(f"{name}/yolov8_nms_postprocess", "yolov8", classes, max_per_class, image=(size, size))
    return Group(name, [Tensor(f"{name}/input_layer1", (size, size, 3))], outputs, [nms])


def sign(
    description: bytes,
    *,
    version: int = 3,
    configuration: bytes = b"",
    padding: int = 0,
    additional: bytes = b"",
    own_hash: bool = False,
) -> bytes:
    """`description` as a file of that format version, with the right lengths and hash."""
    prefix = struct.pack(">III", MAGIC, version, len(description))
    if version == 0:
        return prefix + bytes(4) + hashlib.md5(description, usedforsecurity=False).digest() + description
    body = description + bytes(padding) + configuration + additional
    if version == 1:
        return prefix + struct.pack(">IQ4x", zlib.crc32(body), len(configuration)) + body
    total = xxhash.xxh3_64_intdigest(body)
    if version == 2:
        return prefix + struct.pack(">QQ16x", total, len(configuration)) + body
    own = xxhash.xxh3_64_intdigest(description) if own_hash else 0
    return prefix + struct.pack(">QQIQQ8x", total, padding + len(configuration), padding, len(additional), own) + body


def describe(*groups: Group, file: File = File()) -> bytes:
    """The description alone."""
    used = {*REQUIRED, *file.extensions}
    optional: set[int] = set()
    for group in groups:
        tensors = [*group.inputs, *group.outputs]
        used |= {NET_FLOW} if group.operations else set()
        used |= {MULTI_CONTEXT} if group.contexts > 1 else set()
        used |= {PER_FEATURE} if any(tensor.scales for tensor in tensors) else set()
        used |= {NMS_BURST} if any(tensor.core_nms and tensor.core_nms.burst_size for tensor in tensors) else set()
        optional |= {MULTI_NETWORK} if group.networks else set()
    header = number(1, file.hw_arch) + number(2, file.timestamp) + text(3, file.compiler) + number(4, 1)
    return (
        message(1, header)
        + b"".join(message(2, _group(group, net_flow=NET_FLOW in used)) for group in groups)
        + b"".join(message(5, number(1, index) + text(2, f"EXTENSION_{index}")) for index in sorted(used))
        + b"".join(message(6, number(1, index)) for index in sorted(optional))
        + b"".join(message(7, number(2, size) + text(3, name)) for name, size in file.resources)
    )


def _group(group: Group, *, net_flow: bool) -> bytes:
    whole = _core_op(group)
    order = _order(group)
    if not net_flow:
        return whole
    ends = b"".join(text(4, name) for name in order)
    names = b"".join(text(6, name) for name in group.networks)
    operations, edges = _operations(group)
    core = message(8, text(1, group.name) + message(4, whole))
    return message(1, _metadata(group)) + ends + names + core + operations + edges + text(10, group.name)


def _core_op(group: Group) -> bytes:
    """The core op, or the group itself where there is no net flow: their fields have the same numbers."""
    order = b"".join(text(4, name) for name in _order(group))
    names = b"".join(text(6, name) for name in group.networks)
    contexts = b"".join(message(3, _context(group, index)) for index in range(group.contexts))
    written = message(2, message(1, message(2, message(3, blob(1, group.written))))) if group.written else b""
    body = message(1, _metadata(group)) + written + contexts + order + _fused(group) + names
    if not group.layouts:
        return body
    partials = b"".join(message(7, message(1, body) + message(2, number(1, layout))) for layout in group.layouts)
    return order + names + partials


def _metadata(group: Group) -> bytes:
    return text(1, group.name) + double(4, group.bottleneck_fps)


def _order(group: Group) -> Sequence[str]:
    if group.sorted_outputs is not None:
        return group.sorted_outputs
    taken = {name for operation in group.operations for name in _taken(group, operation)}
    raw = [tensor.name for tensor in group.outputs if tensor.name not in taken]
    return [*raw, *(operation.name for operation in group.operations)]


def _fused(group: Group) -> bytes:
    if not group.fused:
        return b""
    layers = b"".join(message(3, message(1, text(1, name)) + message(3, _core_nms(nms))) for name, nms in group.fused)
    order = b"".join(text(2, name) for name in _order(group))
    return message(5, number(1, 1) + order + layers)


def _context(group: Group, index: int) -> bytes:
    layers = [(0, tensor) for tensor in group.inputs] + [(1, tensor) for tensor in group.outputs]
    own = [(way, pad, tensor) for pad, (way, tensor) in enumerate(layers) if tensor.context == index]
    edges = b"".join(message(2, _edge(way, pad, tensor)) for way, pad, tensor in own)
    # What passes between contexts is no business of the host's.
    inner = message(2, number(1, 1) + message(3, text(1, f"inner{index}")) + message(5, number(3, 1)))
    return number(1, index) + message(3, text(1, f"context_{index}") + edges + inner)


def _edge(way: int, pad: int, tensor: Tensor) -> bytes:
    return (
        number(1, way) + message(3, layer(tensor, pad)) + message(5, b"") + number(6, tensor.network) + number(7, pad)
    )


def layer(tensor: Tensor, index: int = 0) -> bytes:
    """The message of a stream with one tensor."""
    height, width, features = tensor.shape
    padded = tensor.padded or tensor.shape
    sizes = ((1, height), (2, padded[0]), (3, width), (4, padded[1]), (5, features), (6, padded[2]))
    base = b"".join(number(key, value) for key, value in sizes)
    base += number(7, tensor.order) + number(8, index) + number(10, height) + number(12, tensor.data_bytes)
    if tensor.core_nms:
        base += message(11, message(1, _core_nms(tensor.core_nms)))
    numeric = single(1, tensor.zero_point) + single(2, tensor.scale)
    numeric += single(3, tensor.limits[0]) + single(4, tensor.limits[1])
    if tensor.scales:
        numeric += blob(5, struct.pack(f"<{len(tensor.zero_points)}d", *tensor.zero_points))
        numeric += blob(6, struct.pack(f"<{len(tensor.scales)}d", *tensor.scales))
    names = b"".join(text(5, name) for name in tensor.original_names)
    return text(1, tensor.name) + message(2, base) + message(3, numeric) + names + number(6, tensor.transposed)


def _core_nms(nms: CoreNms) -> bytes:
    parts = number(2, nms.classes) + number(3, nms.max_per_class) + number(4, nms.bbox_size) + number(7, nms.chunks)
    parts += number(8, nms.burst_size)
    return parts + (number(5, 1) + message(6, text(3, nms.part_of)) if nms.part_of else b"")


def _taken(group: Group, operation: HostNms | Logits) -> Sequence[str]:
    if isinstance(operation, Logits):
        return (operation.takes,)
    return operation.takes or [tensor.name for tensor in group.outputs]


def _operations(group: Group) -> tuple[bytes, bytes]:
    """The operations, and the edges from the core's pads to theirs. Pads of the core are numbered as the layers."""
    pads = {tensor.name: len(group.inputs) + index for index, tensor in enumerate(group.outputs)}
    operations, edges, next_pad = b"", b"", 1000
    for operation in group.operations:
        sources = [pads[name] for name in _taken(group, operation)]
        targets = range(next_pad, next_pad + len(sources))
        next_pad += len(sources) + 1
        edges += b"".join(message(9, number(1, a) + number(2, b)) for a, b in zip(sources, targets, strict=True))
        inputs = b"".join(message(2, number(1, target)) for target in targets)
        output = message(3, number(1, next_pad - 1) + text(2, operation.name))
        operations += message(8, text(1, operation.name) + inputs + output + _kind(operation, sources))
    return operations, edges


def _kind(operation: HostNms | Logits, sources: Sequence[int]) -> bytes:
    if isinstance(operation, Logits):
        return message(6, number(1, operation.kind))
    nms = double(1, operation.score_threshold) + double(2, operation.iou_threshold)
    nms += number(3, operation.max_per_class) + number(4, operation.classes)
    if operation.background is not None:
        nms += number(5, 1) + number(6, operation.background)
    part = double(1, float(operation.image[0])) + double(2, float(operation.image[1]))
    if operation.architecture == "iou":
        part = b""
    if operation.architecture == "yolov5":
        anchors = b"".join(number(2, 10) for _ in range(operation.anchors))
        part += b"".join(message(4, anchors + number(5, source)) for source in sources)
    if operation.architecture == "yolov5_seg":
        part += double(5, operation.mask_threshold)
    nms += message(META_ARCHITECTURES[operation.architecture], part)
    return message(5, nms + number(13, operation.boxes_only))


def varint(value: int) -> bytes:
    """A number in protobuf's variable length."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def number(key: int, value: int) -> bytes:
    """A field with a varint."""
    return varint(key << 3) + varint(value)


def blob(key: int, value: bytes) -> bytes:
    """A field with bytes."""
    return varint(key << 3 | 2) + varint(len(value)) + value


message = blob


def text(key: int, value: str) -> bytes:
    """A field with a string."""
    return blob(key, value.encode())


def double(key: int, value: float) -> bytes:
    """A field with a double."""
    return varint(key << 3 | 1) + struct.pack("<d", value)


def single(key: int, value: float) -> bytes:
    """A field with a float."""
    return varint(key << 3 | 5) + struct.pack("<f", value)
