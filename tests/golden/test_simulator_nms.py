"""The simulated device's NMS operators against HailoRT 4.23's own, on recorded heads."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hailod.simulator.networks import layouts, nms, operators
from hailod.simulator.networks.nms import Boxes, Quantisation
from hailod.simulator.networks.operators import Head

ORACLES = ["hailort_yolov5_u8_class", "hailort_yolox_u8_class", "real_yolox_nano_yolox_dog_bicycle_truck"]


def recorded(shared: Path, name: str) -> tuple[Any, dict[str, Any]]:
    tensors = np.load(shared / "oracles" / f"{name}.npz")
    return tensors, ast.literal_eval(str(tensors["meta"]))


def decoded(tensors: Any, meta: dict[str, Any]) -> Boxes:
    def head(name: str) -> Head:
        scale, zero = (float(value) for value in tensors[f"q_{name}"])
        return Head(tensors[f"in_{name}"], Quantisation(scale, zero))

    strides = (8, 16, 32)
    if meta["op"] == "yolov5":
        heads = [head(f"conv{stride}") for stride in strides]
        anchors = [meta["anchors"][stride] for stride in strides]
        return operators.decode_yolov5(heads, anchors, meta["image"], meta["classes"], meta["score"])
    if meta["op"] == "yolov8":
        pairs = [(head(f"reg{stride}"), head(f"cls{stride}")) for stride in strides]
        return operators.decode_yolov8(pairs, strides, meta["image"], meta["score"])
    triples = [(head(f"reg{stride}"), head(f"obj{stride}"), head(f"cls{stride}")) for stride in strides]
    return operators.decode_yolox(triples, meta["score"])


@pytest.mark.parametrize("name", ORACLES)
def test_buffers_of_hailort_come_out_byte_for_byte(shared: Path, name: str) -> None:
    """What HailoRT's own operators wrote by class, from the same heads, to the last bit."""
    tensors, meta = recorded(shared, name)
    kept = nms.suppress(decoded(tensors, meta), meta["iou"], meta["max_per_class"])
    assert layouts.pack_by_class(kept, meta["classes"]).tobytes() == tensors["raw"].tobytes()


def test_yolov8_of_hailort_by_score(shared: Path) -> None:
    """HailoRT's own result by score, its one record too many included; equal scores have no order there."""
    tensors, meta = recorded(shared, "hailort_yolov8_u8_score")
    kept = nms.suppress(decoded(tensors, meta), meta["iou"])[: meta["max_total"] + 1]
    ours = np.frombuffer(layouts.pack_by_score(kept)[2:].tobytes(), layouts.DETECTION)
    theirs = np.frombuffer(tensors["raw"][2:].tobytes(), layouts.DETECTION)
    assert len(ours) == len(theirs) == meta["max_total"] + 1
    assert ours["score"].tolist() == theirs["score"].tolist()

    def canonical(rows: Any) -> Any:
        return sorted((-row["score"], int(row["class_id"]), *row["box"].tolist()) for row in rows[:-1])

    assert np.allclose(canonical(ours), canonical(theirs), atol=1e-6)


def test_by_score_layout_is_that_of_hailort(shared: Path) -> None:
    """Detections in order of score pack into the bytes that HailoRT wrote for the same detections."""
    tensors, _ = recorded(shared, "hailort_yolov8_u8_score")
    rows = tensors["det"]
    found = Boxes(rows[:, 1:5].astype(np.float32), rows[:, 5].astype(np.float32), rows[:, 0].astype(np.int32))
    assert layouts.pack_by_score(found).tobytes() == tensors["raw"].tobytes()
