"""How the synchronous API behaves: batches, streams, formats, NMS."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import REPOSITORY
from tests.support.synchronous import PICTURE, OpenSync, pictures, status_of

RAW_MODEL = REPOSITORY / "hailod" / "models" / "demo" / "demo_fast.onnx"


# -- the ordinary way --------------------------------------------------------------------------------------------------


def test_a_batch_comes_back_frame_by_frame(open_group: OpenSync) -> None:
    """NMS by class gives per frame a list of classes: float32 (n, 5) best first, float64 (0, 5) where there is none."""
    bench = open_group()
    with bench.pipeline() as pipeline, bench.group.activate(bench.group.create_params()):
        (name,) = [info.name for info in bench.group.get_output_vstream_infos()]
        result = pipeline.infer({"tiny/input_layer1": pictures(30)})
        assert list(result) == [name]
        assert len(result[name]) == 30
        for frame in result[name]:
            assert [(rows.shape, rows.dtype.name) for rows in frame] == [
                ((0, 5), "float64"),
                ((2, 5), "float32"),
                ((0, 5), "float64"),
            ]
            assert frame[1][0] == pytest.approx([0.6, 0.5, 0.8, 0.7, 0.9])
        assert 0 < pipeline.get_hw_time() <= pipeline.get_total_time()


def test_an_array_alone_is_the_one_input(open_group: OpenSync) -> None:
    """A model with one input takes its frames without a name."""
    bench = open_group()
    with bench.pipeline() as pipeline, bench.group.activate():
        assert len(pipeline.infer(pictures(3))["tiny/nms_postprocess"]) == 3


def test_tensorflow_format(open_group: OpenSync) -> None:
    """With tf_nms_format a batch is one array, padded with empty boxes; a received frame has no batch dimension."""
    bench = open_group()
    with bench.pipeline(tf_nms_format=True) as pipeline, bench.group.activate():
        result = pipeline.infer(pictures(2))["tiny/nms_postprocess"]
        assert result.shape == (2, 3, 5, 4)
        assert result[1, 1, 4].tolist() == pytest.approx([0.9, 0.5, 0.0, 0.0])
        params = bench.hailo.OutputVStreamParams.make(bench.group)
        inputs, _ = bench.streams()
        with inputs, bench.hailo.OutputVStreams(bench.group, params, tf_nms_format=True) as outputs:
            inputs.get().send(pictures(1))
            assert outputs.get().recv().shape == (3, 5, 4)


def test_streams_one_frame_at_a_time(open_group: OpenSync) -> None:
    """What is sent comes back in order, by the one output's name or without it; several frames may be sent at once."""
    bench = open_group()
    inputs, outputs = bench.streams()
    with bench.group.activate(), inputs, outputs:
        (sender,), (receiver,) = inputs, outputs
        assert (sender.name, sender.network_name) == ("tiny/input_layer1", "tiny/tiny")
        assert (sender.shape, sender.dtype) == ([*PICTURE], np.dtype("uint8"))
        assert (receiver.shape, receiver.dtype) == ([3 * (1 + 5 * 4)], np.dtype("float32"))
        assert outputs.get("tiny/nms_postprocess") is outputs.get() is receiver
        sender.send(pictures(3))
        sender.flush()
        assert [len(receiver.recv()[1]) for _ in range(3)] == [2, 2, 2]


def test_what_a_network_group_says_of_itself(open_group: OpenSync) -> None:
    """Names, shapes and streams are those of the HEF, from the group and for each of its networks."""
    bench = open_group()
    group = bench.group
    assert (group.name, group.get_networks_names()) == ("tiny", ["tiny/tiny"])
    assert group.get_sorted_output_names() == ["tiny/nms_postprocess"]
    assert group.get_output_shapes() == ((3, 5, 4),)
    assert [info.name for info in group.get_all_vstream_infos("tiny/tiny")] == [
        "tiny/input_layer1",
        "tiny/nms_postprocess",
    ]
    assert group.get_stream_names_from_vstream_name("tiny/input_layer1") == ["tiny/input_layer1"]
    assert group.get_vstream_names_from_stream_name("tiny/input_layer1") == ["tiny/input_layer1"]
    assert [info.sys_index for info in group.get_input_stream_infos()] == [0]
    assert bench.vdevice.loaded_network_groups == [group]
    groups = bench.hailo.OutputVStreamParams.make_groups(group)
    assert [list(params) for params in groups] == [["tiny/nms_postprocess"]]


# -- formats -----------------------------------------------------------------------------------------------------------


