"""Graphs of several meta-architectures and inputs, presented as the HEFs that would be compiled from them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hailod.errors import ModelError
from hailod.simulator.networks.loader import load
from hailod.types import TensorOrder
from tests.support.simulated import Open, opening

onnx = pytest.importorskip("onnx", reason="models are made with onnx")
from onnx import TensorProto, helper  # noqa: E402 - after the check

from tests.unit.test_simulator_models import identity, save  # noqa: E402 - after the check

SIDE = 32
MASKS = 'meta_arch = "yolov5_seg"\noutputs = "nms_with_byte_mask"\nclasses = 1\nstrides = [16]\nanchors = [[16, 16]]\n'


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    with opening(tmp_path) as open_bench:
        yield open_bench


def answering(path: Path, *heads: NDArray[np.float32]) -> Path:
    """A graph of a 32 x 32 picture that always answers `heads`, (c, h, w) each; the picture counts for nothing."""
    nodes = [
        helper.make_node("Mul", ["images", "zero"], ["none"]),
        helper.make_node("ReduceSum", ["none"], ["sum"], keepdims=0),
    ]
    nodes += [helper.make_node("Add", [f"head{i}", "sum"], [f"out{i}"]) for i in range(len(heads))]
    outputs = [
        helper.make_tensor_value_info(f"out{i}", TensorProto.FLOAT, [1, *head.shape]) for i, head in enumerate(heads)
    ]
    constants = {f"head{i}": head[None].astype(np.float32) for i, head in enumerate(heads)}
    picture = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    return save(path, nodes, [picture], outputs, constants | {"zero": np.zeros(1, np.float32)})


def described(path: Path, text: str) -> Path:
    """With the manifest beside it."""
    path.with_suffix(".toml").write_text(f"[simulator]\n{text}")
    return path


def yolov8_heads() -> Sequence[NDArray[np.float32]]:
    """One object of class 1 at row 1, column 2 of the stride-8 grid: two strides to each side."""
    reg, cls = np.full((16, 4, 4), -8.0, np.float32), np.zeros((3, 4, 4), np.float32)
    reg[2::4, 1, 2] = 8.0
    cls[1, 1, 2] = 0.9
    return reg, cls


@pytest.mark.parametrize("quantisation", ["uint8", "uint16"])
def test_yolov8(opened: Open, tmp_path: Path, quantisation: str) -> None:
    """Distances and classes per stride become boxes, in whatever order the graph gives them."""
    text = f'meta_arch = "yolov8"\nclasses = 3\nstrides = [8]\nscore_threshold = 0.3\nquantisation = "{quantisation}"\n'
    for heads in (yolov8_heads(), yolov8_heads()[::-1]):
        bench = opened(model=described(answering(tmp_path / "tiny.onnx", *heads), text))
        found = bench.results()
        assert [len(rows) for rows in found] == [0, 1, 0]
        y, x = (1 + 0.5) * 8 / SIDE, (2 + 0.5) * 8 / SIDE
        assert found[1][0].tolist() == pytest.approx([y - 0.5, x - 0.5, y + 0.5, x + 0.5, 0.9], abs=0.01)
        streams = bench.infer_model.hef.get_output_stream_infos()
        assert {stream.format.type.name for stream in streams} == {quantisation.upper()}
        bench.close()


def test_yolov5(opened: Open, tmp_path: Path) -> None:
    """Anchors are scaled by the sigmoided head."""
    head = np.zeros((1, 7, 2, 2), np.float32)
    head[0, :, 1, 0] = [0.5, 0.5, 0.5, 0.5, 0.8, 0.0, 1.0]
    text = 'meta_arch = "yolov5"\nclasses = 2\nstrides = [16]\nanchors = [[16, 8]]\nscore_threshold = 0.3\n'
    bench = opened(model=described(answering(tmp_path / "tiny.onnx", *head), text))
    _, rows = bench.results()
    assert rows[0].tolist() == pytest.approx([0.75 - 0.125, 0.25 - 0.25, 0.75 + 0.125, 0.25 + 0.25, 0.8], abs=0.02)


def segmenter(path: Path) -> Path:
    """An object of 16 x 16 pixels in the upper right cell, whose mask is the left half of the picture's right half."""
    head = np.full((1, 6 + 32, 2, 2), -9.0, np.float32)
    head[0, :, 0, 1] = [0.0, 0.0, 0.0, 0.0, 6.0, 6.0, *([1.0] + [0.0] * 31)]
    proto = np.zeros((32, 8, 8), np.float32)
    proto[0] = -6.0
    proto[0, :, 4:6] = 6.0
    return answering(path, *head, proto)


