"""Placement by example; the laws are in the property tests."""

from __future__ import annotations

import numpy as np
import pytest

from hailod.geometry import Rect, View, place


def test_letterbox_is_centred() -> None:
    """A wide frame lies in the middle of a square input, with borders above and below."""
    placement = place((1280, 720), View(), (640, 640))
    assert placement.target == Rect(0, 140, 640, 360)
    assert placement.source == Rect(0, 0, 1280, 720)


def test_letterbox_in_the_corner() -> None:
    """YOLOX models get their picture in the top left corner."""
    assert place((768, 576), View(), (416, 416), align="top_left").target == Rect(0, 0, 416, 312)


def test_stretch_fills_the_input() -> None:
    """A stretched picture leaves no border."""
    assert place((1920, 1080), View(), (300, 300), "stretch").target == Rect(0, 0, 300, 300)


def test_rotation_turns_the_aspect() -> None:
    """A camera mounted on its side gives a tall picture."""
    assert place((1280, 720), View(rotate=90), (640, 640)).target == Rect(140, 0, 360, 640)


def test_rotation_is_clockwise() -> None:
    """What is at the top left of the frame is at the top right of a picture rotated by 90 degrees."""
    placement = place((640, 640), View(rotate=90), (640, 640))
    np.testing.assert_allclose(placement.to_model(np.array([[0, 0, 0.1, 0.2]], np.float32)), [[0.8, 0, 1, 0.1]])


def test_the_flip_comes_after_the_rotation() -> None:
    """A horizontal flip mirrors left and right of the rotated picture, not of the frame."""
    placement = place((640, 640), View(rotate=90, flip="horizontal"), (640, 640))
    np.testing.assert_allclose(
        placement.to_model(np.array([[0, 0, 0.1, 0.2]], np.float32)), [[0, 0, 0.2, 0.1]], atol=1e-7
    )


def test_crops_are_cut_at_even_pixels() -> None:
    """A crop is moved to the nearest even pixels, because 4:2:0 chroma has no odd ones."""
    placement = place((1001, 501), View(crop=(0.1, 0.1, 0.9, 1.0)), (640, 640))
    assert placement.source == Rect(100, 50, 800, 451)


def test_chroma_sharing_inputs_get_even_targets() -> None:
    """NV12 and YUY2 inputs have their picture start and end at even pixels."""
    target = place((1000, 333), View(), (642, 481), grid=2).target
    assert all(side % 2 == 0 for side in (target.x, target.y, target.width, target.height))


def test_boxes_are_clipped_to_the_frame() -> None:
    """What a model sees in the border is not reported outside the frame."""
    placement = place((1280, 720), View(), (640, 640))
    boxes = placement.to_frame(np.array([[-0.2, 0.0, 1.3, 1.0]], np.float32))
    assert boxes.tolist() == [[0.0, 0.0, 1.0, 1.0]]
    assert boxes.dtype == np.float32


def test_no_boxes_stay_no_boxes() -> None:
    """An empty result keeps its shape."""
    assert place((1280, 720), View(), (640, 640)).to_frame(np.empty((0, 4), np.float32)).shape == (0, 4)


@pytest.mark.parametrize(("frame", "model"), [((1, 720), (640, 640)), ((1280, 720), (640, 0))])
def test_sizes_that_are_no_picture_are_refused(frame: tuple[int, int], model: tuple[int, int]) -> None:
    """A picture of less than two pixels a side is an error, not a division by zero."""
    with pytest.raises(ValueError, match="cannot be laid"):
        place(frame, View(), model)
