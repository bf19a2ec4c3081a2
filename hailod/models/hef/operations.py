"""What HailoRT computes on the host behind the neural core: detections out of raw heads, softmax, argmax.

An operation replaces the vstreams of the outputs that it takes by one of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from hailod.models.hef import schema
from hailod.models.hef.errors import INTERNAL_FAILURE, HefInvalid
from hailod.models.hef.formats import HOST_ORDERS, FormatOrder, FormatType
from hailod.models.hef.layers import BOX_VALUES, Layer
from hailod.models.hef.model import Nms, Quantisation, Shape, Stream, VStream

BOX_EDGES = 4
# HailoRT 4 reserves masks for this many pictures of the size of the input.
MASK_PICTURES = 2
MAX_SIDE = 1 << 16

# What a pad may ask for; zero, for one, leaves it to the operation.
_PAD_ORDERS = {order.value: order for order in FormatOrder if FormatOrder.AUTO < order <= FormatOrder.HAILO_YYVU}
_PAD_TYPES = {kind.value: kind for kind in (FormatType.UINT8, FormatType.UINT16)}


def operations(group: schema.NetworkGroup, name: str, layers: Mapping[int, Layer]) -> Iterator[VStream]:
    """The outputs of a group's operations on the host; `layers` are the outputs of the core by their pads."""
    sources = {edge.target: edge.source for edge in reversed(group.pad_edges)}
    for op in group.ops:
        kind = op.chosen(schema.Op.core_op, schema.Op.nms_op, schema.Op.logits_op)
        if kind is schema.Op.core_op:
            continue
        taken = [_source(op, pad, sources, layers) for pad in op.input_pads]
        if not taken or len(op.output_pads) != 1:
            raise HefInvalid(f"operation {op.name!r} has no input, or not one output", op.offset)
        if kind is schema.Op.nms_op:
            output = _detections(op, taken, layers)
        elif kind is schema.Op.logits_op:
            output = _logits(op, taken)
        else:
            raise HefInvalid(f"operation {op.name!r} is of no known kind", op.offset, status=INTERNAL_FAILURE)
        streams = tuple(dict.fromkeys(stream.name for stream in taken))
        yield replace(output, network=f"{name}/{name}", streams=streams)


def _source(op: schema.Op, pad: schema.Pad, sources: Mapping[int, int], layers: Mapping[int, Layer]) -> Stream:
    layer = layers.get(sources.get(pad.index, -1))
    if layer is None:
        raise HefInvalid(f"pad {pad.index} of operation {op.name!r} is not connected to the core", pad.offset)
    return layer.streams[0]


def _detections(op: schema.Op, taken: Sequence[Stream], layers: Mapping[int, Layer]) -> VStream:
    nms = _nms(op)
    shape: Shape | None = None
    order = FormatOrder.HAILO_NMS_BY_CLASS
    if nms.architecture == "yolov5_seg":
        order = FormatOrder.HAILO_NMS_WITH_BYTE_MASK
    elif nms.boxes_only:
        order = FormatOrder.NHWC
        values = BOX_VALUES if nms.architecture == "yolov5" else BOX_EDGES
        shape = (1, _proposals(op, taken, layers), values + op.nms_op.classes)
    return VStream(
        name=op.output_pads[0].name,
        network="",
        direction="output",
        shape=shape,
        order=order,
        type=FormatType.FLOAT32,
        # Nothing is quantised any more; HailoRT says so by a scale of one.
        quantisation=Quantisation((0.0,), (1.0,)),
        nms=nms,
    )


def _nms(op: schema.Op) -> Nms:
    given, kinds = op.nms_op, schema.NmsOp
    common = Nms(
        where="host",
        architecture="iou",
        classes=given.classes - 1 if given.background_removal and given.classes else given.classes,
        max_per_class=given.max_per_class,
        max_total=given.max_per_class * given.classes,
        score_threshold=given.score_threshold,
        iou_threshold=given.iou_threshold,
        background_index=given.background_removal_index if given.background_removal else None,
    )
    chosen = given.chosen(kinds.yolov5, kinds.yolox, kinds.ssd, kinds.iou, kinds.yolov5_seg, kinds.yolov8)
    if chosen is kinds.yolov5:
        boxes_only = given.bbox_decoding_only
        return replace(common, architecture="yolov5", image=_image(op, given.yolov5), boxes_only=boxes_only)
    if chosen is kinds.yolov8:
        boxes_only = given.bbox_decoding_only
        return replace(common, architecture="yolov8", image=_image(op, given.yolov8), boxes_only=boxes_only)
    if chosen is kinds.yolox:
        return replace(common, architecture="yolox", image=_image(op, given.yolox))
    if chosen is kinds.ssd:
        return replace(common, architecture="ssd", image=_image(op, given.ssd))
    if chosen is kinds.yolov5_seg:
        height, width = _image(op, given.yolov5_seg)
        return replace(
            common,
            architecture="yolov5_seg",
            image=(height, width),
            mask_threshold=given.yolov5_seg.mask_threshold,
            max_mask_bytes=MASK_PICTURES * height * width,
        )
    if chosen is kinds.iou:
        return common
    raise HefInvalid(f"operation {op.name!r} is of no known meta-architecture", op.offset, status=INTERNAL_FAILURE)


def _image(op: schema.Op, part: schema.ImageOp) -> tuple[int, int]:
    """Height and width of the network's picture, which the file gives as real numbers."""
    for side in (part.image_height, part.image_width):
        if not math.isfinite(side) or not 0 <= side <= MAX_SIDE:
            raise HefInvalid(f"the picture of operation {op.name!r} has a side of {side}", part.offset)
    return int(part.image_height), int(part.image_width)


def _proposals(op: schema.Op, taken: Sequence[Stream], layers: Mapping[int, Layer]) -> int:
    """How many boxes the heads have together."""
    if not op.nms_op.has(schema.NmsOp.yolov5):
        # Each cell has one head for its box and one for its classes.
        return sum(stream.shape[0] * stream.shape[1] for stream in taken) // 2
    total = 0
    for decoder in op.nms_op.yolov5.decoders:
        if decoder.pad_index not in layers:
            raise HefInvalid(f"a box decoder of operation {op.name!r} reads from no output", decoder.offset)
        height, width, _ = layers[decoder.pad_index].streams[0].shape
        total += len(decoder.anchor_heights) * height * width
    return total


def _logits(op: schema.Op, taken: Sequence[Stream]) -> VStream:
    if len(taken) != 1:
        raise HefInvalid(f"operation {op.name!r} has {len(taken)} inputs instead of one", op.offset)
    source, pad = taken[0], op.output_pads[0]
    if op.logits_op.kind == schema.ARGMAX:
        order = FormatOrder.NC if source.order is FormatOrder.NC else FormatOrder.NHW
        kind, shape = source.type, (source.shape[0], source.shape[1], 1)
    elif op.logits_op.kind == schema.SOFTMAX:
        order = HOST_ORDERS.get(source.order, source.order)
        kind, shape = FormatType.FLOAT32, source.shape
    else:
        raise HefInvalid(f"operation {op.name!r} is of no known kind", op.offset, status=INTERNAL_FAILURE)
    return VStream(
        name=pad.name,
        network="",
        direction="output",
        shape=shape,
        order=_PAD_ORDERS.get(pad.format_order, order),
        type=_PAD_TYPES.get(pad.format_type, kind),
        quantisation=source.quantisation,
    )
