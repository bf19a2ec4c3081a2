"""Video files as cameras, and single pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from hailod.clock import FakeClock, SystemClock
from hailod.errors import SourceEnded, SourceUnavailable
from hailod.sources.base import Captured
from hailod.sources.pictures import MAX_SIDE, decode_image, picture_of
from hailod.sources.stream import StreamOptions, StreamSource
from hailod.types import ColorMatrix, PixelFormat
from tests.support.rtsp import make_clip, number_of

FRAMES = 30


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=FRAMES, gop=10)


def pictures(source: StreamSource) -> Iterator[Captured]:
    """All that the source gives, to its end."""
    while True:
        try:
            yield source.read()
        except SourceEnded:
            return


def test_offline_a_file_gives_every_frame_in_order_and_ends(clip: Path) -> None:
    """Offline work misses no frame and does not wait for the clock."""
    source = StreamSource(str(clip), FakeClock(), StreamOptions(realtime=False))
    source.open()
    captured = [source.read() for _ in range(FRAMES)]
    with pytest.raises(SourceEnded):
        source.read()
    source.close()
    assert [number_of(one.picture) for one in captured] == list(range(FRAMES))
    assert {one.due for one in captured} == {None}


def test_as_a_camera_a_file_keeps_the_pace_of_its_timestamps(clip: Path) -> None:
    """Each picture is due one frame interval after the one before."""
    source = StreamSource(str(clip), FakeClock(100.0), StreamOptions())
    source.open()
    due = [source.read().due for _ in range(FRAMES)]
    source.close()
    assert due == pytest.approx([100.0 + n / 25 for n in range(FRAMES)])


def test_a_looping_file_starts_again_without_a_break_in_its_pace(clip: Path) -> None:
    """`loop = true` makes an endless camera."""
    source = StreamSource(str(clip), FakeClock(100.0), StreamOptions(loop=True))
    source.open()
    captured = [source.read() for _ in range(FRAMES * 2 + 5)]
    source.close()
    assert [number_of(one.picture) for one in captured] == [*range(FRAMES), *range(FRAMES), *range(5)]
    assert [one.due for one in captured] == pytest.approx([100.0 + n / 25 for n in range(FRAMES * 2 + 5)])


def test_a_reader_that_is_late_does_not_hurry(clip: Path) -> None:
    """After a pause the file goes on at its pace, from where it was."""
    clock = FakeClock(100.0)
    source = StreamSource(str(clip), clock, StreamOptions(max_lag=1.0))
    source.open()
    source.read()
    clock.advance(10.0)
    due = [source.read().due for _ in range(3)]
    source.close()
    assert due == pytest.approx([110.0, 110.04, 110.08])


def test_decoded_pictures_are_not_copied(clip: Path) -> None:
    """Planes are views of the decoder's buffer, which lives as long as they do."""
    source = StreamSource(str(clip), FakeClock(), StreamOptions(realtime=False))
    source.open()
    picture = source.read().picture
    source.close()
    assert picture.format is PixelFormat.I420
    assert isinstance(picture.owner, av.VideoFrame)
    assert [plane.flags.owndata for plane in picture.planes] == [False, False, False]


def test_damaged_frames_are_counted_and_passed_over(clip: Path, tmp_path: Path) -> None:
    """A broken key frame costs the frames that depend on it, not the camera."""
    with av.open(str(clip)) as container:
        broken = [packet for packet in container.demux(video=0) if packet.is_keyframe][1]
        assert broken.pos is not None
        start, end = broken.pos, broken.pos + broken.size
    content = bytearray(clip.read_bytes())
    content[start:end] = bytes(byte ^ 0xFF for byte in content[start:end])
    path = tmp_path / "damaged.mp4"
    path.write_bytes(content)
    source = StreamSource(str(path), SystemClock(), StreamOptions(realtime=False))
    source.open()
    captured = list(pictures(source))
    source.close()
    numbers = [number_of(one.picture) for one in captured]
    assert (numbers[:10], numbers[-10:]) == (list(range(10)), list(range(20, 30)))
    assert 10 not in numbers
    assert sum(one.corrupt for one in captured) == 1


