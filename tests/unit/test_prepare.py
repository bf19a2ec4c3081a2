"""Pixels on their way into a model's input."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from hailod.errors import ModelError
from hailod.geometry import View
from hailod.prepare import Preparer, input_size
from hailod.types import U8, ColorMatrix, Picture, PixelFormat, TensorInfo, TensorOrder

COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (128, 128, 128), (200, 120, 40)]
FULL_VIEW = View()
WEIGHTS = {ColorMatrix.BT601: (0.299, 0.114), ColorMatrix.BT709: (0.2126, 0.0722)}


def rgb_input(height: int = 64, width: int = 64) -> TensorInfo:
    return TensorInfo("input", (height, width, 3), "uint8", TensorOrder.NHWC, height * width * 3)


def slot(tensor: TensorInfo) -> U8:
    """A slot as its last user left it."""
    return np.full(tensor.shape, 77, np.uint8)


def to_yuv(colour: tuple[int, int, int], matrix: ColorMatrix, full_range: bool) -> tuple[int, int, int]:
    """The definition of ITU-R BT.601 and BT.709, one colour at a time."""
    red, blue = WEIGHTS[matrix]
    r, g, b = (part / 255 for part in colour)
    y = red * r + (1 - red - blue) * g + blue * b
    u, v = (b - y) / (2 * (1 - blue)), (r - y) / (2 * (1 - red))
    if full_range:
        return round(255 * y), min(round(128 + 255 * u), 255), min(round(128 + 255 * v), 255)
    return round(16 + 219 * y), round(128 + 224 * u), round(128 + 224 * v)


def uniform(pixel_format: PixelFormat, yuv: tuple[int, int, int], size: tuple[int, int], **colour: object) -> Picture:
    width, height = size
    half = (-(-height // 2), -(-width // 2))
    y = np.full((height, width), yuv[0], np.uint8)
    u, v = np.full(half, yuv[1], np.uint8), np.full(half, yuv[2], np.uint8)
    if pixel_format is PixelFormat.I420:
        planes: tuple[U8, ...] = (y, u, v)
    elif pixel_format is PixelFormat.NV12:
        planes = (y, np.dstack((u, v)))
    else:
        chroma = np.full((height, width), yuv[1], np.uint8)
        chroma[:, 1::2] = yuv[2]
        planes = (np.dstack((y, chroma)),)
    return Picture(pixel_format, width, height, planes, **colour)  # type: ignore[arg-type]


def noise(height: int, width: int) -> Picture:
    """A busy I420 picture: blurred noise, as textures are."""
    rng = np.random.default_rng(7)
    y = cv2.GaussianBlur(rng.integers(0, 256, (height, width), np.uint8), (0, 0), 1.0)
    u, v = (cv2.GaussianBlur(rng.integers(60, 196, (height // 2, width // 2), np.uint8), (0, 0), 1.0) for _ in "uv")
    return Picture(PixelFormat.I420, width, height, (y, u, v))


@pytest.mark.parametrize("pixel_format", [PixelFormat.I420, PixelFormat.NV12, PixelFormat.YUYV])
@pytest.mark.parametrize("matrix", list(ColorMatrix))
@pytest.mark.parametrize("full_range", [False, True])
def test_colours_follow_matrix_and_range(pixel_format: PixelFormat, matrix: ColorMatrix, full_range: bool) -> None:
    """Every YUV layout gives the colour that its matrix and range define, to within the rounding of its bytes."""
    preparer = Preparer(rgb_input())
    for colour in COLOURS:
        yuv = to_yuv(colour, matrix, full_range)
        out = slot(rgb_input())
        preparer.prepare(uniform(pixel_format, yuv, (64, 64), matrix=matrix, full_range=full_range), FULL_VIEW, out)
        assert np.abs(out.astype(int) - colour).max() <= 3


def test_rgb_and_bgr_arrive_as_rgb() -> None:
    """Pictures without YUV keep their colours, whichever order their channels have."""
    rgb = np.empty((64, 64, 3), np.uint8)
    rgb[:] = (10, 20, 30)
    for pixel_format, plane in ((PixelFormat.RGB, rgb), (PixelFormat.BGR, np.ascontiguousarray(rgb[..., ::-1]))):
        out = slot(rgb_input())
        Preparer(rgb_input()).prepare(Picture(pixel_format, 64, 64, (plane,)), FULL_VIEW, out)
        assert (out == (10, 20, 30)).all()


def test_grey_of_limited_range_is_stretched() -> None:
    """A grey camera's black and white arrive as 0 and 255."""
    plane = np.full((64, 64), 16, np.uint8)
    plane[32:] = 235
    out = slot(rgb_input())
    Preparer(rgb_input()).prepare(Picture(PixelFormat.GRAY, 64, 64, (plane,)), FULL_VIEW, out)
    assert (out[0] == 0).all()
    assert (out[-1] == 255).all()


