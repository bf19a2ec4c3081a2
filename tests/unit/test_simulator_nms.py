"""Suppression and the decoders of the simulated device, on heads small enough to check by hand."""

from __future__ import annotations

import numpy as np
import pytest

from hailod.simulator.networks import nms, operators
from hailod.simulator.networks.nms import Boxes, Quantisation
from hailod.simulator.networks.operators import Head, Prototypes


def boxes(*rows: tuple[float, float, float, float, float, int]) -> Boxes:
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Boxes.best_first(table[:, :4], table[:, 4], table[:, 5])


def test_an_overlap_equal_to_the_threshold_is_suppressed() -> None:
    """IoU at the threshold suppresses, below it does not, and other classes are left alone."""
    found = boxes((0, 0, 1, 1, 0.9, 0), (0, 0, 1, 0.5, 0.8, 0), (0, 0, 1, 1, 0.7, 1), (0, 0, 1, 0.25, 0.6, 0))
    kept = nms.suppress(found, 0.5, 10)
    assert kept.scores.tolist() == pytest.approx([0.9, 0.7, 0.6])


def test_boxes_without_area_overlap_nothing() -> None:
    """Two points in the same place are two detections, and no division by zero."""
    found = boxes((0.5, 0.5, 0.5, 0.5, 0.9, 0), (0.5, 0.5, 0.5, 0.5, 0.8, 0))
    assert len(nms.suppress(found, 0.5)) == 2


def test_the_weakest_of_too_many_go() -> None:
    """Per class the best `max_per_class` survivors stay, in order of score."""
    found = boxes(*((i, 0, i + 0.5, 1, 0.9 - i / 10, 0) for i in range(5)))
    assert nms.suppress(found, 0.5, 2).scores.tolist() == pytest.approx([0.9, 0.8])
    assert nms.best_per_class(found, 3).scores.tolist() == pytest.approx([0.9, 0.8, 0.7])


def test_one_cell_may_be_several_classes() -> None:
    """Every class of a cell that reaches the threshold, equality included, is a detection of the same box."""
    half, quarter = 128, 64
    unit = Quantisation(1 / 256, 0.0)
    reg = Head(np.full((1, 1, 4), 128, np.uint8), Quantisation(1 / 256, 128.0))
    obj = Head(np.full((1, 1, 1), half, np.uint8), unit)
    cls = Head(np.array([[[half, half + 64, quarter]]], np.uint8), unit)
    found = operators.decode_yolox([(reg, obj, cls)], 0.25)
    assert found.classes.tolist() == [1, 0]
    assert found.scores.tolist() == [0.375, 0.25]
    assert found.boxes.tolist() == [[-0.5, -0.5, 0.5, 0.5]] * 2


def test_yolov8_distances_are_expected_bins_from_the_centre_of_a_cell() -> None:
    """One certain bin per side is that distance in strides; order left, top, right, bottom."""
    bins = np.zeros((2, 2, 4, 4), np.uint8)
    for side, distance in enumerate((0, 1, 2, 3)):
        bins[1, 0, side, distance] = 200
    reg = Head(bins.reshape(2, 2, 16), Quantisation(0.1, 0.0))
    cls = np.zeros((2, 2, 3), np.uint8)
    cls[1, 0, 2] = 128
    found = operators.decode_yolov8([(reg, Head(cls, Quantisation(1 / 256, 0.0)))], [8], (16, 32), 0.5)
    assert (found.classes.tolist(), found.scores.tolist()) == ([2], [0.5])
    (box,) = found.boxes
    assert box.tolist() == pytest.approx([(12 - 8) / 16, (4 - 0) / 32, (12 + 24) / 16, (4 + 16) / 32])


def test_yolov5_scales_anchors() -> None:
    """t of one half is the middle of the cell and the anchor itself; scores are objectness by class."""
    head = np.zeros((1, 2, 2, 7), np.uint8)
    head[0, 1, 1] = [128, 128, 128, 128, 192, 64, 128]
    found = operators.decode_yolov5(
        [Head(head.reshape(1, 2, 14), Quantisation(1 / 256, 0.0))], [(4, 4, 8, 4)], (16, 32), 2, 0.25
    )
    assert (found.classes.tolist(), found.scores.tolist()) == ([1], [0.375])
    assert found.boxes[0].tolist() == pytest.approx([0.5 - 2 / 16, 0.75 - 4 / 32, 0.5 + 2 / 16, 0.75 + 4 / 32])


def test_yolov5_with_masks_takes_logits_and_weighs_coefficients() -> None:
    """Only with masks is the sigmoid the host's; coefficients are multiplied with the objectness."""
    head = np.full((1, 1, 1, 6 + 32), 100, np.uint8)
    head[0, 0, 0, 6] = 104
    found = operators.decode_yolov5(
        [Head(head.reshape(1, 1, -1), Quantisation(0.5, 100.0))], [(8, 8)], (16, 16), 1, 0.2, masks=True
    )
    assert found.scores.tolist() == [0.25]
    assert found.coefficients is not None
    assert found.coefficients[0, :2].tolist() == [1.0, 0.0]
    assert found.boxes[0].tolist() == pytest.approx([0.25, 0.25, 0.75, 0.75])


def test_masks_are_spread_bilinearly() -> None:
    """Prototypes of half the size: pixel centres lie between cell centres, edges repeat."""
    values = np.zeros((1, 2, 32), np.float32)
    values[0, 0, 0], values[0, 1, 0] = -10.0, 10.0
    prototypes = Prototypes(values, (2, 4), 0.7)
    coefficients = np.zeros(32, np.float32)
    coefficients[0] = 1.0
    whole = prototypes.mask(coefficients, slice(0, 2), slice(0, 4))
    # Sigmoids near 0 and 1, at a quarter and three quarters of the way between the two cells' centres.
    assert whole.tolist() == [[False, False, True, True]] * 2
    assert prototypes.mask(coefficients, slice(1, 2), slice(1, 3)).tolist() == [[False, True]]