@pytest.mark.parametrize(("profile", "record"), [("4.23", 38), ("5.2", 46)])
def test_yolov5_seg(opened: Open, tmp_path: Path, profile: str, record: int) -> None:
    """Boxes come with the masks that coefficients and prototypes make, cut to the box; in 5.x found by their offset."""
    chip = "hailo8" if profile == "4.23" else "hailo15h"
    path = described(segmenter(tmp_path / "seg.onnx"), MASKS + 'score_threshold = 0.5\nquantisation = "uint16"\n')
    bench = opened(model=path, profile=profile, arch=chip)
    assert bench.infer_model.output().shape == [2 + 100 * record + 2 * SIDE * SIDE]
    bindings = bench.bindings()
    bench.run(bindings).wait(5000)
    (found,) = bindings.output().get_buffer()
    assert (found.class_id, found.score) == (0, pytest.approx(0.99, abs=0.01))
    assert [found.y_min, found.x_min, found.y_max, found.x_max] == pytest.approx([0.0, 0.5, 0.5, 1.0], abs=0.01)
    width = math.ceil(np.float32(found.x_max - found.x_min) * np.float32(SIDE))
    mask = found.mask.reshape(-1, width)
    assert mask.shape[0] in (16, 17)
    assert mask[2:14, 2:6].all()
    assert not mask[2:14, 11:15].any()
    raw = bindings.output().get_buffer(None)
    assert bindings.output().get_buffer(tf_format=True) is None
    assert raw[2 + record : 2 + record + found.mask.size].tolist() == found.mask.tolist()


def test_a_failure_leaves_a_buffer_with_masks_as_it_was(opened: Open, tmp_path: Path) -> None:
    """Masks are written straight into the user's memory, so that nothing zeroes it when the inference fails."""
    bench = opened(model=described(segmenter(tmp_path / "seg.onnx"), MASKS))
    bench.simulation.faults = type(bench.simulation.faults)(fail_completions={1: 8})
    bindings = bench.bindings()
    bench.run(bindings).wait(5000)
    assert type(bench.ended[0]).__name__ == "HailoRTException"
    assert set(bindings.output().get_buffer(None)) == {7}


def test_an_unbound_output_with_masks_kills_the_model(opened: Open, tmp_path: Path) -> None:
    """Such an output is not looked at before libhailort does so, to which any error is fatal."""
    bench = opened(model=described(segmenter(tmp_path / "seg.onnx"), MASKS))
    bindings = bench.configured.create_bindings()
    bindings.input().set_buffer(np.zeros((SIDE, SIDE, 3), np.uint8))
    with pytest.raises(bench.python.HailoRTNotFoundException):
        bench.run(bindings)
    with pytest.raises(bench.python.HailoRTStreamAborted):
        bench.run()


def test_too_little_memory_for_masks_is_told_and_harms_nothing(opened: Open, tmp_path: Path) -> None:
    """The frame is reported with INSUFFICIENT_BUFFER, what fitted is there, and the model goes on."""
    path = described(segmenter(tmp_path / "seg.onnx"), MASKS + "score_threshold = 0.5\nmax_per_class = 1\n")
    bench = opened(model=path, setup=lambda model, _: model.output().set_nms_max_accumulated_mask_size(20))
    for _ in range(2):
        bench.run().wait(5000)
    assert [str(error) for error in bench.ended] == ["libhailort failed with error: 5 (HAILO_INSUFFICIENT_BUFFER)"] * 2
    bench.infer_model.output().set_nms_max_accumulated_mask_size(1000)
    bench.configure()
    bench.run().wait(5000)
    assert bench.ended[-1] is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('meta_arch = "yolov8"\nclasses = 5\nstrides = [8]\n', "4 x 4 of 5 classes"),
        ('meta_arch = "yolov5"\nclasses = 3\nstrides = [8]\nanchors = [[1, 1]]\n', "4 x 4 of 8 values"),
        ('meta_arch = "yolov5"\nclasses = 3\nstrides = [8]\n', "expected anchors for each"),
        ('meta_arch = "yolov8"\noutputs = "nms_with_byte_mask"\nclasses = 3\nstrides = [8]\n', "yolov5_seg"),
        ('input_order = "NV12"\ninput_type = "uint16"\n', "uint8"),
    ],
)
def test_graphs_that_do_not_fit_their_manifest(tmp_path: Path, text: str, message: str) -> None:
    """A graph without the heads that its meta-architecture has is refused, saying what was expected and what came."""
    path = described(answering(tmp_path / "tiny.onnx", *yolov8_heads()), text)
    with pytest.raises(ModelError, match=message):
        load(path, "hailo8")