@pytest.mark.parametrize("align", ["center", "top_left"])
def test_borders_are_written_each_time(align: str) -> None:
    """A slot that another camera's picture filled shows nothing of it in the border."""
    tensor = rgb_input()
    preparer = Preparer(tensor, align=align, pad=114)  # type: ignore[arg-type]
    wide, tall = (
        uniform(PixelFormat.I420, (235, 128, 128), (128, 64)),
        uniform(PixelFormat.I420, (16, 128, 128), (64, 128)),
    )
    out = slot(tensor)
    for picture in (wide, tall, wide):
        target = preparer.prepare(picture, FULL_VIEW, out).target
        border = np.ones(out.shape[:2], bool)
        border[target.y : target.y + target.height, target.x : target.x + target.width] = False
        assert (out[border] == 114).all()
        assert (out[~border] == (255 if picture is wide else 0)).all()


def test_row_padding_and_read_only_planes() -> None:
    """A decoder's padded, write-protected buffer gives the same pixels as a tight one, and is left as it was."""
    tight = noise(90, 122)
    padded = []
    for plane in tight.planes:
        buffer = np.full((plane.shape[0], plane.shape[1] + 38), 255, np.uint8)
        buffer[:, : plane.shape[1]] = plane
        buffer.flags.writeable = False
        padded.append(buffer[:, : plane.shape[1]])
    first, second = slot(rgb_input()), slot(rgb_input())
    for view in (View(), View(crop=(0.2, 0.1, 0.9, 0.8), rotate=270, flip="vertical")):
        Preparer(rgb_input()).prepare(tight, view, first)
        Preparer(rgb_input()).prepare(replace(tight, planes=tuple(padded)), view, second)
        assert (first == second).all()


@pytest.mark.parametrize("size", [(33, 17), (2, 2), (3, 501), (641, 361)])
@pytest.mark.parametrize("pixel_format", [PixelFormat.I420, PixelFormat.NV12])
def test_odd_sizes(size: tuple[int, int], pixel_format: PixelFormat) -> None:
    """A picture of any size, odd ones too, fills its target."""
    preparer, out = Preparer(rgb_input(), pad=0), slot(rgb_input())
    target = preparer.prepare(uniform(pixel_format, (235, 128, 128), size), View(rotate=90), out).target
    assert (out[target.y : target.y + target.height, target.x : target.x + target.width] == 255).all()


@pytest.mark.parametrize("size", [(720, 1280), (1080, 1920), (972, 1296)])
def test_shrinking_does_not_alias(size: tuple[int, int]) -> None:
    """A shrunk picture is far nearer to the mean of all its pixels than one bilinear step would leave it."""
    picture, tensor = noise(*size), rgb_input(320, 320)
    out = slot(tensor)
    target = Preparer(tensor).prepare(picture, FULL_VIEW, out).target
    packed = np.concatenate([plane.reshape(-1) for plane in picture.planes]).reshape(-1, size[1])
    full = cv2.cvtColor(packed, cv2.COLOR_YUV2RGB_I420)
    best = cv2.resize(full, target.size, interpolation=cv2.INTER_AREA).astype(np.float64)
    usual = cv2.resize(full, target.size, interpolation=cv2.INTER_LINEAR)
    prepared = out[target.y : target.y + target.height]
    assert np.abs(prepared - best).mean() < 0.7 * np.abs(usual - best).mean()


def test_growing_is_smooth() -> None:
    """A picture smaller than the input is interpolated, not repeated."""
    ramp = np.tile(np.arange(16, 48, 2, dtype=np.uint8), (16, 1))
    out = slot(rgb_input())
    Preparer(rgb_input()).prepare(Picture(PixelFormat.GRAY, 16, 16, (ramp,), full_range=True), FULL_VIEW, out)
    assert np.abs(np.diff(out[32, :, 0].astype(int))).max() <= 1


