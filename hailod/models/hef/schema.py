"""The messages of a HEF's description, as far as they are read. Numbers are those of Hailo's `hef.proto`, 4.23 and 5.2;
where the two differ it is said."""

from __future__ import annotations

from hailod.models.hef.wire import (
    Message,
    double,
    doubles,
    flag,
    length,
    many,
    one,
    optional_uint,
    single,
    text,
    texts,
    uint,
    uint64,
    uints,
)


class SdkVersion(Message):
    major = uint(1)
    minor = uint(2)
    revision = uint(3)


class Header(Message):
    hw_arch = uint(1)
    timestamp = uint64(2)
    sdk_version_text = text(3)
    version = uint64(4)
    sdk_version = one(5, SdkVersion)  # 5.x


class IncludedFeatures(Message):
    """How descriptions of version 0 said what they use."""

    abbale = flag(1)
    posted_writes = flag(2)
    ddr = flag(3)
    is_multi_context = flag(4)
    compressed_params = flag(5)
    transpose_component = flag(6)
    padded_ddr_buffers = flag(7)


class Extension(Message):
    type_index = uint(1)
    name = text(2)


class ExternalResource(Message):
    offset = uint64(1)
    size = uint64(2)
    name = text(3)


class NumericInfo(Message):
    zero_point = single(1)
    scale = single(2)
    minimum = single(3)
    maximum = single(4)
    zero_points = doubles(5)
    scales = doubles(6)


class DefuseInfo(Message):
    class_group_index = uint64(1)
    original_name = text(3)


class NmsInfo(Message):
    """NMS on the neural core."""

    classes = uint64(2)
    max_output_size = uint64(3)
    bbox_size = uint64(4)
    is_defused = flag(5)
    defuse_info = one(6, DefuseInfo)
    input_division_factor = uint64(7)
    burst_size = uint(8)


class AdditionalInfo(Message):
    nms_info = one(1, NmsInfo)


class LayerBase(Message):
    height = uint(1)
    padded_height = uint(2)
    width = uint(3)
    padded_width = uint(4)
    features = uint(5)
    padded_features = uint(6)
    format = uint(7)
    sys_index = uint(8)
    core_buffers_per_frame = uint(10)
    additional_info = one(11, AdditionalInfo)
    data_bytes = uint(12)
    host_argmax = flag(14)
    max_shmifo_size = uint(15)


class LayerInfo(Message):
    name = text(1)
    base = one(2, LayerBase)
    numeric_info = one(3, NumericInfo)
    original_names = texts(5)
    transposed = flag(6)


class Edge(Message):
    """One of the tensors that a stream carries."""

    info = one(1, LayerInfo)
    mux = one(2, lambda span: LayerMux(span))  # noqa: PLW0108 -- not defined yet


class MuxData(Message):
    number_of_predecessors = uint(1)


class LayerMux(Message):
    """Several tensors in one stream."""

    name = text(1)
    base = one(2, LayerBase)
    mux_data = one(3, MuxData)
    predecessors = many(5, Edge)


class LayerPlanes(Message):
    """One picture in several streams."""

    name = text(1)
    planes_format = uint(2)
    planes = many(3, Edge)
    height = uint(4)
    width = uint(5)
    features = uint(6)


class SwitchInformation(Message):
    connection = uint(3)


class EdgeLayer(Message):
    direction = uint(1)
    kind = uint(2)
    info = one(3, LayerInfo)
    mux = one(4, LayerMux)
    switch = one(5, SwitchInformation)
    network_index = uint(6)
    pad_index = optional_uint(7)
    planes = one(8, LayerPlanes)


# EdgeLayer.direction, EdgeLayer.kind, SwitchInformation.connection
DEVICE_TO_HOST = 1
INFO, MUX, PLANES = 0, 1, 2
BOUNDARY, CACHE = 0, 3


class WriteDataCcw(Message):
    data_bytes = length(1)


class Action(Message):
    write_data_ccw = one(3, WriteDataCcw)


class Operation(Message):
    actions = many(2, Action)


class PreliminaryConfig(Message):
    operations = many(1, Operation)


class ContextMetadata(Message):
    edge_layers = many(2, EdgeLayer)
    sorted_outputs = texts(5)


class Context(Message):
    metadata = one(3, ContextMetadata)


class ContextOperations(Message):
    """A context once more, for what it writes to the chip."""

    operations = many(2, Operation)


class GroupMetadata(Message):
    name = text(1)
    transposed = flag(3)
    bottleneck_fps = double(4)


class FusedLayer(Message):
    info = one(1, LayerInfo)
    nms_info = one(3, NmsInfo)


class FusedLayers(Message):
    has_fused_layers = flag(1)
    sorted_outputs = texts(2)
    layers = many(3, FusedLayer)


class PhysicalLayout(Message):
    clusters = uint(1)


class CoreOp(Message):
    """What runs on the neural core. A network group has the same fields under the same numbers."""

    metadata = one(1, GroupMetadata)
    preliminary_config = one(2, PreliminaryConfig)
    contexts = many(3, Context)
    written = many(3, ContextOperations)
    sorted_outputs = texts(4)
    fused_layers = one(5, FusedLayers)
    network_names = texts(6)
    partials = many(7, lambda span: Partial(span))  # noqa: PLW0108 -- not defined yet


class Partial(Message):
    """The same for some of the chip's clusters."""

    core_op = one(1, CoreOp)
    layout = one(2, PhysicalLayout)


class ImageOp(Message):
    """What all meta-architectures but IoU have in common."""

    image_height = double(1)
    image_width = double(2)


class YoloBoxDecoder(Message):
    anchor_heights = uints(2)
    pad_index = uint(5)


class YoloOp(ImageOp):
    decoders = many(4, YoloBoxDecoder)


class YoloSegOp(ImageOp):
    mask_threshold = double(5)


class IouOp(Message):
    """Nothing but the suppression."""


class NmsOp(Message):
    score_threshold = double(1)
    iou_threshold = double(2)
    max_per_class = uint(3)
    classes = uint(4)
    background_removal = flag(5)
    background_removal_index = uint(6)
    yolov5 = one(7, YoloOp)
    yolox = one(8, ImageOp)
    ssd = one(9, ImageOp)
    iou = one(10, IouOp)
    yolov5_seg = one(11, YoloSegOp)
    yolov8 = one(12, ImageOp)
    bbox_decoding_only = flag(13)


class LogitsOp(Message):
    kind = uint(1)


ARGMAX, SOFTMAX = 0, 1


class Pad(Message):
    index = uint(1)
    name = text(2)
    format_order = uint(3)
    format_type = uint(8)


class Op(Message):
    name = text(1)
    input_pads = many(2, Pad)
    output_pads = many(3, Pad)
    core_op = one(4, CoreOp)
    nms_op = one(5, NmsOp)
    logits_op = one(6, LogitsOp)


class PadEdge(Message):
    source = uint(1)
    target = uint(2)


class NetworkGroup(CoreOp):
    """Descriptions without net flow have everything in the fields of `CoreOp`, others in the one core op of `ops`."""

    ops = many(8, Op)
    pad_edges = many(9, PadEdge)
    name = text(10)


class Description(Message):
    """The root."""

    header = one(1, Header)
    network_groups = many(2, NetworkGroup)
    included_features = one(4, IncludedFeatures)
    extensions = many(5, Extension)
    optional_extensions = many(6, Extension)
    external_resources = many(7, ExternalResource)