@pytest.mark.parametrize("content", [b"", b"not a video", b"\x00" * 5000])
def test_a_file_without_video_is_told_as_such(tmp_path: Path, content: bytes) -> None:
    """Whatever lies at the path, the answer is an error with a code."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    source = StreamSource(str(path), FakeClock(), StreamOptions())
    with pytest.raises(SourceUnavailable) as caught:
        source.open()
    source.close()
    assert caught.value.code == "invalid_data"
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("name", "form", "shapes"),
    [
        ("yuv420p", PixelFormat.I420, [(97, 129), (49, 65), (49, 65)]),
        ("nv12", PixelFormat.NV12, [(97, 129), (49, 65, 2)]),
        ("gray", PixelFormat.GRAY, [(97, 129)]),
        ("rgb24", PixelFormat.RGB, [(97, 129, 3)]),
        ("bgr24", PixelFormat.BGR, [(97, 129, 3)]),
        ("yuv444p", PixelFormat.I420, [(97, 129), (49, 65), (49, 65)]),
        ("yuv420p10le", PixelFormat.I420, [(97, 129), (49, 65), (49, 65)]),
        ("bgra", PixelFormat.RGB, [(97, 129, 3)]),
    ],
)
def test_each_pixel_format_becomes_one_that_hailod_knows(
    name: str, form: PixelFormat, shapes: list[tuple[int, ...]]
) -> None:
    """Odd sizes and padded lines included."""
    picture = picture_of(av.VideoFrame(129, 97, name))
    assert picture.format is form
    assert [plane.shape for plane in picture.planes] == shapes


@pytest.mark.parametrize(
    ("height", "tagged", "matrix"),
    [
        (480, 2, ColorMatrix.BT601),
        (720, 2, ColorMatrix.BT709),
        (720, 6, ColorMatrix.BT601),
        (480, 1, ColorMatrix.BT709),
    ],
)
def test_the_colour_matrix_is_the_tagged_one_or_that_of_its_size(height: int, tagged: int, matrix: ColorMatrix) -> None:
    """Untagged video is BT.709 from 720 lines on and BT.601 below."""
    frame = av.VideoFrame(640, height, "yuv420p")
    frame.colorspace = tagged
    assert picture_of(frame).matrix is matrix


@pytest.mark.parametrize(("tagged", "full"), [(0, False), (1, False), (2, True)])
def test_the_range_is_the_tagged_one(tagged: int, full: bool) -> None:
    """Untagged video has limited range."""
    frame = av.VideoFrame(64, 64, "yuv420p")
    frame.color_range = tagged
    assert picture_of(frame).full_range is full


def test_a_huge_picture_is_refused() -> None:
    """No camera makes the daemon take pictures of any size."""
    with pytest.raises(ValueError, match="too large"):
        picture_of(av.VideoFrame(MAX_SIDE + 2, 16, "yuv420p"))


def test_a_jpeg_keeps_its_colours() -> None:
    """A JPEG stays YUV, in full range and BT.601."""
    picture = decode_image(cv2.imencode(".jpg", np.full((64, 64, 3), (20, 40, 200), np.uint8))[1].tobytes())
    assert (picture.format, picture.matrix, picture.full_range) == (PixelFormat.I420, ColorMatrix.BT601, True)
    y, u, v = (int(plane[16, 16]) for plane in picture.planes)
    assert y + 1.402 * (v - 128) == pytest.approx(200, abs=3)
    assert y + 1.772 * (u - 128) == pytest.approx(20, abs=3)


def test_a_png_keeps_its_pixels() -> None:
    """A PNG comes as RGB without loss."""
    picture = decode_image(cv2.imencode(".png", np.full((64, 64, 3), (20, 40, 200), np.uint8))[1].tobytes())
    assert picture.format is PixelFormat.RGB
    assert np.unique(picture.planes[0].reshape(-1, 3), axis=0).tolist() == [[200, 40, 20]]


@pytest.mark.parametrize(
    "data", [b"", b"GIF89a....", b"\xff\xd8\xff\xe0" + b"x" * 500, b"\x89PNG\r\n\x1a\n" + b"x" * 500]
)
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    """Hostile bytes end in a ValueError."""
    with pytest.raises(ValueError, match=r"neither JPEG nor PNG|cannot be decoded|can be decoded"):
        decode_image(data)