@pytest.mark.parametrize("pixel_format", [PixelFormat.I420, PixelFormat.NV12, PixelFormat.YUYV])
def test_nv12_inputs_get_yuv_as_it_comes(pixel_format: PixelFormat) -> None:
    """A model compiled for NV12 gets luma and chroma unconverted, with a border without colour."""
    tensor = TensorInfo("input", (32, 64, 3), "uint8", TensorOrder.NV12, 64 * 64 * 3 // 2)
    out = slot(tensor)
    Preparer(tensor, pad=114).prepare(uniform(pixel_format, (90, 60, 200), (128, 64)), FULL_VIEW, out)
    y, uv = out.reshape(-1)[: 64 * 64].reshape(64, 64), out.reshape(-1)[64 * 64 :].reshape(32, 32, 2)
    assert (y[16:48] == 90).all()
    assert (uv[8:24] == (60, 200)).all()
    assert (y[:16] == 114).all()
    assert (y[48:] == 114).all()
    assert (uv[:8] == 128).all()
    assert (uv[24:] == 128).all()


@pytest.mark.parametrize("pixel_format", [PixelFormat.I420, PixelFormat.NV12, PixelFormat.YUYV])
@pytest.mark.parametrize("rotate", [0, 90])
def test_yuy2_inputs_get_yuv_as_it_comes(pixel_format: PixelFormat, rotate: int) -> None:
    """A model compiled for YUY2 gets Y U Y V, whichever way the camera hangs."""
    tensor = TensorInfo("input", (64, 64, 2), "uint8", TensorOrder.YUY2, 64 * 64 * 2)
    out = slot(tensor)
    view = View(rotate=rotate)  # type: ignore[arg-type]
    Preparer(tensor, pad=114).prepare(uniform(pixel_format, (90, 60, 200), (128, 64)), view, out)
    across = out if rotate == 0 else out.transpose(1, 0, 2)
    assert (across[16:48, :, 0] == 90).all()
    assert (across[:16, :, 0] == 114).all()
    inside = out[16:48] if rotate == 0 else out[:, 16:48]
    assert (inside[:, 0::2, 1] == 60).all()
    assert (inside[:, 1::2, 1] == 200).all()
    assert (across[48:, :, 1] == 128).all()


def test_rgb_pictures_reach_yuv_inputs() -> None:
    """A picture in RGB for a model compiled for NV12 is converted as the chip expects, BT.601 of limited range."""
    tensor = TensorInfo("input", (32, 64, 3), "uint8", TensorOrder.NV12, 64 * 64 * 3 // 2)
    for pixel_format, channels in ((PixelFormat.RGB, (200, 120, 40)), (PixelFormat.BGR, (40, 120, 200))):
        plane = np.empty((64, 64, 3), np.uint8)
        plane[:] = channels
        out = slot(tensor)
        Preparer(tensor).prepare(Picture(pixel_format, 64, 64, (plane,)), FULL_VIEW, out)
        y, u, v = to_yuv((200, 120, 40), ColorMatrix.BT601, False)
        assert np.abs(out.reshape(-1)[: 64 * 64].astype(int) - y).max() <= 1
        assert np.abs(out.reshape(-1)[64 * 64 :].reshape(-1, 2).astype(int) - (u, v)).max() <= 1


@pytest.mark.parametrize(
    "tensor",
    [
        TensorInfo("input", (64, 64, 4), "uint8", TensorOrder.NHWC, 64 * 64 * 4),
        TensorInfo("input", (64, 64, 3), "float32", TensorOrder.NHWC, 64 * 64 * 12),
        TensorInfo("input", (1000,), "uint8", TensorOrder.NC, 1000),
    ],
)
def test_inputs_that_take_no_picture_are_refused(tensor: TensorInfo) -> None:
    """A model whose first input is no picture is refused with what is allowed."""
    with pytest.raises(ModelError, match="allowed: uint8 NHWC"):
        input_size(tensor)


def test_an_nv12_input_has_twice_the_rows_of_its_shape() -> None:
    """HailoRT's (540, 1920, 3) of NV12 is a picture of 1920x1080."""
    assert input_size(TensorInfo("input", (540, 1920, 3), "uint8", TensorOrder.NV12, 3110400)) == (1920, 1080)


def test_wrong_slots_are_refused() -> None:
    """A slot of another shape is an error, never half written."""
    with pytest.raises(ValueError, match="no input"):
        Preparer(rgb_input()).prepare(noise(64, 64), FULL_VIEW, np.zeros((64, 32, 3), np.uint8))


@pytest.mark.parametrize(
    "picture",
    [
        Picture(PixelFormat.I420, 64, 64, (np.zeros((64, 64), np.uint8),)),
        Picture(PixelFormat.NV12, 64, 64, (np.zeros((64, 64), np.uint8), np.zeros((64, 32, 2), np.uint8))),
        Picture(PixelFormat.YUYV, 63, 64, (np.zeros((64, 63, 2), np.uint8),)),
    ],
)
def test_wrong_planes_are_refused(picture: Picture) -> None:
    """Planes that are not those of the format are an error, not a skewed picture."""
    with pytest.raises(ValueError, match=r"yuyv|expected"):
        Preparer(rgb_input()).prepare(picture, FULL_VIEW, slot(rgb_input()))
