"""What a HEF takes and gives: streams as the chip has them, vstreams as the host sees them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hailod.models.hef import FormatOrder, FormatType, HefInvalid, HefNotSupported, NetworkGroup, read_hef
from tests.support import hef_encoder as encoder
from tests.support.hef_encoder import (
    F8CR,
    FCR,
    HAILO8L,
    NC,
    NET_FLOW,
    NHCW,
    NHW,
    NHWC,
    NMS,
    PER_FEATURE,
    RGB888,
    YUY2,
    YYUV,
    CoreNms,
    File,
    Group,
    HostNms,
    Logits,
    Tensor,
    blob,
    describe,
    detector,
    encode_hef,
    message,
    number,
    sign,
    text,
)

PICTURE = Tensor("m/input_layer1", (32, 48, 3), original_names=("images",))
PLAIN = File()
HEAD = Tensor("m/conv1", (4, 6, 8), NHCW, scale=0.5, zero_point=3.0, limits=(-1.5, 126.0))

NC_HEAD = Tensor("m/fc1", (1, 1, 10), NC)
# What every operation below takes and gives, and a pad of the core that is connected to it.
IN, OUT, PAD = message(2, number(1, 1000)), message(3, text(2, "m/out")), 7


def group(*outputs: Tensor, file: File = PLAIN, **parts: object) -> NetworkGroup:
    """The network group that is read back, of a model with these outputs."""
    return read_hef(encode_hef(replace(Group("m", [PICTURE], outputs), **parts), file=file)).groups[0]


def tensor_edge(name: str, data_bytes: int = 1) -> bytes:
    """One of the tensors of a mux, or one of the planes of a picture."""
    return message(1, encoder.layer(Tensor(name, (4, 4, 4), data_bytes=data_bytes)))


def test_streams_and_vstreams_of_a_plain_model() -> None:
    """Names come from the file as they are; each vstream knows its stream, its network and its origin."""
    read = group(HEAD, bottleneck_fps=491.5)
    assert (read.name, read.networks, read.contexts, read.multi_context) == ("m", ("m/m",), 1, False)
    assert read.bottleneck_fps == 491.5
    (picture,), (head,) = read.input_vstreams, read.output_vstreams
    assert (picture.name, picture.network, picture.direction) == ("m/input_layer1", "m/m", "input")
    assert (picture.shape, picture.order, picture.type) == ((32, 48, 3), FormatOrder.NHWC, FormatType.UINT8)
    assert (picture.streams, picture.original_names) == (("m/input_layer1",), ("images",))
    assert (head.shape, head.order) == ((4, 6, 8), FormatOrder.NHWC)
    assert head.quantisation.single == (3.0, 0.5, -1.5, 126.0)
    assert [stream.order for stream in read.outputs] == [FormatOrder.NHCW]


@pytest.mark.parametrize(
    ("order", "chip", "host"),
    [
        (NHWC, FormatOrder.NHWC, FormatOrder.NHWC),
        (NHCW, FormatOrder.NHCW, FormatOrder.NHWC),
        (NC, FormatOrder.NC, FormatOrder.NC),
        (NHW, FormatOrder.NHW, FormatOrder.NHW),
        (FCR, FormatOrder.FCR, FormatOrder.FCR),
        (F8CR, FormatOrder.F8CR, FormatOrder.F8CR),
        (RGB888, FormatOrder.RGB888, FormatOrder.NHWC),
        (YUY2, FormatOrder.YUY2, FormatOrder.YUY2),
        (YYUV, FormatOrder.HAILO_YYUV, FormatOrder.NV12),
    ],
)
def test_orders_on_the_chip_and_on_the_host(order: int, chip: FormatOrder, host: FormatOrder) -> None:
    """The compiler's number for a layout becomes HailoRT's, and the default that HailoRT shows the host."""
    read = group(replace(HEAD, order=order))
    assert (read.outputs[0].order, read.output_vstreams[0].order) == (chip, host)


def test_types_follow_from_the_bytes_of_an_element() -> None:
    """One byte is UINT8, two are UINT16, and nothing else exists."""
    assert group(replace(HEAD, data_bytes=2)).output_vstreams[0].type is FormatType.UINT16
    with pytest.raises(HefInvalid, match="4 bytes") as caught:
        group(replace(HEAD, data_bytes=4))
    assert caught.value.status == 2


def test_padding_travels_unless_the_chip_cuts_it_off() -> None:
    """Frames on the bus have the padded shape in whole words, but for NHCW rows of whole words that fit a buffer."""
    padded = replace(HEAD, padded=(4, 8, 8))
    assert [(s.padded_shape, s.frame_bytes) for s in group(padded).outputs] == [((4, 6, 8), 192)]
    assert [(s.padded_shape, s.frame_bytes) for s in group(replace(padded, order=FCR)).outputs] == [((4, 8, 8), 256)]
    uneven = replace(padded, shape=(3, 3, 3), padded=(3, 3, 3), order=NHWC)
    assert group(uneven).outputs[0].frame_bytes == 32


def test_transposed_layers_are_turned() -> None:
    """Height and width of a transposed layer are exchanged for the host, and it says so."""
    turned = group(replace(HEAD, transposed=True)).output_vstreams[0]
    assert (turned.shape, turned.transposed) == ((6, 4, 8), True)
    assert not group(replace(HEAD, order=NC, transposed=True)).output_vstreams[0].transposed


def test_outputs_quantised_by_feature_keep_all_pairs() -> None:
    """A scale for each feature is kept, and what HailoRT shows as the one pair of the stream is zero."""
    tensor = replace(HEAD, shape=(4, 4, 3), scales=(0.5, 0.25, 0.125), zero_points=(1.0, 2.0, 3.0))
    quantisation = group(tensor).output_vstreams[0].quantisation
    assert (quantisation.scale, quantisation.zero_point) == ((0.5, 0.25, 0.125), (1.0, 2.0, 3.0))
    assert quantisation.single == (0.0, 0.0, 0.0, 0.0)
    with pytest.raises(HefInvalid, match="3 scales"):
        group(replace(tensor, shape=(4, 4, 5)))


def test_inputs_are_not_quantised_by_feature() -> None:
    """Lists of equal scales of an input are one pair; different ones are refused."""
    equal = replace(PICTURE, scales=(0.5,) * 3, zero_points=(1.0,) * 3, scale=0.5, zero_point=1.0)
    assert read_hef(encode_hef(Group("m", [equal], [NC_HEAD]))).groups[0].inputs[0].quantisation.scale == (0.5,)
    with pytest.raises(HefInvalid, match="by feature"):
        read_hef(encode_hef(Group("m", [replace(equal, scales=(0.5, 0.5, 0.25))], [NC_HEAD])))


def test_detector_has_one_output_of_detections() -> None:
    """NMS on the host replaces the heads by one vstream: by class, float32, with all that is known of it."""
    read = read_hef(encode_hef(detector())).groups[0]
    assert len(read.outputs) == 6
    (output,) = read.output_vstreams
    assert (output.name, output.shape) == ("yolov8s/yolov8_nms_postprocess", None)
    assert (output.order, output.type) == (FormatOrder.HAILO_NMS_BY_CLASS, FormatType.FLOAT32)
    assert output.quantisation.single == (0.0, 1.0, 0.0, 0.0)
    assert set(output.streams) == {stream.name for stream in read.outputs}
    nms = output.nms
    assert nms is not None
    assert (nms.where, nms.architecture, nms.image) == ("host", "yolov8", (640, 640))
    assert (nms.classes, nms.max_per_class, nms.max_total) == (80, 100, 8000)
    assert (nms.score_threshold, nms.iou_threshold, nms.boxes_only) == (0.2, 0.7, False)


@pytest.mark.parametrize("architecture", ["yolov5", "yolox", "ssd", "iou", "yolov5_seg", "yolov8"])
def test_every_meta_architecture_is_named(architecture: str) -> None:
    """Each kind of NMS on the host is told from the others, and only IoU knows no picture."""
    nms = group(HEAD, operations=[HostNms("m/nms", architecture)]).output_vstreams[0].nms
    assert nms is not None
    assert nms.architecture == architecture
    assert nms.image == (None if architecture == "iou" else (640, 640))


def test_segmentation_gives_masks() -> None:
    """YOLOv5 with masks has their order, their threshold, and room for two pictures of them."""
    output = group(HEAD, operations=[HostNms("m/seg", "yolov5_seg", image=(320, 640))]).output_vstreams[0]
    assert output.order is FormatOrder.HAILO_NMS_WITH_BYTE_MASK
    assert output.nms is not None
    assert (output.nms.mask_threshold, output.nms.max_mask_bytes) == (0.5, 2 * 320 * 640)


def test_removed_background_is_no_class() -> None:
    """A background class that is removed is not among those that are reported, yet room is made for it."""
    nms = group(HEAD, operations=[HostNms("m/nms", "ssd", 91, background=0)]).output_vstreams[0].nms
    assert nms is not None
    assert (nms.classes, nms.background_index, nms.max_total) == (90, 0, 9100)


@pytest.mark.parametrize(("architecture", "shape"), [("yolov8", (1, 24, 84)), ("yolov5", (1, 72, 85))])
def test_decoded_boxes_without_suppression_are_a_tensor(architecture: str, shape: tuple[int, int, int]) -> None:
    """Boxes that are only decoded come as one tensor: all boxes of all heads, each with edges and classes."""
    heads = [HEAD, replace(HEAD, name="m/conv2")] if architecture == "yolov8" else [HEAD]
    nms = HostNms("m/boxes", architecture, boxes_only=True, anchors=3)
    output = group(*heads, operations=[nms]).output_vstreams[0]
    assert (output.shape, output.order, output.type) == (shape, FormatOrder.NHWC, FormatType.FLOAT32)


def test_softmax_and_argmax_on_the_host() -> None:
    """Softmax keeps the shape in float32; argmax leaves one feature in the type of its input."""
    logits = replace(HEAD, name="m/fc1")
    softmax = group(logits, operations=[Logits("m/softmax1", "m/fc1", 1)]).output_vstreams[0]
    assert (softmax.shape, softmax.order, softmax.type) == ((4, 6, 8), FormatOrder.NHWC, FormatType.FLOAT32)
    argmax = group(logits, operations=[Logits("m/argmax1", "m/fc1", 0)]).output_vstreams[0]
    assert (argmax.shape, argmax.order, argmax.type) == ((4, 6, 1), FormatOrder.NHW, FormatType.UINT8)
    assert argmax.quantisation == softmax.quantisation


def test_nms_on_the_core() -> None:
    """Detections from the core are by class on the host; chunks multiply what may be found; thresholds are unknown."""
    core = Tensor("m/nms", (0, 0, 0), NMS, 2, core_nms=CoreNms(80, 20, chunks=4, burst_size=21))
    read = group(core)
    (output,) = read.output_vstreams
    assert (output.order, output.shape) == (FormatOrder.HAILO_NMS_BY_CLASS, None)
    assert output.nms is not None
    assert (output.nms.where, output.nms.max_per_class, output.nms.max_total) == ("core", 80, 6400)
    assert output.nms.score_threshold is None
    assert read.outputs[0].order is FormatOrder.HAILO_NMS_ON_CHIP
    assert read.outputs[0].shape == (80, 5, 80)
    # 80 classes of 8 bytes and 21 boxes of 10, four times, and one burst more.
    assert read.outputs[0].frame_bytes == 4 * 80 * (8 + 210) + 210


def test_split_detections_are_one_vstream() -> None:
    """Parts of the detections in several streams are one output, under the name of the whole."""
    parts = [Tensor(f"m/nms_{n}", (0, 0, 0), NMS, 2, core_nms=CoreNms(20, 20, part_of="m/nms")) for n in range(2)]
    fused = [("m/nms", CoreNms(40, 20))]
    read = group(*parts, fused=fused, sorted_outputs=["m/nms"])
    (output,) = read.output_vstreams
    assert (output.name, output.streams) == ("m/nms", ("m/nms_0", "m/nms_1"))
    assert output.nms is not None
    assert output.nms.classes == 40
    with pytest.raises(HefInvalid, match="not there"):
        group(*parts, fused=[("m/other", CoreNms(40, 20))], sorted_outputs=["m/nms"])


def test_outputs_come_in_the_order_of_the_file() -> None:
    """Output vstreams are sorted as the file says, which must name them all."""
    two = [HEAD, replace(HEAD, name="m/conv2")]
    read = group(*two, sorted_outputs=["m/conv2", "m/conv1"])
    assert [vstream.name for vstream in read.output_vstreams] == ["m/conv2", "m/conv1"]
    assert read.sorted_outputs == ("m/conv2", "m/conv1")
    with pytest.raises(HefInvalid, match="m/conv2") as caught:
        group(*two, sorted_outputs=["m/conv1"])
    assert caught.value.status == 8
    with pytest.raises(HefInvalid, match="order"):
        group(*two, sorted_outputs=[])


def test_contexts_are_counted_and_their_layers_joined() -> None:
    """Inputs and outputs of all contexts are the group's; what passes between contexts is nobody's."""
    read = group(HEAD, replace(HEAD, name="m/conv2", context=2), contexts=3)
    assert (read.contexts, read.multi_context) == (3, True)
    assert [stream.name for stream in read.outputs] == ["m/conv1", "m/conv2"]


@pytest.mark.parametrize("operations", [[], [HostNms("m/nms")]], ids=["of old", "net flow"])
def test_layouts_are_one_network(operations: list[HostNms]) -> None:
    """A network that is laid out for several sets of clusters, as for Hailo-8L, is read from one of them."""
    parts = {"layouts": (3, 12), "contexts": 2, "operations": operations, "bottleneck_fps": 64.0}
    read = group(HEAD, file=File(hw_arch=HAILO8L), **parts)
    assert (read.name, read.layouts, read.contexts, read.bottleneck_fps) == ("m", (3, 12), 2, 64.0)
    assert [vstream.name for vstream in read.output_vstreams] == ["m/nms" if operations else "m/conv1"]


def test_several_groups_and_networks() -> None:
    """Each network group is read, and each layer belongs to its network."""
    first = Group("m", [PICTURE], [HEAD, replace(HEAD, name="m/conv2", network=1)], networks=["a", "b"])
    second = Group("n", [PICTURE], [HEAD], networks=["c"])
    hef = read_hef(encode_hef(first, second))
    assert [each.networks for each in hef.groups] == [("m/a", "m/b"), ("n/c",)]
    assert [stream.network for stream in hef.groups[0].outputs] == ["m/a", "m/b"]
    with pytest.raises(HefInvalid, match="network 1"):
        read_hef(encode_hef(replace(second, outputs=[replace(HEAD, network=1)])))


def test_several_tensors_in_one_stream() -> None:
    """A mux is one stream of several vstreams, muxes within it included."""
    inner = message(2, text(1, "m/mux2") + message(3, number(1, 1)) + message(5, tensor_edge("m/conv3")))
    mux = text(1, "m/mux1") + message(2, number(2, 4) + number(4, 4) + number(6, 4) + number(12, 1))
    mux += message(3, number(1, 2)) + message(5, tensor_edge("m/conv2")) + message(5, inner)
    read = _with_edge(number(1, 1) + number(2, 1) + message(4, mux), ["m/conv3", "m/conv2"])
    assert [(stream.name, stream.is_mux, stream.frame_bytes) for stream in read.outputs] == [("m/mux1", True, 64)]
    assert [(v.name, v.streams) for v in read.output_vstreams] == [
        ("m/conv3", ("m/mux1",)),
        ("m/conv2", ("m/mux1",)),
    ]


def test_one_picture_in_several_streams() -> None:
    """Planes are streams of their own; the host sees one picture, in the order of its planes."""
    planes = text(1, "m/picture") + number(2, 0) + number(4, 32) + number(5, 48) + number(6, 3)
    planes += message(3, tensor_edge("m/y")) + message(3, tensor_edge("m/uv"))
    read = _with_edge(number(2, 2) + message(8, planes), ["m/picture"])
    assert [stream.name for stream in read.inputs] == ["m/y", "m/uv"]
    (picture,) = read.input_vstreams
    assert (picture.name, picture.order, picture.shape) == ("m/picture", FormatOrder.NV12, (32, 48, 3))
    assert picture.streams == ("m/y", "m/uv")


@pytest.mark.parametrize(
    ("edge", "complaint", "status"),
    [
        (number(2, 9), "kind 9", 8),
        (message(5, number(3, 4)), "way 4", 26),
        (message(3, text(1, "a" * 128)), "longer than 127", 8),
        (message(3, message(2, number(7, 9) + number(12, 1))), "format 9", 8),
        (number(2, 1) + message(4, message(2, number(12, 1)) + message(3, number(1, 2))), "says 2", 26),
        (number(2, 2) + message(8, number(2, 3)), "format 3", 26),
        (number(2, 2) + message(8, number(2, 1)), "no planes", 8),
        (
            number(2, 2) + message(8, message(3, tensor_edge("m/y")) + message(3, tensor_edge("m/uv", 2))),
            "several types",
            26,
        ),
        (
            number(2, 1) + message(4, message(2, number(12, 1)) + message(3, number(1, 1)) + message(5, b"")),
            "of no kind",
            8,
        ),
    ],
)
def test_layers_that_cannot_be(edge: bytes, complaint: str, status: int) -> None:
    """Layers of unknown kind, connection or format are invalid, with the status that HailoRT gives."""
    with pytest.raises(HefInvalid, match=complaint) as caught:
        _with_edge(edge, ["m/a"])
    assert caught.value.status == status


def test_argmax_of_old_is_not_supported() -> None:
    """A layer that leaves its argmax to the host in the old way is not supported (92)."""
    with pytest.raises(HefNotSupported, match="argmax"):
        _with_edge(message(3, message(2, number(12, 1) + number(14, 1))), ["m/a"])


def test_layer_names_are_unique() -> None:
    """Two layers of one name are invalid."""
    with pytest.raises(HefInvalid, match="m/conv1"):
        group(HEAD, HEAD)


def test_operations_need_their_inputs() -> None:
    """An operation that is not connected to the core, is of no kind, or has no picture, is invalid."""
    whole = describe(replace(Group("m", [PICTURE], [HEAD]), operations=[HostNms("m/nms", image=(1 << 20, 640))]))
    with pytest.raises(HefInvalid, match="side"):
        read_hef(sign(whole))
    loose = Group("m", [PICTURE], [HEAD], [HostNms("m/nms")])
    edges = encoder.message(9, number(1, 1) + number(2, 1000))
    data = describe(loose)
    assert edges in data
    with pytest.raises(HefInvalid, match="not connected"):
        read_hef(sign(data.replace(edges, encoder.message(9, number(1, 7) + number(2, 1000)))))


@pytest.mark.parametrize(
    ("op", "complaint", "status"),
    [
        (OUT + message(5, message(10, b"")), "no input", 26),
        (IN + message(5, message(10, b"")), "no input, or not one output", 26),
        (IN + OUT, "no known kind", 8),
        (IN + OUT + message(5, b""), "meta-architecture", 8),
        (IN + OUT + message(6, number(1, 2)), "no known kind", 8),
        (IN + IN + OUT + message(6, b""), "2 inputs", 26),
        (IN + OUT + message(5, message(7, message(4, number(5, 77))) + number(13, 1)), "reads from no output", 26),
    ],
)
def test_operations_that_cannot_be(op: bytes, complaint: str, status: int) -> None:
    """Operations without input or output, or of unknown kind, are invalid, with the status that HailoRT gives."""
    with pytest.raises(HefInvalid, match=complaint) as caught:
        _with_operation(op)
    assert caught.value.status == status


def test_warning_of_nms_on_the_core_in_several_contexts() -> None:
    """What is undefined on the device is said, and only where it is so."""
    core = Tensor("m/nms", (0, 0, 0), NMS, 2, core_nms=CoreNms(80, 20))
    several = read_hef(encode_hef(Group("m", [PICTURE], [core], contexts=2)))
    one = read_hef(encode_hef(Group("m", [PICTURE], [core])))
    assert [w for w in several.warnings if "undefined" in w]
    assert not [w for w in one.warnings if "undefined" in w]


def test_resources_are_listed() -> None:
    """Files within the file are named with their size."""
    hef = read_hef(encode_hef(detector(size=64), file=File(resources=[("tokenizer.json", 1000)])))
    assert [(each.name, each.size) for each in hef.resources] == [("tokenizer.json", 1000)]


def test_configuration_of_version_0_is_counted() -> None:
    """What version 0 writes to the chip lies in pieces in its description, which are added up."""
    group0 = Group("m", [PICTURE], [HEAD], written=bytes(1000))
    assert read_hef(encode_hef(group0, file=File(version=0))).sizes.configuration == 1000


def test_lists_that_are_left_out() -> None:
    """Compilers of 5.x leave out one of the lists by feature where all its entries are equal."""
    numeric = encoder.single(1, 7.0) + blob(6, b"".join(encoder.double(1, s)[1:] for s in (0.5, 0.25)))
    base = b"".join(number(key, value) for key, value in ((1, 4), (2, 4), (3, 4), (4, 4), (5, 2), (6, 2), (12, 1)))
    edge = number(1, 1) + message(3, text(1, "m/a") + message(2, base) + message(3, numeric))
    quantisation = _with_edge(edge, ["m/a"], extensions=(PER_FEATURE,)).outputs[0].quantisation
    assert (quantisation.zero_point, quantisation.scale) == ((7.0, 7.0), (0.5, 0.25))


@pytest.mark.parametrize(
    ("group_message", "extensions", "complaint"),
    [(message(8, text(1, "m")), (NET_FLOW,), "nothing that runs"), (text(10, "m"), (), "no context")],
)
def test_groups_that_cannot_be(group_message: bytes, extensions: tuple[int, ...], complaint: str) -> None:
    """A network group without a core op, or without a context, is invalid."""
    with pytest.raises(HefInvalid, match=complaint):
        read_hef(sign(describe(file=File(extensions=extensions)) + message(2, group_message)))


def _with_edge(edge: bytes, order: list[str], extensions: tuple[int, ...] = ()) -> NetworkGroup:
    """The group of a file in which this edge layer is the only one."""
    context = message(3, message(3, message(2, edge)))
    names = b"".join(text(4, name) for name in order)
    whole = describe(file=File(extensions=extensions)) + message(2, message(1, text(1, "m")) + context + names)
    return read_hef(sign(whole)).groups[0]


def _with_operation(op: bytes) -> NetworkGroup:
    """The group of a file whose core has one output, which this operation takes."""
    edge = number(1, 1) + message(3, encoder.layer(HEAD)) + number(7, PAD)
    core = message(1, text(1, "m")) + message(3, message(3, message(2, edge)))
    whole = message(1, text(1, "m")) + text(4, "m/out") + message(8, message(4, core)) + message(8, op)
    edges = message(9, number(1, PAD) + number(2, 1000))
    return read_hef(sign(describe(file=File(extensions=(NET_FLOW,))) + message(2, whole + edges))).groups[0]