def test_floats_are_quantised_and_results_dequantised(open_group: OpenSync) -> None:
    """Float input is quantised by the input's quant info, float output is (q - zp) x scale of the raw one, by type
    alone: what is said of `quantized` changes nothing."""
    bench = open_group(file=RAW_MODEL)
    infos = bench.group.get_output_vstream_infos()
    shape = bench.group.get_input_vstream_infos()[0].shape
    frames = np.random.default_rng(1).integers(0, 256, (2, *shape), np.uint8)
    with bench.group.activate():
        with bench.pipeline() as pipeline:
            raw = pipeline.infer(frames)
        with bench.pipeline(quantized=True, format_type=bench.hailo.FormatType.FLOAT32) as pipeline:
            real = pipeline.infer(frames.astype(np.float32) + np.float32(0.3))
    for info in infos:
        quant = info.quant_info
        assert raw[info.name].dtype == np.dtype(info.format.type.name.lower())
        assert real[info.name].dtype == np.float32
        expected = (raw[info.name].astype(np.float32) - np.float32(quant.qp_zp)) * np.float32(quant.qp_scale)
        assert np.array_equal(real[info.name], expected)


def test_another_type_than_made_is_cast_with_a_warning(
    open_group: OpenSync, capsys: pytest.CaptureFixture[str]
) -> None:
    """infer() casts what has another type than the stream, in the caller's dict, and says so on standard output."""
    bench = open_group()
    data: dict[str, Any] = {"tiny/input_layer1": pictures(1).astype(np.float64)}
    with bench.pipeline(format_type=bench.hailo.FormatType.AUTO) as pipeline, bench.group.activate():
        pipeline.infer(data)
    assert data["tiny/input_layer1"].dtype == np.uint8
    assert "Given input data dtype (float64) is different than inferred dtype (uint8)" in capsys.readouterr().out


def test_parameters_keep_what_was_asked(open_group: OpenSync) -> None:
    """Parameters say AUTO until a type is asked for; 10 s and a queue of 2 are the defaults."""
    bench = open_group()
    (params,) = bench.hailo.InputVStreamParams.make(bench.group, quantized=False).values()
    assert params.user_buffer_format.type == bench.hailo.FormatType.AUTO
    assert (params.timeout_ms, params.queue_size) == (10000, 2)
    (params,) = bench.hailo.OutputVStreamParams.make_from_network_group(
        bench.group, format_type=bench.hailo.FormatType.FLOAT32, timeout_ms=5, queue_size=3
    ).values()
    assert params.user_buffer_format.type == bench.hailo.FormatType.FLOAT32
    assert (params.timeout_ms, params.queue_size) == (5, 3)
    copied = pickle.loads(pickle.dumps(params))
    assert (copied.timeout_ms, copied.user_buffer_format.type) == (5, bench.hailo.FormatType.FLOAT32)


def test_conversions_that_hailort_refuses(open_group: OpenSync) -> None:
    """uint8 is not widened on its way in, NMS results are floats: the native exception leaks when a pipeline is
    entered, as __enter__ is not wrapped."""
    bench = open_group()
    for format_type in (bench.hailo.FormatType.UINT16, bench.hailo.FormatType.UINT8):
        with pytest.raises(bench.native.HailoRTStatusException) as caught, bench.pipeline(format_type=format_type):
            pytest.fail("entered")
        assert status_of(caught.value) == 2


def test_streams_of_part_of_a_network_are_refused(open_group: OpenSync) -> None:
    """An unknown stream is not found; a pipeline needs all of a network's."""
    bench = open_group()
    hailo, group = bench.hailo, bench.group
    params = hailo.InputVStreamParams.make(group)
    with pytest.raises(bench.native.HailoRTStatusException) as caught, hailo.InferVStreams(group, params, {}):
        pytest.fail("entered")
    assert status_of(caught.value) == 2
    with pytest.raises(bench.native.HailoRTStatusException) as caught, hailo.OutputVStreams(group, params):
        pytest.fail("entered")
    assert status_of(caught.value) == 61


def test_frames_of_another_size_are_invalid(open_group: OpenSync) -> None:
    """The number of bytes must fit, the shape need not; all inputs have as many frames, and at least one input."""
    bench = open_group()
    with bench.pipeline() as pipeline, bench.group.activate():
        assert len(pipeline.infer(pictures(1).reshape(1, -1))["tiny/nms_postprocess"]) == 1
        with pytest.raises(bench.python.HailoRTInvalidArgumentException):
            pipeline.infer(np.zeros((1, 8, 12, 4), np.uint8))
        with pytest.raises(ValueError, match="can't be empty"):
            pipeline.infer({})
        inputs, _ = bench.streams()
        with inputs, pytest.raises(bench.python.HailoRTInvalidArgumentException):
            inputs.get().send(np.zeros((1, 8, 12, 4), np.uint8))


# -- NMS on the host ---------------------------------------------------------------------------------------------------


def test_thresholds_apply_at_once(open_group: OpenSync) -> None:
    """A score threshold set on a running pipeline counts from the next frame."""
    bench = open_group()
    with bench.pipeline() as pipeline, bench.group.activate():
        assert len(pipeline.infer(pictures(1))["tiny/nms_postprocess"][0][1]) == 2
        pipeline.set_nms_score_threshold(0.8)
        assert len(pipeline.infer(pictures(1))["tiny/nms_postprocess"][0][1]) == 1
        pipeline.set_nms_iou_threshold(0.5)


