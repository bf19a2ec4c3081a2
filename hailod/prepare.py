"""Lays decoded pictures into a model's input: cropped, oriented, resized, converted, with a border.

Pixels stay YUV until they are small. The planes are resized first, each straight to the size of the target, so that the
colour of a 4:2:0 picture keeps what resolution it has; then one matrix turns them into RGB, whatever their weights and
range. A plane that shrinks by more than two is halved, which averages every pixel, until a bilinear step reaches the
rest: as cheap as one bilinear step, without its aliasing, and a quarter of the cost of INTER_AREA.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from hailod.errors import ModelError
from hailod.geometry import Align, Placement, Rect, Resize, Size, View, place
from hailod.types import F32, U8, ColorMatrix, Picture, PixelFormat, TensorInfo, TensorOrder

# Placements are remembered per frame size and view; a stream that changes its size all the time must not fill memory.
_MAX_PLACEMENTS = 256
_NEUTRAL_CHROMA = 128


class Preparer:
    """Prepares pictures for one model's input. It keeps scratch planes, so each prep worker has its own per model.

    `tensor` is the model's first input: uint8 NHWC of three channels gets RGB, NV12 and YUY2 get YUV as it comes.
    Raises ModelError for any other. `pad` is the grey of the border.
    """

    def __init__(
        self, tensor: TensorInfo, *, resize: Resize = "letterbox", align: Align = "center", pad: int = 114
    ) -> None:
        self._order = tensor.order
        self._shape = tensor.shape
        self._input_size = input_size(tensor)
        self._resize: Resize = resize
        self._align: Align = align
        self._pad = pad
        self._placements: dict[tuple[Size, View], Placement] = {}
        self._scratch: dict[str, U8] = {}

    def prepare(self, picture: Picture, view: View, out: U8) -> Placement:
        """Write what `view` shows of `picture` into `out` (the input's shape, uint8, contiguous) and say where it lies.

        All of `out` is written, so a slot may serve cameras of any aspect in turn. Raises ValueError where `out` is not
        of the input's shape or the planes are not those of the picture's format.
        """
        if out.shape != self._shape or out.dtype != np.uint8 or not out.flags.c_contiguous:
            raise ValueError(f"a slot of {out.dtype} {out.shape} is no input of uint8 {self._shape}")
        check_picture(picture)
        placement = self.place(picture.width, picture.height, view)
        if self._order is TensorOrder.NHWC:
            self._write_rgb(picture, placement, out)
        elif self._order is TensorOrder.NV12:
            self._write_nv12(picture, placement, out)
        else:
            self._write_yuy2(picture, placement, out)
        return placement

    def place(self, width: int, height: int, view: View) -> Placement:
        """Where `view` of a frame of that size lies in the input."""
        key = ((width, height), view)
        placement = self._placements.get(key)
        if placement is None:
            if len(self._placements) >= _MAX_PLACEMENTS:
                self._placements.clear()
            grid = 1 if self._order is TensorOrder.NHWC else 2
            placement = place((width, height), view, self._input_size, self._resize, self._align, grid=grid)
            self._placements[key] = placement
        return placement

    # -- the three kinds of input ------------------------------------------------------------------------------------

    def _write_rgb(self, picture: Picture, placement: Placement, out: U8) -> None:
        target, view = placement.target, placement.view
        inner = _cut(out, target)
        planes = self._source_planes(picture, placement)
        if picture.format is PixelFormat.RGB:
            self._fit(planes[0], view, target.size, "rgb", inner)
        elif picture.format is PixelFormat.BGR:
            cv2.cvtColor(self._fit(planes[0], view, target.size, "bgr"), cv2.COLOR_BGR2RGB, dst=inner)
        elif picture.format is PixelFormat.GRAY:
            luma = self._fit(planes[0], view, target.size, "y")
            if not picture.full_range:
                cv2.LUT(luma, _FULL_LUMA, dst=luma)
            cv2.merge((luma, luma, luma), dst=inner)
        else:
            fitted = [self._fit(plane, view, target.size, name) for plane, name in zip(planes, "yuv", strict=True)]
            yuv = self._plane("yuv", (target.height, target.width, 3))
            cv2.merge(fitted, dst=yuv)
            cv2.transform(yuv, _YUV_TO_RGB[picture.matrix, picture.full_range], dst=inner)
        _fill_border(out, target, self._pad)

    def _write_nv12(self, picture: Picture, placement: Placement, out: U8) -> None:
        width, height = self._input_size
        luma, chroma = np.split(out.reshape(-1), [width * height])
        target = placement.target
        inner_uv = Rect(target.x // 2, target.y // 2, target.width // 2, target.height // 2)
        y, uv = luma.reshape(height, width), chroma.reshape(height // 2, width // 2, 2)
        self._write_yuv(picture, placement, _cut(y, target), _cut(uv, inner_uv))
        _fill_border(y, target, self._pad)
        _fill_border(uv, inner_uv, _NEUTRAL_CHROMA)

    def _write_yuy2(self, picture: Picture, placement: Placement, out: U8) -> None:
        target = placement.target
        y = self._plane("yuy2.y", (target.height, target.width))
        uv = self._plane("yuy2.uv", (target.height, target.width // 2, 2))
        self._write_yuv(picture, placement, y, uv)
        cv2.merge((y, uv.reshape(y.shape)), dst=_cut(out, target))
        _fill_border(out[..., 0], target, self._pad)
        _fill_border(out[..., 1], target, _NEUTRAL_CHROMA)

    def _write_yuv(self, picture: Picture, placement: Placement, y: U8, uv: U8) -> None:
        """Write luma and interleaved chroma, each at its own size, with the weights and range of the picture."""
        view, size = placement.view, (uv.shape[1], uv.shape[0])
        planes = self._source_planes(picture, placement)
        if picture.format in (PixelFormat.RGB, PixelFormat.BGR):
            rgb = self._fit(planes[0], view, placement.target.size, "rgb")
            yuv = self._plane("yuv", rgb.shape)
            cv2.transform(rgb, _RGB_TO_YUV if picture.format is PixelFormat.RGB else _BGR_TO_YUV, dst=yuv)
            y[:] = yuv[..., 0]
            cv2.resize(yuv[..., 1:], size, dst=uv, interpolation=cv2.INTER_AREA)
            return
        self._fit(planes[0], view, (y.shape[1], y.shape[0]), "y", y)
        if picture.format is PixelFormat.GRAY:
            uv[:] = _NEUTRAL_CHROMA
        else:
            cv2.merge(
                [self._fit(plane, view, size, name) for plane, name in zip(planes[1:], "uv", strict=True)], dst=uv
            )

    # -- planes ------------------------------------------------------------------------------------------------------

    def _source_planes(self, picture: Picture, placement: Placement) -> tuple[U8, ...]:
        """The cropped planes of a picture; interleaved YUV is split, as OpenCV halves single channels far faster."""
        planes = tuple(_crop(plane, placement) for plane in picture.planes)
        if picture.format is PixelFormat.NV12:
            return planes[0], *self._split(planes[1], "uv")
        if picture.format is PixelFormat.YUYV:
            y, chroma = self._split(planes[0], "yuyv")
            return y, *self._split(chroma.reshape(y.shape[0], y.shape[1] // 2, 2), "uv")
        return planes

    def _split(self, plane: U8, name: str) -> tuple[U8, U8]:
        first, second = (self._plane(f"{name}.{index}", plane.shape[:2]) for index in (0, 1))
        cv2.split(plane, (first, second))
        return first, second

    def _fit(self, plane: U8, view: View, size: Size, name: str, out: U8 | None = None) -> U8:
        """Resize and orient one plane to `size` (width, height), into `out` or a scratch plane of that name."""
        channels = plane.shape[2:]
        width, height = size[::-1] if view.transposed else size
        plane = self._halve(plane, width, height, name)
        # Exactly a half is the mean of four pixels in either mode, but only INTER_AREA promises it.
        exact = plane.shape[:2] == (2 * height, 2 * width)
        interpolation = cv2.INTER_AREA if exact else cv2.INTER_LINEAR
        if out is None:
            out = self._plane(name, (size[1], size[0], *channels))
        if not (view.transposed or view.mirrored_x or view.mirrored_y):
            cv2.resize(plane, (width, height), dst=out, interpolation=interpolation)
            return out
        small = self._plane(name + ".small", (height, width, *channels))
        cv2.resize(plane, (width, height), dst=small, interpolation=interpolation)
        if view.transposed:
            turned = self._plane(name + ".turned", (width, height, *channels))
            cv2.transpose(small, dst=turned)
            small = turned
        if view.mirrored_x or view.mirrored_y:
            cv2.flip(small, _FLIP_CODES[view.mirrored_x, view.mirrored_y], dst=out)
        else:
            np.copyto(out, small)
        return out

    def _halve(self, plane: U8, width: int, height: int, name: str) -> U8:
        """Halve a plane for as long as it stays larger than twice the target."""
        step = 0
        while True:
            rows, columns = plane.shape[0] // 2, plane.shape[1] // 2
            even = plane.shape[0] % 2 == plane.shape[1] % 2 == 0
            if not even or rows < height or columns < width or (rows, columns) == (height, width):
                return plane
            step += 1
            half = self._plane(f"{name}.half{step}", (rows, columns, *plane.shape[2:]))
            cv2.resize(plane, (columns, rows), dst=half, interpolation=cv2.INTER_AREA)
            plane = half

    def _plane(self, name: str, shape: tuple[int, ...]) -> U8:
        """A contiguous scratch plane; its memory is kept under that name and grows to the largest shape asked for."""
        size = math.prod(shape)
        memory = self._scratch.get(name)
        if memory is None or memory.size < size:
            memory = self._scratch[name] = np.empty(size, np.uint8)
        return memory[:size].reshape(shape)


def input_size(tensor: TensorInfo) -> Size:
    """Width and height of the picture that an input takes; ModelError where it takes none known here."""
    height, width, channels = tensor.shape if len(tensor.shape) == 3 else (0, 0, 0)
    if tensor.dtype == "uint8" and width >= 2 and height >= 2:
        if (tensor.order, channels) == (TensorOrder.NHWC, 3):
            return width, height
        if (tensor.order, channels) == (TensorOrder.YUY2, 2) and width % 2 == 0:
            return width, height
        # HailoRT counts an NV12 picture as half its rows of three bytes a pixel, which is its size in bytes.
        if (tensor.order, channels) == (TensorOrder.NV12, 3) and width % 2 == 0:
            return width, height * 2
    raise ModelError(
        f"input {tensor.name}: {tensor.dtype} {tensor.order} {tensor.shape} is no picture that can be prepared "
        "(allowed: uint8 NHWC of 3 channels, NV12, YUY2)"
    )


def check_picture(picture: Picture) -> None:
    """Raise ValueError where a picture's planes are not those of its format and size."""
    width, height = picture.width, picture.height
    expected = tuple((-(-height // down), -(-width // down), *rest) for down, rest in _PLANES[picture.format])
    came = tuple(plane.shape for plane in picture.planes)
    if came != expected or any(plane.dtype != np.uint8 for plane in picture.planes):
        raise ValueError(f"planes of {came} are no {picture.format} picture of {width}x{height}: expected {expected}")
    if picture.format is PixelFormat.YUYV and width % 2:
        raise ValueError(f"a yuyv picture of odd width {width}")


def _cut(plane: U8, rect: Rect) -> U8:
    return plane[rect.y : rect.y + rect.height, rect.x : rect.x + rect.width]


def _crop(plane: U8, placement: Placement) -> U8:
    """The source rectangle of a plane of the frame, which may be of half the frame's size along either axis."""
    source, (width, height) = placement.source, placement.frame_size
    across = 1 if plane.shape[1] == width else 2
    down = 1 if plane.shape[0] == height else 2
    bottom, right = -(-(source.y + source.height) // down), -(-(source.x + source.width) // across)
    return plane[source.y // down : bottom, source.x // across : right]


def _fill_border(plane: U8, inner: Rect, value: int) -> None:
    plane[: inner.y] = value
    plane[inner.y + inner.height :] = value
    rows = plane[inner.y : inner.y + inner.height]
    rows[:, : inner.x] = value
    rows[:, inner.x + inner.width :] = value


def _yuv_to_rgb(red: float, blue: float, *, full_range: bool) -> F32:
    """The 3x4 matrix from bytes Y, U, V to R, G, B, given the weights of red and blue in luma."""
    green = 1.0 - red - blue
    luma, chroma = (1.0, 1.0) if full_range else (255 / 219, 255 / 224)
    matrix = np.array(
        [
            [luma, 0.0, 2 * (1 - red) * chroma],
            [luma, -2 * blue * (1 - blue) / green * chroma, -2 * red * (1 - red) / green * chroma],
            [luma, 2 * (1 - blue) * chroma, 0.0],
        ]
    )
    return _with_shift(matrix, -matrix @ [0.0 if full_range else 16.0, 128.0, 128.0])


def _with_shift(matrix: NDArray[np.float64], shift: NDArray[np.float64]) -> F32:
    return np.column_stack((matrix, shift)).astype(np.float32)


_YUV_TO_RGB = {
    (matrix, full_range): _yuv_to_rgb(red, blue, full_range=full_range)
    for matrix, red, blue in ((ColorMatrix.BT601, 0.299, 0.114), (ColorMatrix.BT709, 0.2126, 0.0722))
    for full_range in (False, True)
}
# Compiled NV12 and YUY2 inputs convert with BT.601 of limited range on the chip; pictures in RGB are brought to that.
_RGB_TO_YUV = _with_shift(
    np.linalg.inv(_YUV_TO_RGB[ColorMatrix.BT601, False][:, :3].astype(np.float64)), np.array([16.0, 128.0, 128.0])
)
_BGR_TO_YUV = np.ascontiguousarray(_RGB_TO_YUV[:, [2, 1, 0, 3]])
_FULL_LUMA = np.clip(np.rint((np.arange(256) - 16) * 255 / 219), 0, 255).astype(np.uint8)
_FLIP_CODES = {(True, False): 1, (False, True): 0, (True, True): -1}
# How much smaller than the picture each plane is, and its interleaved channels.
_PLANES: dict[PixelFormat, tuple[tuple[int, tuple[int, ...]], ...]] = {
    PixelFormat.I420: ((1, ()), (2, ()), (2, ())),
    PixelFormat.NV12: ((1, ()), (2, (2,))),
    PixelFormat.YUYV: ((1, (2,)),),
    PixelFormat.GRAY: ((1, ()),),
    PixelFormat.RGB: ((1, (3,)),),
    PixelFormat.BGR: ((1, (3,)),),
}
