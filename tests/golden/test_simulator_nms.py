"""The simulated device's YOLOX operator against HailoRT 4.23's own, on recorded heads."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

from hailod.simulator import nms
from hailod.simulator.nms import Boxes, Quantisation, YoloxHead

ORACLES = ["hailort_yolox_u8_class", "real_yolox_nano_yolox_dog_bicycle_truck"]


@pytest.mark.parametrize("oracle", ORACLES)
def test_same_bytes_as_hailort(oracle: str, shared: Path) -> None:
    """From the same quantised heads comes the same by-class buffer, to the last bit."""
    recorded = np.load(shared / "oracles" / f"{oracle}.npz")
    meta = ast.literal_eval(str(recorded["meta"]))

    def quantisation(layer: str) -> Quantisation:
        scale, zero_point = recorded[f"q_{layer}"]
        return Quantisation(float(scale), float(zero_point))

    heads = [
        YoloxHead(
            *(recorded[f"in_{part}{stride}"] for part in ("reg", "obj", "cls")),
            *(quantisation(f"{part}{stride}") for part in ("reg", "obj", "cls")),
        )
        for stride in (8, 16, 32)
    ]
    found = nms.suppress(nms.decode_yolox(heads, meta["score"]), meta["iou"], meta["max_per_class"])
    packed = nms.pack_by_class(found, meta["classes"])
    assert packed.tobytes() == recorded["raw"].tobytes()


def test_by_score_layout_is_that_of_hailort(shared: Path) -> None:
    """Detections in order of score pack into the bytes that HailoRT wrote for the same detections."""
    recorded = np.load(shared / "oracles" / "hailort_yolov8_u8_score.npz")
    rows = recorded["det"]
    found = Boxes(rows[:, 1:5].astype(np.float32), rows[:, 5].astype(np.float32), rows[:, 0].astype(np.int32))
    assert nms.pack_by_score(found).tobytes() == recorded["raw"].tobytes()