def test_more_proposals_change_the_size_but_not_the_info(open_group: OpenSync) -> None:
    """The limit of boxes per class changes the stream's size; what the network group says of it stays the HEF's."""
    bench = open_group()
    _, outputs = bench.streams()
    with outputs, bench.pipeline() as pipeline, bench.group.activate():
        receiver = outputs.get()
        receiver.set_nms_max_proposals_per_class(1)
        assert receiver.shape == [3 * (1 + 5 * 1)]
        assert len(pipeline.infer(pictures(1))["tiny/nms_postprocess"][0][1]) == 1
        receiver.set_nms_max_proposals_per_class(8)
        assert receiver.shape == [3 * (1 + 5 * 8)]
        assert bench.group.get_output_vstream_infos()[0].shape == (3, 5, 4)
        assert len(pipeline.infer(pictures(1))["tiny/nms_postprocess"][0][1]) == 2


def test_nms_settings_need_an_nms(open_group: OpenSync) -> None:
    """On a model without NMS on the host each of them is an invalid operation, as a native exception."""
    bench = open_group(file=RAW_MODEL)
    with bench.pipeline() as pipeline:
        for call in (
            lambda: pipeline.set_nms_score_threshold(0.5),
            lambda: pipeline.set_nms_iou_threshold(0.5),
            lambda: pipeline.set_nms_max_proposals_per_class(5),
            lambda: pipeline.set_nms_max_accumulated_mask_size(5),
        ):
            with pytest.raises(bench.native.HailoRTStatusException) as caught:
                call()
            assert status_of(caught.value) == 6


MASKED = """
[simulator]
input = [16, 24]
classes = 3
max_per_class = 4
outputs = "nms_with_byte_mask"
detections = [
  { class_id = 1, score = 0.5, box = [0.1, 0.2, 0.3, 0.4] },
  { class_id = 2, score = 0.9, box = [0.5, 0.6, 0.7, 0.8] },
]
"""


def test_masks(open_group: OpenSync, tmp_path: Path) -> None:
    """Frames with byte masks are lists of detections, best first, each with the mask of its box; received alike."""
    path = tmp_path / "masked.sim.toml"
    path.write_text(MASKED)
    bench = open_group(file=path)
    frames = np.zeros((2, 16, 24, 3), np.uint8)
    inputs, outputs = bench.streams()
    with bench.group.activate(), bench.pipeline() as pipeline, inputs, outputs:
        (result,) = pipeline.infer(frames).values()
        inputs.get().send(frames[:1])
        received = outputs.get().recv()
    for found in (*result, received):
        assert [(each.class_id, each.score) for each in found] == [(2, pytest.approx(0.9)), (1, pytest.approx(0.5))]
        # Box 0.2 x 0.2 of 16 x 24: ceil(3.2) x ceil(4.8).
        assert [(each.mask.dtype.name, each.mask.shape) for each in found] == [("uint8", (20,))] * 2
        assert {*found[0].mask} <= {0, 1}
        assert found[0].mask.any()


def test_masks_in_tensorflow_format(open_group: OpenSync, tmp_path: Path) -> None:
    """infer() gives (frames, 1, 6 + picture, boxes), recv() forgets what it has made and gives None."""
    path = tmp_path / "masked.sim.toml"
    path.write_text(MASKED)
    bench = open_group(file=path)
    frames = np.zeros((2, 16, 24, 3), np.uint8)
    inputs, _ = bench.streams()
    params = bench.hailo.OutputVStreamParams.make(bench.group)
    with bench.group.activate(), bench.pipeline(tf_nms_format=True) as pipeline, inputs:
        (result,) = pipeline.infer(frames).values()
        assert result.shape == (2, 1, 6 + 16 * 24, 4)
        assert result[1, 0, :6, 0] == pytest.approx([0.6, 0.5, 0.8, 0.7, 0.9, 2.0])
        assert set(result[1, 0, 6:, 0]) == {0.0, 1.0}
        with bench.hailo.OutputVStreams(bench.group, params, tf_nms_format=True) as outputs:
            inputs.get().send(frames[:1])
            assert outputs.get().recv() is None


def test_by_score_there_is_no_synchronous_batch(open_group: OpenSync) -> None:
    """The host sees every NMS as floats; buffers that are made so are four times too large for detections by score."""
    bench = open_group(outputs="nms_by_score")
    (info,) = bench.group.get_output_vstream_infos()
    assert info.format.type == bench.hailo.FormatType.FLOAT32
    with bench.group.activate(), bench.pipeline() as pipeline:
        with pytest.raises(bench.python.HailoRTInvalidArgumentException):
            pipeline.infer(pictures(1))
        pipeline.set_nms_score_threshold(0.5)
        with pytest.raises(bench.native.HailoRTStatusException) as caught:
            pipeline.set_nms_max_proposals_per_class(1)
        assert status_of(caught.value) == 6
