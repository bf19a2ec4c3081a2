"""What HEF objects say of real model files, and how files fail that are none."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import hef_encoder as encoder
from tests.support.hef_encoder import File, Group, HostNms, Tensor, encode_hef
from tests.support.simulated import Bench, Open, run_python, status_of

CLASSIFIER = Group(
    "resnet",
    [Tensor("resnet/input_layer1", (4, 6, 3), original_names=("data",))],
    [
        Tensor(
            "resnet/fc1", (1, 1, 5), encoder.NC, data_bytes=2, scale=0.5, zero_point=3.0, original_names=("logits", "y")
        )
    ],
    bottleneck_fps=250.0,
)
PLAIN = File()
DETECTOR = encoder.detector(name="yolov8s", size=64, classes=3, max_per_class=4)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a HEF of these groups."""

    def write_hef(*groups: Group, file: File = PLAIN, name: str = "model.hef") -> Path:
        path = tmp_path / name
        path.write_bytes(encode_hef(*groups, file=file))
        return path

    return write_hef


Write = Callable[..., Path]


def refused(bench: Bench, source: str | bytes) -> int:
    """The status with which a HEF fails, and that it fails so for create_infer_model too."""
    with pytest.raises(bench.hailo.HailoRTException) as caught:
        bench.hailo.HEF(source)
    with pytest.raises(bench.hailo.HailoRTException) as again:
        bench.vdevice.create_infer_model(source)
    assert status_of(again.value) == status_of(caught.value)
    assert type(caught.value) is bench.hailo.HailoRTException
    return status_of(caught.value)


