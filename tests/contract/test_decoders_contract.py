"""What the rest of the daemon relies on, for every decoder there is."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hailod.decode import DECODERS, make_decoder
from hailod.errors import DecodeError
from hailod.models.manifest import Manifest
from hailod.types import ModelTensors, NmsShape, TensorInfo, TensorOrder

CLASSES = 3
PICTURE = TensorInfo("input", (64, 64, 3), "uint8", TensorOrder.NHWC, 64 * 64 * 3)
Case = tuple[ModelTensors, dict[str, Any]]


def nms_by_class() -> Case:
    numbers = [1, 0.1, 0.2, 0.3, 0.4, 0.6, 2, 0.1, 0.1, 0.5, 0.5, 0.9, 0.6, 0.6, 0.9, 0.9, 0.3, 0]
    buffer = np.zeros(CLASSES * 11, np.float32)
    buffer[: len(numbers)] = numbers
    output = TensorInfo("out", (33,), "float32", TensorOrder.NMS_BY_CLASS, 132, nms=NmsShape(CLASSES, 2))
    return ModelTensors((PICTURE,), (output,)), {"out": buffer}


def nms_by_score() -> Case:
    rows = [(0.1, 0.1, 0.5, 0.5, 0.9, 1), (0.1, 0.2, 0.3, 0.4, 0.6, 0), (0.6, 0.6, 0.9, 0.9, 0.3, 1)]
    packed = struct.pack("<H", 3) + b"".join(struct.pack("<fffffH", *row) for row in rows)
    output = TensorInfo("out", (112,), "uint8", TensorOrder.NMS_BY_SCORE, 112, nms=NmsShape(CLASSES, 5))
    return ModelTensors((PICTURE,), (output,)), {"out": np.frombuffer(packed.ljust(112, b"\0"), np.uint8).copy()}


def yolox() -> Case:
    head = np.zeros((84, 5 + CLASSES), np.uint8)
    for cell, label, score in ((9, 0, 150), (40, 1, 230), (83, 1, 90)):
        head[cell, 4], head[cell, 5 + label] = 255, score
    output = TensorInfo("out", head.shape, "uint8", TensorOrder.NHW, head.nbytes, (1 / 255,), (0.0,))
    return ModelTensors((PICTURE,), (output,)), {"out": head}


CASES: dict[str, Callable[[], Case]] = {"nms_by_class": nms_by_class, "nms_by_score": nms_by_score, "yolox": yolox}


def test_every_decoder_has_a_case() -> None:
    """A new decoder comes with its case in this suite."""
    assert CASES.keys() == DECODERS.keys()


@pytest.fixture(params=list(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]()


@pytest.mark.parametrize("name", list(CASES))
def test_outputs_choose_their_decoder(name: str) -> None:
    """Without a word in the manifest the outputs themselves decide, as the manifest would have."""
    tensors, _ = CASES[name]()
    assert type(make_decoder(Manifest(), tensors)) is type(make_decoder(Manifest(decoder=name), tensors))


def test_detections_are_sorted_and_typed(case: Case) -> None:
    """Scores descend; boxes are float32 (n, 4), scores float32, classes int32."""
    found = make_decoder(Manifest(), case[0]).decode(case[1], 0.2)
    assert len(found) == 3
    assert (np.diff(found.scores) < 0).all()
    assert found.classes.tolist() == [1, 0, 1]
    assert (found.boxes.shape, found.boxes.dtype) == ((3, 4), np.float32)
    assert (found.scores.dtype, found.classes.dtype) == (np.float32, np.int32)


def test_the_threshold_only_removes(case: Case) -> None:
    """A higher threshold gives the same detections without the weaker ones."""
    decoder = make_decoder(Manifest(), case[0])
    every, strong = decoder.decode(case[1], 0.2), decoder.decode(case[1], 0.5)
    assert len(strong) == 2
    np.testing.assert_array_equal(strong.boxes, every.boxes[:2])
    assert len(decoder.decode(case[1], 0.95)) == 0


def test_decoding_leaves_no_trace(case: Case) -> None:
    """A decoder neither writes into the slot nor remembers a frame, and its result does not change with the slot."""
    tensors, arrays = case
    decoder = make_decoder(Manifest(), tensors)
    for array in arrays.values():
        array.flags.writeable = False
    first, second = decoder.decode(arrays, 0.2), decoder.decode(arrays, 0.2)
    np.testing.assert_array_equal(first.boxes, second.boxes)
    for result in (first.boxes, first.scores, first.classes):
        assert not any(np.shares_memory(result, array) for array in arrays.values())


def test_tensors_of_another_shape_or_type_are_errors(case: Case) -> None:
    """What is not the tensor announced raises DecodeError, never an empty scene."""
    tensors, arrays = case
    decoder = make_decoder(Manifest(), tensors)
    for wrong in (arrays["out"][:-1], arrays["out"].astype(np.float64)):
        with pytest.raises(DecodeError):
            decoder.decode({"out": wrong}, 0.2)


def test_a_missing_tensor_is_an_error(case: Case) -> None:
    """A completion that lacks an output raises DecodeError."""
    with pytest.raises(DecodeError):
        make_decoder(Manifest(), case[0]).decode({}, 0.2)
