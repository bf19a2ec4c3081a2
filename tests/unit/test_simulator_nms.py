"""NMS of the simulated device on boxes small enough to check by hand."""

from __future__ import annotations

import numpy as np
import pytest

from hailod.simulator import nms
from hailod.simulator.nms import Boxes, Quantisation, YoloxHead


def boxes(*rows: tuple[float, float, float, float, float, int]) -> Boxes:
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Boxes(table[:, :4], table[:, 4], table[:, 5].astype(np.int32))


def test_an_overlap_equal_to_the_threshold_is_suppressed() -> None:
    """IoU at the threshold suppresses, below it does not, and other classes are left alone."""
    found = boxes((0, 0, 1, 1, 0.9, 0), (0, 0, 1, 0.5, 0.8, 0), (0, 0, 1, 1, 0.7, 1), (0, 0, 1, 0.25, 0.6, 0))
    kept = nms.suppress(found, 0.5, 10)
    assert kept.scores.tolist() == pytest.approx([0.9, 0.7, 0.6])


def test_the_weakest_of_too_many_go() -> None:
    """Per class the best `max_per_class` survivors stay, in order of score."""
    found = boxes(*((i, 0, i + 0.5, 1, 0.9 - i / 10, 0) for i in range(5)))
    assert nms.suppress(found, 0.5, 2).scores.tolist() == pytest.approx([0.9, 0.8])


def test_one_cell_may_be_several_classes() -> None:
    """Every class of a cell that reaches the threshold, equality included, is a detection of the same box."""
    half, quarter = 128, 64
    unit = Quantisation(1 / 256, 0.0)
    head = YoloxHead(
        reg=np.full((1, 1, 4), 128, np.uint8),
        obj=np.full((1, 1, 1), half, np.uint8),
        cls=np.array([[[half, half + 64, quarter]]], np.uint8),
        reg_quant=Quantisation(1 / 256, 128.0),
        obj_quant=unit,
        cls_quant=unit,
    )
    found = nms.decode_yolox([head], 0.25)
    assert found.classes.tolist() == [1, 0]
    assert found.scores.tolist() == [0.375, 0.25]
    assert found.boxes.tolist() == [[-0.5, -0.5, 0.5, 0.5]] * 2


def test_by_class_layout() -> None:
    """Each class is its count and its rows, the next class following at once."""
    packed = nms.pack_by_class(boxes((1, 2, 3, 4, 0.5, 2)), 4).view(np.float32)
    assert packed.tolist() == [0, 0, 1, 1, 2, 3, 4, 0.5, 0]


def test_by_score_layout() -> None:
    """A count of two bytes, then 22 bytes per detection."""
    packed = nms.pack_by_score(boxes((1, 2, 3, 4, 0.5, 7)))
    assert len(packed) == 24
    assert packed[:2].tolist() == [1, 0]
    assert packed[2:22].view("<f4").tolist() == [1, 2, 3, 4, 0.5]
    assert packed[22:].tolist() == [7, 0]


def test_nothing_found_is_counts_of_zero() -> None:
    """An empty scene is a valid buffer in both layouts."""
    assert nms.pack_by_class(boxes(), 3).view(np.float32).tolist() == [0, 0, 0]
    assert nms.pack_by_score(boxes()).tolist() == [0, 0]
