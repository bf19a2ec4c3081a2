"""HailoRT's NMS buffers: what is read, and what is refused."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from hailod.decode import make_decoder
from hailod.decode.base import Decoder
from hailod.errors import DecodeError, ModelError
from hailod.models.manifest import Manifest
from hailod.types import F32, U8, ModelTensors, NmsShape, TensorInfo, TensorOrder

CLASSES, LIMIT = 3, 2
BOX = (0.1, 0.2, 0.3, 0.5, 0.9)


def by_class_info() -> TensorInfo:
    elements = CLASSES * (1 + 5 * LIMIT)
    shape = NmsShape(CLASSES, LIMIT)
    return TensorInfo("nms", (elements,), "float32", TensorOrder.NMS_BY_CLASS, elements * 4, nms=shape)


def by_score_info() -> TensorInfo:
    return TensorInfo("nms", (68,), "uint8", TensorOrder.NMS_BY_SCORE, 68, nms=NmsShape(CLASSES, 1))


def decoder(output: TensorInfo) -> Decoder:
    return make_decoder(Manifest(), ModelTensors((), (output,)))


def by_class(*numbers: float) -> F32:
    buffer = np.full(CLASSES * (1 + 5 * LIMIT), np.nan, np.float32)
    buffer[: len(numbers)] = numbers
    return buffer


def by_score(count: int, *records: tuple[float, float, float, float, float, int]) -> U8:
    packed = struct.pack("<H", count) + b"".join(struct.pack("<fffffH", *record) for record in records)
    return np.frombuffer(packed.ljust(68, b"\xff"), np.uint8)


def test_boxes_are_reordered_and_sorted() -> None:
    """HailoRT's y, x order becomes x, y, and the best score of all classes comes first."""
    found = decoder(by_class_info()).decode({"nms": by_class(1, *BOX[:4], 0.6, 0, 1, *BOX)}, 0.5)
    assert found.classes.tolist() == [2, 0]
    np.testing.assert_allclose(found.scores, [0.9, 0.6])
    np.testing.assert_allclose(found.boxes, [[0.2, 0.1, 0.5, 0.3]] * 2)
    assert (found.boxes.dtype, found.scores.dtype, found.classes.dtype) == (np.float32, np.float32, np.int32)


@pytest.mark.parametrize("output", [by_class_info(), by_score_info()])
def test_an_empty_scene_is_an_empty_result(output: TensorInfo) -> None:
    """Counts of zero are an honest empty scene, whatever lies behind them in the buffer."""
    buffer = by_class(0, 0, 0) if output.dtype == "float32" else by_score(0)
    assert len(decoder(output).decode({"nms": buffer}, 0.1)) == 0


def test_the_threshold_is_kept() -> None:
    """Nothing below the threshold is returned, and what equals it is."""
    buffer = by_class(2, *BOX[:4], 0.75, *BOX[:4], 0.5, 0, 0)
    assert decoder(by_class_info()).decode({"nms": buffer}, 0.5).scores.tolist() == [0.75, 0.5]
    assert decoder(by_class_info()).decode({"nms": buffer}, 0.6).scores.tolist() == [0.75]


def test_results_do_not_refer_to_the_slot() -> None:
    """A result outlives the slot that it was read from."""
    for output, buffer in (
        (by_class_info(), by_class(1, *BOX, 0, 0)),
        (by_score_info(), by_score(1, (*BOX, 1)).copy()),
    ):
        found = decoder(output).decode({"nms": buffer}, 0.1)
        before = found.boxes.tolist()
        buffer[:] = 0
        assert found.boxes.tolist() == before


def test_scores_that_rounding_lifts_above_one_are_one() -> None:
    """An eight-bit sigmoid may exceed 1 by a rounding step; a message never says so."""
    found = decoder(by_class_info()).decode({"nms": by_class(1, *BOX[:4], 1.003, 0, 0)}, 0.1)
    assert found.scores.tolist() == [1.0]


