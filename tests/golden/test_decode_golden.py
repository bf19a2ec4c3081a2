"""Decoders against recorded tensors with the answers of HailoRT's own host operators."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hailod.decode import make_decoder
from hailod.models.manifest import Manifest
from hailod.types import Detections, ModelTensors, NmsShape, TensorInfo, TensorOrder


def load(shared: Path, name: str) -> tuple[Any, dict[str, Any]]:
    file = shared / "oracles" / f"{name}.npz"
    if not file.is_file():
        pytest.skip(f"{file.name} is not there")
    recorded = np.load(file)
    return recorded, ast.literal_eval(str(recorded["meta"]))


def assert_same(found: Detections, det: np.ndarray) -> None:
    """`det` are rows class, y_min, x_min, y_max, x_max, score, in any order; scores are distinct."""
    expected = det[np.argsort(-det[:, 5], kind="stable")]
    assert len(found) == len(expected)
    np.testing.assert_allclose(found.scores, expected[:, 5], atol=1e-6)
    np.testing.assert_array_equal(found.classes, expected[:, 0])
    np.testing.assert_allclose(found.boxes, expected[:, [2, 1, 4, 3]], atol=1e-5)


@pytest.mark.parametrize("name", ["hailort_yolox_u8_class", "real_yolox_nano_yolox_dog_bicycle_truck"])
@pytest.mark.parametrize("packed", [False, True])
def test_yolox_heads(shared: Path, name: str, packed: bool) -> None:
    """Raw YOLOX heads, apart or packed per stride, give what HailoRT's own post-processing gives."""
    recorded, meta = load(shared, name)
    outputs, tensors = [], {}
    for stride in (8, 16, 32):
        parts = {part: recorded[f"in_{part}{stride}"] for part in ("reg", "obj", "cls")}
        quantisation = {part: recorded[f"q_{part}{stride}"] for part in parts}
        if packed:
            # One tensor has one type; its channels may have a quantisation each.
            depths = [parts[part].shape[2] for part in parts]
            scale = np.repeat([quantisation[part][0] for part in parts], depths)
            zero_point = np.repeat([quantisation[part][1] for part in parts], depths)
            array = np.concatenate(list(parts.values()), axis=2)
            name_, infos = f"head{stride}", (tuple(scale.tolist()), tuple(zero_point.tolist()))
            outputs.append(TensorInfo(name_, array.shape, "uint8", TensorOrder.NHWC, array.nbytes, *infos))
            tensors[name_] = array
            continue
        for part, array in parts.items():
            scale, zero_point = quantisation[part].tolist()
            # Names say nothing on purpose: the tensors are told by their shapes.
            name_ = f"conv{len(outputs)}"
            outputs.append(
                TensorInfo(name_, array.shape, "uint8", TensorOrder.NHWC, array.nbytes, (scale,), (zero_point,))
            )
            tensors[name_] = array
    height, width = meta["image"]
    picture = TensorInfo("input", (height, width, 3), "uint8", TensorOrder.NHWC, height * width * 3)
    manifest = Manifest(nms_iou=meta["iou"], nms_max_per_class=meta["max_per_class"])
    decoder = make_decoder(manifest, ModelTensors((picture,), tuple(outputs[::-1])))
    assert_same(decoder.decode(tensors, meta["score"]), recorded["det"])


def test_nms_by_class(shared: Path) -> None:
    """HailoRT's buffer by class is read exactly, with what earlier frames left behind it ignored."""
    recorded, meta = load(shared, "hailort_yolov8_u8_class")
    elements = meta["classes"] * (1 + 5 * meta["max_per_class"])
    buffer = np.full(elements, np.nan, np.float32)
    raw = recorded["raw"].view(np.float32)
    buffer[: len(raw)] = raw
    shape = NmsShape(meta["classes"], meta["max_per_class"])
    output = TensorInfo("nms", (elements,), "float32", TensorOrder.NMS_BY_CLASS, elements * 4, nms=shape)
    decoder = make_decoder(Manifest(), ModelTensors((), (output,)))
    assert_same(decoder.decode({"nms": buffer}, meta["score"]), recorded["det"])


@pytest.mark.parametrize("room", [40, 41, 60])
def test_nms_by_score(shared: Path, room: int) -> None:
    """HailoRT's buffer by score is read exactly, even when it holds one record more than it has room for."""
    recorded, meta = load(shared, "hailort_yolov8_u8_score")
    size = 2 + 22 * room
    buffer = np.full(size, 255, np.uint8)
    raw = recorded["raw"][:size]
    buffer[: len(raw)] = raw
    shape = NmsShape(meta["classes"], meta["max_per_class"])
    output = TensorInfo("nms", (size,), "uint8", TensorOrder.NMS_BY_SCORE, size, nms=shape)
    decoder = make_decoder(Manifest(), ModelTensors((), (output,)))
    assert_same(decoder.decode({"nms": buffer}, meta["score"]), recorded["det"][:room])
