"""Which tensors are YOLOX heads, and what their numbers mean."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hailod.decode import make_decoder
from hailod.errors import DecodeError, ModelError
from hailod.models.manifest import Manifest
from hailod.types import Detections, ModelTensors, TensorInfo, TensorOrder

PICTURE = TensorInfo("input", (64, 128, 3), "uint8", TensorOrder.NHWC, 64 * 128 * 3)
GRIDS = ((8, 16), (4, 8), (2, 4))


def info(name: str, array: np.ndarray, scale: float = 1.0, zero_point: float = 0.0) -> TensorInfo:
    order = TensorOrder.NHW if array.ndim == 2 else TensorOrder.NHWC
    return TensorInfo(name, array.shape, array.dtype.name, order, array.nbytes, (scale,), (zero_point,))


def heads(classes: int, dtype: str = "float32") -> dict[str, np.ndarray]:
    """Empty separate heads; one object of class 0 in the second grid, row 1, column 2, when filled by `see`."""
    arrays = {}
    for rows, columns in GRIDS:
        for part, depth in (("box", 4), ("objectness", 1), ("classes", classes)):
            arrays[f"{part}{rows}"] = np.zeros((rows, columns, depth), dtype)
    return arrays


def decode(arrays: dict[str, np.ndarray], outputs: list[TensorInfo], threshold: float = 0.3) -> Detections:
    return make_decoder(Manifest(), ModelTensors((PICTURE,), tuple(outputs))).decode(arrays, threshold)


def test_a_cell_becomes_a_box() -> None:
    """Centre is cell plus offset, size is the exponential, both in cells; the score is objectness times class."""
    arrays = heads(3)
    arrays["box4"][1, 2] = (0.5, 0.25, math.log(2), 0)
    arrays["objectness4"][1, 2] = 0.9
    arrays["classes4"][1, 2] = (0.8, 0.1, 0.5)
    found = decode(arrays, [info(name, array) for name, array in arrays.items()])
    assert found.classes.tolist() == [0, 2]
    np.testing.assert_allclose(found.scores, [0.72, 0.45], rtol=1e-6)
    expected = [(2.5 - 1) / 8, (1.25 - 0.5) / 4, (2.5 + 1) / 8, (1.25 + 0.5) / 4]
    np.testing.assert_allclose(found.boxes, [expected, expected], rtol=1e-6)


def test_maps_of_one_channel_may_come_without_it() -> None:
    """HailoRT may present an objectness map as (rows, columns)."""
    arrays = heads(3)
    for name in [name for name in arrays if name.startswith("objectness")]:
        arrays[name] = arrays[name][..., 0]
    arrays["objectness4"][1, 2] = 0.9
    arrays["classes4"][1, 2, 1] = 0.9
    assert decode(arrays, [info(name, array) for name, array in arrays.items()]).classes.tolist() == [1]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_one_tensor_of_all_strides(dtype: str) -> None:
    """A concatenated head is cut at the strides 8, 16 and 32, whatever its type."""
    scale = {"uint8": 1 / 128, "uint16": 1 / 32768, "float32": 1.0}[dtype]
    head = np.zeros((1, 8 * 16 + 4 * 8 + 2 * 4, 7), np.float32)
    head[0, 8 * 16 + 1 * 8 + 2] = (0.5, 0.25, 0, 0, 0.75, 0, 0.75)
    array = head if dtype == "float32" else np.rint(head / scale).astype(dtype)
    found = decode({"head": array}, [info("head", array, scale)])
    assert found.classes.tolist() == [1]
    np.testing.assert_allclose(found.scores, [0.5625], rtol=1e-6)
    np.testing.assert_allclose(found.boxes, [[2 / 8, 0.75 / 4, 3 / 8, 1.75 / 4]], rtol=1e-6)


def test_four_classes_are_told_from_a_box_by_their_range() -> None:
    """With four classes two tensors have the same shape; the one that can be negative is the box."""
    arrays = heads(4, "uint8")
    arrays["objectness4"][1, 2] = 255
    arrays["classes4"][1, 2, 3] = 255
    arrays["box4"][:] = 128
    outputs = [
        info(name, array, *((1 / 32, 128.0) if name.startswith("box") else (1 / 255, 0.0)))
        for name, array in reversed(arrays.items())
    ]
    assert decode(arrays, outputs).classes.tolist() == [3]


def test_four_classes_without_a_range_are_refused() -> None:
    """Where nothing tells a box from four classes the model is refused, never guessed."""
    arrays = heads(4)
    with pytest.raises(ModelError, match="cannot be told"):
        decode(arrays, [info(name, array) for name, array in arrays.items()])


def test_grids_must_agree_on_the_classes() -> None:
    """Heads with different numbers of classes are not one model."""
    arrays = heads(3)
    arrays["classes4"] = np.zeros((4, 8, 5), np.float32)
    with pytest.raises(ModelError, match="different numbers of classes"):
        decode(arrays, [info(name, array) for name, array in arrays.items()])


def test_heads_of_other_families_are_refused() -> None:
    """The heads of YOLOv8, which have no objectness, are not taken for YOLOX."""
    arrays = {"reg": np.zeros((8, 16, 64), np.uint8), "cls": np.zeros((8, 16, 80), np.uint8)}
    with pytest.raises(ModelError, match="cannot be told"):
        decode(arrays, [info(name, array, 1 / 255) for name, array in arrays.items()])


@pytest.mark.parametrize(
    "quantisation", [((0.0,), (0.0,)), ((-1.0,), (0.0,)), ((math.nan,), (0.0,)), ((1.0, 1.0), (0.0,))]
)
def test_impossible_quantisation_is_refused(quantisation: tuple[tuple[float, ...], tuple[float, ...]]) -> None:
    """A scale that is not positive, not finite or of another number of channels is refused before the first frame."""
    array = np.zeros((168, 7), np.uint8)
    output = TensorInfo("head", array.shape, "uint8", TensorOrder.NHW, array.nbytes, *quantisation)
    with pytest.raises(ModelError, match=r"scale|quantisation"):
        decode({"head": array}, [output])


@pytest.mark.parametrize(
    ("part", "value"),
    [("objectness4", math.nan), ("classes4", math.nan), ("box4", math.nan), ("box4", 1e30), ("objectness4", 6.0)],
)
def test_impossible_numbers_are_errors(part: str, value: float) -> None:
    """NaN, boxes without end and scores that never saw a sigmoid are errors, never an empty scene."""
    arrays = heads(3)
    arrays["objectness4"][1, 2] = 0.9
    arrays["classes4"][1, 2] = 0.9
    arrays[part][1, 2] = value
    with pytest.raises(DecodeError):
        decode(arrays, [info(name, array) for name, array in arrays.items()])