def test_files_that_are_no_hef(opened: Open, tmp_path: Path) -> None:
    """Missing 13; empty, short or a directory 14; another magic or version 92; never HailoRTInvalidHEFException."""
    bench = opened()
    whole = encode_hef(CLASSIFIER)
    contents = {
        "empty": b"",
        "short": whole[:11],
        "noise": bytes(range(100)),
        "version": whole[:7] + b"\x09" + whole[8:],
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    assert refused(bench, "/nonexistent.hef") == 13
    assert refused(bench, str(tmp_path)) == 14
    assert [refused(bench, str(tmp_path / name)) for name in contents] == [14, 14, 92, 92]


@pytest.mark.parametrize("version", [0, 1, 2, 3])
def test_damaged_files_are_corrupted(opened: Open, tmp_path: Path, version: int) -> None:
    """A HEF cut off or with a bit flipped is refused with 91, from a file as from memory."""
    bench = opened()
    whole = encode_hef(CLASSIFIER, file=File(version=version, configuration=b"" if version == 0 else b"weights"))
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 4
    for damaged in (whole[:-3], bytes(flipped)):
        path = tmp_path / "damaged.hef"
        path.write_bytes(damaged)
        assert refused(bench, str(path)) == 91
        assert refused(bench, damaged) == 91


def test_bytes_that_are_no_hef(opened: Open) -> None:
    """From memory too little is corrupted, 91, and something else is not supported, 92."""
    bench = opened()
    assert refused(bench, b"too short for a header") == 91
    assert refused(bench, bytes(range(200))) == 92


def test_empty_bytes_crash_the_process() -> None:
    """HEF(b'') is a segmentation fault, in the simulated library as in the real one."""
    ended = run_python("hailo_platform.HEF(b'')", serial=f"crash-{os.getpid()}")
    assert ended.returncode == -signal.SIGSEGV


@pytest.mark.parametrize("source", [None, Path("model.hef"), bytearray(100)], ids=["None", "Path", "bytearray"])
def test_anything_but_str_and_bytes_is_a_value_error(opened: Open, source: Any) -> None:
    """A path object is refused like anything else that is neither."""
    with pytest.raises(ValueError, match="file path"):
        opened().hailo.HEF(source)


def test_a_hef_tells_its_names(opened: Open, write: Write) -> None:
    """Groups, networks, streams, layers and speed come from the file; where no group is named the first is meant."""
    bench = opened()
    path = str(write(CLASSIFIER))
    hef = bench.hailo.HEF(path)
    assert hef.path == path
    assert hef.get_network_group_names() == ["resnet"]
    assert [(info.name, info.is_multi_context) for info in hef.get_network_groups_infos()] == [("resnet", False)]
    assert hef.get_networks_names() == hef.get_networks_names("resnet") == ["resnet/resnet"]
    assert hef.get_sorted_output_names() == ["resnet/fc1"]
    assert hef.bottleneck_fps() == 250.0
    assert hef.get_vstream_name_from_original_name("y") == "resnet/fc1"
    assert hef.get_original_names_from_vstream_name("resnet/fc1") == ["logits", "y"]
    assert hef.get_stream_names_from_vstream_name("resnet/fc1") == ["resnet/fc1"]
    assert hef.get_vstream_names_from_stream_name("resnet/input_layer1") == ["resnet/input_layer1"]
    assert hef._get_external_resources() == {}
    with pytest.raises(bench.hailo.HailoRTException, match="79"):
        hef.get_udp_rates_dict(10, 1e6)


def test_unknown_names(opened: Open, write: Write) -> None:
    """Wrapped questions raise HailoRTNotFoundException; those for stream infos leak the native exception."""
    bench = opened()
    hef = bench.hailo.HEF(str(write(CLASSIFIER)))
    for ask in (
        hef.get_networks_names,
        hef.get_sorted_output_names,
        hef.bottleneck_fps,
        hef.get_vstream_name_from_original_name,
        hef.get_original_names_from_vstream_name,
        hef.get_stream_names_from_vstream_name,
        hef.get_vstream_names_from_stream_name,
    ):
        with pytest.raises(bench.python.HailoRTNotFoundException):
            ask("nope")
    with pytest.raises(bench.native.HailoRTStatusException, match=r"^61$"):
        hef.get_all_vstream_infos("nope")


def test_a_speed_of_zero_is_an_exception(opened: Open, write: Write) -> None:
    """bottleneck_fps() says so when the file does not tell."""
    bench = opened()
    slow = Group("slow", CLASSIFIER.inputs, CLASSIFIER.outputs, bottleneck_fps=0.0)
    with pytest.raises(bench.hailo.HailoRTException, match="bottleneck_fps is zero"):
        bench.hailo.HEF(str(write(slow))).bottleneck_fps()


def test_vstream_infos(opened: Open, write: Write) -> None:
    """A tensor tells name, network, direction, format, shape and quantisation; only NMS has an nms_shape."""
    bench = opened()
    hef = bench.hailo.HEF(str(write(CLASSIFIER)))
    picture, logits = hef.get_all_vstream_infos()
    assert [info.name for info in hef.get_input_vstream_infos("resnet/resnet")] == ["resnet/input_layer1"]
    assert (picture.network_name, picture.shape) == ("resnet/resnet", (4, 6, 3))
    assert picture.direction == bench.hailo.HailoStreamDirection.H2D
    assert (picture.format.type, picture.format.order) == (
        bench.hailo.FormatType.UINT8,
        bench.hailo.FormatOrder.NHWC,
    )
    assert (logits.shape, logits.format.type, logits.format.order) == (
        (5,),
        bench.hailo.FormatType.UINT16,
        bench.hailo.FormatOrder.NC,
    )
    assert (logits.quant_info.qp_zp, logits.quant_info.qp_scale) == (3.0, 0.5)
    with pytest.raises(bench.native.HailoRTCustomException):
        _ = logits.nms_shape


def test_nms_infos(opened: Open, write: Write) -> None:
    """A detector's output is float32 by class with limits; the streams below it are its raw heads."""
    bench = opened()
    hef = bench.hailo.HEF(str(write(DETECTOR)))
    (output,) = hef.get_output_vstream_infos()
    assert output.name == "yolov8s/yolov8_nms_postprocess"
    assert output.shape == (3, 5, 4)
    assert (output.nms_shape.number_of_classes, output.nms_shape.max_bboxes_per_class) == (3, 4)
    assert (output.format.type, output.format.order) == (
        bench.hailo.FormatType.FLOAT32,
        bench.hailo.FormatOrder.HAILO_NMS_BY_CLASS,
    )
    assert len(hef.get_output_stream_infos()) == 6
    assert hef.get_stream_names_from_vstream_name(output.name) == [info.name for info in hef.get_output_stream_infos()]


def test_by_score_has_no_shape(opened: Open) -> None:
    """A vstream whose detections come by score has limits and no shape."""
    bench = opened(outputs="nms_by_score")
    (output,) = bench.hailo.HEF(str(bench.path)).get_output_vstream_infos()
    assert output.nms_shape.number_of_classes == 3
    with pytest.raises(bench.native.HailoRTCustomException, match="Format order has no shape"):
        _ = output.shape


def test_an_onnx_or_scripted_model_answers_like_a_hef(opened: Open) -> None:
    """A file that stands in for a HEF has the same answers, named after itself."""
    bench = opened(frame_ms=4.0)
    hef = bench.hailo.HEF(str(bench.path))
    assert hef.get_network_group_names() == ["tiny"]
    assert hef.get_networks_names() == ["tiny/tiny"]
    assert hef.bottleneck_fps() == pytest.approx(250.0)
    assert hef.get_sorted_output_names() == ["tiny/nms_postprocess"]
    assert [info.name for info in hef.get_input_stream_infos()] == ["tiny/input_layer1"]
    assert hef.get_vstream_names_from_stream_name("tiny/input_layer1") == ["tiny/input_layer1"]


def test_several_contexts(opened: Open, write: Write) -> None:
    """is_multi_context is what the file says of its contexts."""
    group = Group("large", CLASSIFIER.inputs, CLASSIFIER.outputs, contexts=3)
    (info,) = opened().hailo.HEF(str(write(group))).get_network_groups_infos()
    assert info.is_multi_context


def test_several_network_groups(opened: Open, write: Write) -> None:
    """Without a name configure() fails with 2; a group's name chooses it; a network's is not implemented, 7."""
    bench = opened()
    other = Group("other", [Tensor("other/in", (4, 4, 3))], [Tensor("other/out", (2, 2, 1))])
    path = str(write(CLASSIFIER, other))
    assert bench.hailo.HEF(path).get_network_group_names() == ["resnet", "other"]
    with pytest.raises(bench.python.HailoRTInvalidArgumentException):
        bench.vdevice.create_infer_model(path).configure()
    with pytest.raises(bench.hailo.HailoRTException) as caught:
        bench.vdevice.create_infer_model(path, "other/other")
    assert status_of(caught.value) == 7
    with pytest.raises(bench.python.HailoRTNotFoundException):
        bench.vdevice.create_infer_model(path, "nope")
    bench.infer_model = bench.vdevice.create_infer_model(path, "other")
    bench.configure()
    assert bench.results().shape == (2, 2, 1)


@pytest.mark.parametrize(
    ("compiled_for", "chip", "runs"),
    [
        (encoder.HAILO8, "hailo8", True),
        (encoder.HAILO8L, "hailo8l", True),
        (encoder.HAILO8L, "hailo8", True),
        (encoder.HAILO8, "hailo8l", False),
        (encoder.HAILO15H, "hailo8", False),
    ],
)
def test_the_chip_is_checked_at_configure(opened: Open, write: Write, compiled_for: int, chip: str, runs: bool) -> None:
    """A HEF for another chip opens, and configure() refuses it with 93; a smaller chip's runs on the larger one."""
    bench = opened(arch=chip)
    bench.infer_model = bench.vdevice.create_infer_model(str(write(CLASSIFIER, file=File(hw_arch=compiled_for))))
    if runs:
        bench.configure()
        return
    with pytest.raises(bench.python.HailoRTHEFNotCompatibleWithDevice) as caught:
        bench.infer_model.configure()
    assert status_of(caught.value) == 93


def test_several_outputs_need_their_names(opened: Open, write: Write) -> None:
    """Without a name the one output of several is an invalid operation, for models as for bindings."""
    outputs = [Tensor("two/a", (2, 2, 1)), Tensor("two/b", (3, 3, 2))]
    bench = opened(model=write(Group("two", [Tensor("two/in", (4, 4, 3))], outputs)))
    assert bench.infer_model.output_names == ["two/a", "two/b"]
    with pytest.raises(bench.python.HailoRTInvalidOperationException):
        bench.infer_model.output()
    bindings = bench.bindings()
    with pytest.raises(bench.python.HailoRTInvalidOperationException):
        bindings.output()
    bench.run(bindings).wait(1000)
    assert [bindings.output(name).get_buffer().shape for name in ("two/a", "two/b")] == [(2, 2, 1), (3, 3, 2)]


def test_several_inputs(opened: Open, write: Write) -> None:
    """Every input has its buffer, and one that lacks it is not found at run_async."""
    inputs = [Tensor("both/x", (2, 2, 3)), Tensor("both/y", (4, 4, 1))]
    bench = opened(model=write(Group("both", inputs, [Tensor("both/out", (2, 2, 1))])))
    bench.run().wait(1000)
    assert bench.ended == [None]
    bindings = bench.configured.create_bindings({"both/x": np.zeros((2, 2, 3), np.uint8)})
    bindings.output().set_buffer(np.zeros((2, 2, 1), np.uint8))
    with pytest.raises(bench.python.HailoRTNotFoundException):
        bench.run(bindings)


def test_thresholds_of_an_output_without_nms(opened: Open, write: Write) -> None:
    """They are taken, and configure() refuses them as an invalid argument."""
    bench = opened(model=write(CLASSIFIER))
    assert [type(info).__name__ for info in bench.infer_model.output().quant_infos] == ["QuantInfo"]
    assert not bench.infer_model.output().is_nms
    bench.infer_model.output().set_nms_iou_threshold(0.5)
    with pytest.raises(bench.python.HailoRTInvalidArgumentException):
        bench.infer_model.configure()


def test_the_file_is_read_again_for_its_limits(opened: Open, write: Write) -> None:
    """The first create_bindings of a model with NMS opens the HEF anew, by the path that it had."""
    path = write(DETECTOR)
    bench = opened(model=path)
    path.unlink()
    with pytest.raises(bench.hailo.HailoRTException) as caught:
        bench.configured.create_bindings()
    assert status_of(caught.value) == 13


def test_a_model_from_memory(opened: Open) -> None:
    """create_infer_model takes the bytes of a HEF, and no HEF object."""
    bench = opened()
    content = encode_hef(DETECTOR)
    bench.infer_model = bench.vdevice.create_infer_model(content)
    bench.configure()
    assert len(bench.results()) == 3
    assert bench.infer_model.hef.path is None
    with pytest.raises(TypeError):
        bench.vdevice.create_infer_model(bench.hailo.HEF(content))


def test_raw_outputs_are_valid_and_repeatable(opened: Open, write: Write) -> None:
    """A HEF's raw outputs are numbers of its types, other ones each frame and the same ones each run."""
    bench = opened(model=write(CLASSIFIER))
    first, second = bench.results().copy(), bench.results().copy()
    assert (first.dtype.name, first.shape) == ("uint16", (5,))
    assert (first != second).any()
    bench.configure()
    assert bench.results().tolist() == first.tolist()
    bench.infer_model.output().set_format_type(bench.hailo.FormatType.FLOAT32)
    bench.configure()
    assert bench.results().tolist() == ((first.astype(np.float32) - 3.0) * np.float32(0.5)).tolist()


def test_fcr_is_another_name_for_nhwc_on_the_host(opened: Open, write: Write) -> None:
    """Raw heads keep the device's name FCR, and may be asked for as NHWC: the bytes are the same."""
    heads = Group("heads", CLASSIFIER.inputs, [Tensor("heads/conv1", (2, 3, 5), encoder.FCR)])
    bench = opened(model=write(heads))
    (info,) = bench.infer_model.hef.get_output_vstream_infos()
    assert (info.format.order.name, info.shape) == ("FCR", (2, 3, 5))
    first = bench.results().copy()
    bench.infer_model.output().set_format_order(bench.hailo.FormatOrder.NHWC)
    bench.configure()
    assert bench.results().tolist() == first.tolist()


def test_a_quantisation_for_each_feature(opened: Open, write: Write) -> None:
    """It is not in the one quant_info, whose values are all zero; floats are dequantised by it all the same."""
    output = Tensor("feat/conv1", (2, 2, 2), encoder.NHWC, zero_points=(1.0, 2.0), scales=(0.5, 0.25))
    bench = opened(model=write(Group("feat", CLASSIFIER.inputs, [output])))
    (info,) = bench.infer_model.hef.get_output_vstream_infos()
    assert (info.quant_info.qp_scale, info.quant_info.limvals_max) == (0.0, 0.0)
    numbers = bench.results().copy()
    bench.infer_model.output().set_format_type(bench.hailo.FormatType.FLOAT32)
    bench.configure()
    assert bench.results().tolist() == ((numbers - np.array([1.0, 2.0])) * np.array([0.5, 0.25])).tolist()


def test_an_extension_of_a_later_hailort_is_not_supported(opened: Open, write: Write) -> None:
    """A HEF that uses what HailoRT 4.23 does not know is refused with 92, and taken by 5.2."""
    path = str(write(CLASSIFIER, file=File(hw_arch=encoder.HAILO15H, extensions=(34,))))
    assert refused(opened(), path) == 92


def test_random_detections_are_valid(opened: Open, write: Write) -> None:
    """A detector's boxes are within limits and picture, best first, and none below the threshold of the file."""
    bench = opened(model=write(DETECTOR))
    seen = 0
    for _ in range(30):
        for rows in bench.results():
            seen += len(rows)
            assert len(rows) <= 4
            assert ((rows[:, :4] >= 0) & (rows[:, :4] <= 1)).all()
            assert (rows[:, :2] <= rows[:, 2:4]).all()
            assert (np.diff(rows[:, 4]) <= 0).all()
            assert (rows[:, 4] >= np.float32(0.2)).all()
    assert seen > 30


def test_scripted_detections(opened: Open, write: Write) -> None:
    """The manifest beside a HEF says what it sees in which frame, boxes x1, y1, x2, y2."""
    path = write(DETECTOR)
    path.with_suffix(".toml").write_text(
        "[simulator]\ndetections = [\n"
        "{ class_id = 2, score = 0.75, box = [0.0, 0.0, 0.5, 0.25], to = [0.5, 0.0, 1.0, 0.25], last = 2 },\n"
        "{ class_id = 0, score = 0.5, box = [0.0, 0.0, 1.0, 1.0], first = 2 },\n]\n"
    )
    bench = opened(model=path)
    frames = [[rows.tolist() for rows in bench.results()] for _ in range(4)]
    assert [[len(rows) for rows in frame] for frame in frames] == [[0, 0, 1], [0, 0, 1], [1, 0, 1], [1, 0, 0]]
    assert [frame[2][0] for frame in frames[:3]] == [[0.0, x / 4, 0.25, 0.5 + x / 4, 0.75] for x in range(3)]


def test_a_script_that_does_not_fit_is_refused(opened: Open, write: Write) -> None:
    """A detection of a class that the model does not have makes the file unusable."""
    bench = opened()
    path = write(DETECTOR)
    path.with_suffix(".toml").write_text(
        "[simulator]\ndetections = [{ class_id = 3, score = 0.5, box = [0, 0, 1, 1] }]\n"
    )
    assert refused(bench, str(path)) == 92


def test_nms_on_the_core_cannot_be_set(opened: Open, write: Write) -> None:
    """Thresholds of an NMS that the chip does itself are refused at configure()."""
    core = encoder.CoreNms(classes=3, max_per_class=4)
    group = Group("ssd", [Tensor("ssd/in", (8, 8, 3))], [Tensor("ssd/nms1", (3, 5, 4), encoder.NMS, core_nms=core)])
    bench = opened(model=write(group))
    assert len(bench.results()) == 3
    bench.infer_model.output().set_nms_score_threshold(0.5)
    with pytest.raises(bench.hailo.HailoRTException):
        bench.infer_model.configure()


def test_masks_of_a_hef(opened: Open, write: Write) -> None:
    """A segmentation HEF gives byte masks, with room for twice the picture."""
    outputs = [
        Tensor("seg/proto", (4, 4, 32), encoder.FCR, data_bytes=2),
        Tensor("seg/conv1", (4, 4, 117), encoder.FCR, data_bytes=2),
    ]
    nms = HostNms(
        "seg/yolov5_seg_nms_postprocess", "yolov5_seg", classes=2, max_per_class=3, image=(16, 16), anchors=3,
    )  # fmt: skip
    bench = opened(model=write(Group("seg", [Tensor("seg/input_layer1", (16, 16, 3))], outputs, [nms])))
    (info,) = bench.infer_model.hef.get_output_vstream_infos()
    assert info.nms_shape.max_accumulated_mask_size == 2 * 16 * 16
    assert bench.infer_model.output().shape == [2 + 2 * 3 * 38 + 2 * 16 * 16]
    found = [detection for _ in range(10) for detection in bench.results()]
    assert found
    for detection in found:
        height = int(np.ceil(np.float32(detection.y_max - detection.y_min) * np.float32(16)))
        width = int(np.ceil(np.float32(detection.x_max - detection.x_min) * np.float32(16)))
        assert detection.mask.size == height * width
        assert set(detection.mask) <= {0, 1}
