"""Boxes and pixels agree on where a picture lies, for every crop, rotation, flip and size."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hailod.geometry import Align, Flip, Placement, Resize, Rotate, View, place
from hailod.prepare import Preparer
from hailod.types import F32, Picture, PixelFormat, TensorInfo, TensorOrder

ROTATIONS: tuple[Rotate, ...] = (0, 90, 180, 270)
FLIPS: tuple[Flip, ...] = ("none", "horizontal", "vertical", "both")
RESIZES: tuple[Resize, ...] = ("letterbox", "stretch")
ALIGNS: tuple[Align, ...] = ("center", "top_left")

sides = st.integers(2, 3000)
sizes = st.tuples(sides, sides)


@st.composite
def spans(draw: st.DrawFn) -> tuple[float, float]:
    start = draw(st.floats(0.0, 0.9))
    return start, draw(st.floats(start + 0.05, 1.0))


@st.composite
def views(draw: st.DrawFn) -> View:
    (x1, x2), (y1, y2) = draw(spans()), draw(spans())
    return View((x1, y1, x2, y2), draw(st.sampled_from(ROTATIONS)), draw(st.sampled_from(FLIPS)))


@st.composite
def placements(draw: st.DrawFn) -> Placement:
    resize, align = draw(st.sampled_from(RESIZES)), draw(st.sampled_from(ALIGNS))
    return place(draw(sizes), draw(views()), draw(sizes), resize, align, grid=draw(st.sampled_from((1, 2))))


@st.composite
def boxes(draw: st.DrawFn) -> F32:
    rows = draw(st.lists(st.tuples(spans(), spans()), min_size=0, max_size=5))
    return np.array([(x1, y1, x2, y2) for (x1, x2), (y1, y2) in rows], np.float32).reshape(-1, 4)


@given(placements(), boxes())
def test_the_way_back_is_exact(placement: Placement, frame_boxes: F32) -> None:
    """A box taken from frame to model and back is the box it was."""
    source, (width, height) = placement.source, placement.frame_size
    # What lies far outside a small crop is far outside the model's input, where float32 is coarse.
    magnification = max(width / source.width, height / source.height)
    back = placement.to_frame(placement.to_model(frame_boxes))
    assert np.abs(back - frame_boxes).max(initial=0.0) <= 5e-6 * max(1.0, magnification)


@given(placements())
def test_the_target_is_the_source(placement: Placement) -> None:
    """The target rectangle of the input is exactly the source rectangle of the frame."""
    target, source = placement.target, placement.source
    (width, height), (frame_width, frame_height) = placement.input_size, placement.frame_size
    inside = np.array(
        [
            [
                target.x / width,
                target.y / height,
                (target.x + target.width) / width,
                (target.y + target.height) / height,
            ]
        ],
        np.float32,
    )
    expected = [
        source.x / frame_width,
        source.y / frame_height,
        (source.x + source.width) / frame_width,
        (source.y + source.height) / frame_height,
    ]
    # The narrower the target, the more a rounding of float32 in the wide input is magnified.
    magnification = max(width / target.width, height / target.height)
    np.testing.assert_allclose(placement.to_frame(inside)[0], expected, rtol=0, atol=1e-6 + 2e-7 * magnification)


@given(placements(), boxes())
def test_boxes_of_the_frame_keep_their_corners_in_order(placement: Placement, model_boxes: F32) -> None:
    """However the view is turned, x1 <= x2 and y1 <= y2, and all lies within the frame."""
    frame_boxes = placement.to_frame(model_boxes)
    assert (frame_boxes[:, :2] <= frame_boxes[:, 2:]).all()
    assert ((frame_boxes >= 0.0) & (frame_boxes <= 1.0)).all()


@given(placements())
def test_rectangles_lie_within_their_pictures(placement: Placement) -> None:
    """Source and target are non-empty, lie within frame and input, and the source starts at even pixels."""
    for rect, (width, height) in ((placement.source, placement.frame_size), (placement.target, placement.input_size)):
        assert rect.x >= 0
        assert rect.y >= 0
        assert 0 < rect.width <= width - rect.x
        assert 0 < rect.height <= height - rect.y
    assert placement.source.x % 2 == placement.source.y % 2 == 0


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(tuple(PixelFormat)),
    st.sampled_from(ROTATIONS),
    st.sampled_from(FLIPS),
    st.sampled_from(RESIZES),
    st.sampled_from(ALIGNS),
    st.sampled_from(((0.0, 0.0, 1.0, 1.0), (0.25, 0.0, 1.0, 0.75))),
    st.tuples(st.floats(0.35, 0.9), st.floats(0.1, 0.65)),
    st.sampled_from(((320, 240), (240, 426), (642, 361))),
)
def test_a_marker_is_found_where_the_boxes_say(
    pixel_format: PixelFormat,
    rotate: Rotate,
    flip: Flip,
    resize: Resize,
    align: Align,
    crop: tuple[float, float, float, float],
    centre: tuple[float, float],
    size: tuple[int, int],
) -> None:
    """A white square drawn into a frame is, in the prepared input, where `to_model` puts its box."""
    width, height = size
    assume(pixel_format is not PixelFormat.YUYV or width % 2 == 0)
    x, y = int(centre[0] * width), int(centre[1] * height)
    luma = np.zeros((height, width), np.uint8)
    luma[y - 8 : y + 8, x - 8 : x + 8] = 255
    tensor = TensorInfo("input", (160, 192, 3), "uint8", TensorOrder.NHWC, 160 * 192 * 3)
    out = np.full(tensor.shape, 77, np.uint8)
    placement = Preparer(tensor, resize=resize, align=align, pad=0).prepare(
        _picture(pixel_format, luma), View(crop, rotate, flip), out
    )
    box = np.array([[(x - 8) / width, (y - 8) / height, (x + 8) / width, (y + 8) / height]], np.float32)
    x1, y1, x2, y2 = placement.to_model(box)[0] * [192, 160, 192, 160]
    bright = out[..., 1].astype(np.float64)
    rows, columns = np.indices(bright.shape)
    found = np.array([(bright * (columns + 0.5)).sum(), (bright * (rows + 0.5)).sum()]) / bright.sum()
    np.testing.assert_allclose(found, [(x1 + x2) / 2, (y1 + y2) / 2], atol=0.6)
    assert abs(bright.sum() / 255 - (x2 - x1) * (y2 - y1)) <= 0.2 * (x2 - x1) * (y2 - y1) + 2


def _picture(pixel_format: PixelFormat, luma: np.ndarray) -> Picture:
    height, width = luma.shape
    chroma = np.full((-(-height // 2), -(-width // 2)), 128, np.uint8)
    planes = {
        PixelFormat.I420: (luma, chroma, chroma),
        PixelFormat.NV12: (luma, np.dstack((chroma, chroma))),
        PixelFormat.YUYV: (np.dstack((luma, np.full_like(luma, 128))),),
        PixelFormat.GRAY: (luma,),
        PixelFormat.RGB: (np.dstack((luma,) * 3),),
        PixelFormat.BGR: (np.dstack((luma,) * 3),),
    }[pixel_format]
    return Picture(pixel_format, width, height, planes, full_range=True)