@pytest.mark.parametrize(
    "numbers",
    [
        (float("nan"), 0, 0),
        (float("inf"), 0, 0),
        (-1, 0, 0),
        (0.5, 0, 0),
        (LIMIT + 1, *BOX, *BOX, *BOX),
        (1e9, 0, 0),
        (1, float("nan"), *BOX[1:], 0, 0),
        (1, 0.1, 0.2, float("inf"), 0.5, 0.9, 0, 0),
        (1, *BOX[:4], float("nan"), 0, 0),
        (1, *BOX[:4], 7.0, 0, 0),
        (1, *BOX[:4], -0.5, 0, 0),
        (1, 0.5, 0.2, 0.3, 0.5, 0.9, 0, 0),
    ],
)
def test_impossible_buffers_by_class_are_errors(numbers: tuple[float, ...]) -> None:
    """A count, box or score that cannot be is an error, never an empty or a guessed scene."""
    with pytest.raises(DecodeError):
        decoder(by_class_info()).decode({"nms": by_class(*numbers)}, 0.3)


@pytest.mark.parametrize(
    "buffer",
    [
        by_score(5, (*BOX, 0)),
        by_score(65535),
        by_score(1, (*BOX, CLASSES)),
        by_score(1, (*BOX[:4], float("nan"), 0)),
        by_score(1, (*BOX[:4], 1.5, 0)),
        by_score(1, (float("inf"), *BOX[1:], 0)),
        by_score(1, (0.5, 0.2, 0.3, 0.5, 0.9, 0)),
    ],
)
def test_impossible_buffers_by_score_are_errors(buffer: U8) -> None:
    """A count, class, box or score that cannot be is an error, never an empty or a guessed scene."""
    with pytest.raises(DecodeError):
        decoder(by_score_info()).decode({"nms": buffer}, 0.3)


def test_one_record_too_many_is_hailorts_own_mistake() -> None:
    """A count one beyond the room of the buffer is HailoRT's known slip: what has room is read."""
    records = [(*BOX[:4], score, 0) for score in (0.9, 0.8, 0.7)]
    assert len(decoder(by_score_info()).decode({"nms": by_score(4, *records)}, 0.3)) == 3


@pytest.mark.parametrize("output", [by_class_info(), by_score_info()])
def test_buffers_of_another_size_are_errors(output: TensorInfo) -> None:
    """A buffer that is not the tensor announced is an error."""
    with pytest.raises(DecodeError):
        decoder(output).decode({"nms": np.zeros(7, output.dtype)}, 0.3)


def test_a_refusal_says_what_was_expected_and_what_came() -> None:
    """Outputs that no decoder reads are refused with a table of both sides."""
    output = TensorInfo("fc1", (512,), "uint8", TensorOrder.NC, 512)
    with pytest.raises(ModelError) as refusal:
        make_decoder(Manifest(), ModelTensors((), (output,)))
    for said in ("fc1: uint8 NC (512,)", "nms_by_class: expects", "nms_by_score: expects", "yolox: expects"):
        assert said in str(refusal.value)


def test_the_named_decoder_is_the_only_one_tried() -> None:
    """A manifest that names the wrong decoder is refused; no other is taken in its place."""
    with pytest.raises(ModelError, match="nms_by_score: expects"):
        make_decoder(Manifest(decoder="nms_by_score"), ModelTensors((), (by_class_info(),)))


def test_an_unknown_decoder_is_refused_with_the_known_ones() -> None:
    """A misspelt decoder is answered with the names there are."""
    with pytest.raises(ModelError, match="allowed: nms_by_class, nms_by_score, yolox"):
        make_decoder(Manifest(decoder="yolo"), ModelTensors((), (by_class_info(),)))


def test_labels_must_be_as_many_as_classes() -> None:
    """A list of labels for another model is refused, not shifted."""
    with pytest.raises(ModelError, match="3 classes and the manifest 2 labels"):
        make_decoder(Manifest(labels=("cat", "dog")), ModelTensors((), (by_class_info(),)))


def test_nms_outputs_without_limits_are_refused() -> None:
    """Without the number of classes a buffer cannot be walked safely."""
    output = TensorInfo("nms", (33,), "float32", TensorOrder.NMS_BY_CLASS, 132)
    with pytest.raises(ModelError, match="without its number of classes"):
        decoder(output)