def test_an_input_of_16_bits(opened: Open, tmp_path: Path) -> None:
    """A quantised input means what its scale says; floats are quantised by it, and come out of the graph again."""
    path = tmp_path / "same.onnx"
    identity(path)
    text = 'input_type = "uint16"\ninput_scale = 0.001\ninput_zero_point = 1000.0\nquantisation = "uint16"\n'
    bench = opened(model=described(path, text))
    (info,) = bench.infer_model.hef.get_input_vstream_infos()
    assert (info.format.type.name, info.quant_info.qp_scale, info.quant_info.qp_zp) == ("UINT16", 0.001, 1000.0)
    picture = np.linspace(-1.0, 60.0, 4 * 6 * 3, dtype=np.float32).reshape(4, 6, 3)
    quantised = np.rint(picture / np.float32(0.001) + 1000).astype(np.uint16)
    assert dequantised(bench, quantised) == pytest.approx(picture, abs=0.01)
    for stream in (bench.infer_model.input(), bench.infer_model.output()):
        stream.set_format_type(bench.hailo.FormatType.FLOAT32)
    bench.configure()
    assert answer(bench, picture) == pytest.approx(picture, abs=0.01)


def answer(bench: Any, picture: NDArray[Any]) -> NDArray[Any]:
    bindings = bench.bindings()
    bindings.input().set_buffer(picture)
    bench.run(bindings).wait(5000)
    assert bench.ended[-1] is None
    found: NDArray[Any] = bindings.output().get_buffer()
    return found


def dequantised(bench: Any, picture: NDArray[Any]) -> NDArray[Any]:
    quant = bench.infer_model.output().quant_infos[0]
    real: NDArray[Any] = (answer(bench, picture).astype(np.float32) - quant.qp_zp) * quant.qp_scale
    return real


@pytest.mark.parametrize("order", ["NV12", "YUY2"])
def test_a_picture_in_yuv(opened: Open, tmp_path: Path, order: str) -> None:
    """The HEF takes the bytes of its format; grey stays grey, and V makes red, by BT.601 of limited range."""
    path = identity(tmp_path / "same.onnx")
    bench = opened(model=described(path, f'input_order = "{order}"\nquantisation = "uint16"\n'))
    stream = bench.infer_model.input()
    assert (stream.shape, stream.format.order.name) == ([2, 6, 3] if order == "NV12" else [4, 6, 2], order)
    picture = np.full(stream.shape, 128, np.uint8)
    grey = dequantised(bench, picture)
    assert grey == pytest.approx(np.full((4, 6, 3), 1.164 * (128 - 16)), abs=1.0)
    flat = picture.reshape(-1)
    # V of the first two columns: the third byte of YUY2's first pair, the second of NV12's first chroma pair.
    flat[3 if order == "YUY2" else 4 * 6 + 1] = 168
    red = dequantised(bench, picture) - grey
    assert red[0, 0].tolist() == pytest.approx([1.596 * 40, -0.813 * 40, 0.0], abs=1.5)
    assert red[0, 2].tolist() == pytest.approx([0.0, 0.0, 0.0], abs=0.5)


def test_what_a_manifest_says_of_the_hef(tmp_path: Path) -> None:
    """Name of the network group, contexts and chip are the manifest's to say."""
    path = described(identity(tmp_path / "same.onnx"), 'name = "net"\ncontexts = 2\nchip = "hailo8l"\n')
    info = load(path, "hailo8").info
    assert (info.name, info.networks, info.multi_context, info.arch) == ("net", ("net/net",), True, "hailo8l")
    assert [tensor.name for tensor in (*info.inputs, *info.outputs)] == ["net/input_layer1", "net/output1"]


def test_by_score_takes_all_classes_together(opened: Open, tmp_path: Path) -> None:
    """The order can be chosen by the program; the total limit may be exceeded by one, as in HailoRT."""
    cls = np.zeros((3, 4, 4), np.float32)
    cls[:, 0, 0], cls[:, 3, 3] = 0.9, (0.8, 0.7, 0.6)
    text = 'meta_arch = "yolov8"\nclasses = 3\nstrides = [8]\nscore_threshold = 0.3\nmax_per_class = 4\n'
    reg, _ = yolov8_heads()

    def by_score(model: Any, hailo: Any) -> None:
        model.output().set_format_order(hailo.FormatOrder.HAILO_NMS_BY_SCORE)
        model.output()._infer_stream.set_nms_max_proposals_total(4)

    bench = opened(model=described(answering(tmp_path / "tiny.onnx", reg, cls), text), setup=by_score)
    stream = bench.infer_model.output()
    assert (stream.shape, stream.format.type.name) == ([2 + 4 * 22], "FLOAT32")
    bindings = bench.bindings()
    bench.run(bindings).wait(5000)
    found = bindings.output().get_buffer()
    assert bindings.output().get_buffer(None)[0] == 5
    assert [each.score for each in found[:4]] == pytest.approx([0.9, 0.9, 0.9, 0.8], abs=0.01)
    assert load(bench.path, "hailo8").info.outputs[0].order is TensorOrder.NMS_BY_CLASS
