"""What is wrong with a camera that delivers."""

from __future__ import annotations

import numpy as np
import pytest

from hailod.pipeline.quality import Corruption, Quality, Stillness
from hailod.sources.base import Captured
from hailod.types import Picture, PixelFormat

RNG = np.random.default_rng(1)


def noisy(base: np.ndarray, *, share: float = 0.2) -> np.ndarray:
    """`base` with the noise of a good sensor: one level more or less in a fifth of the pixels."""
    noise = RNG.integers(-1, 2, base.shape) * (RNG.random(base.shape) < share)
    return (base.astype(np.int16) + noise).astype(np.uint8)


def grey(luma: np.ndarray) -> Picture:
    return Picture(PixelFormat.GRAY, luma.shape[1], luma.shape[0], (luma,))


SCENE = RNG.integers(20, 230, (120, 160), np.uint8)


def test_noise_of_a_sensor_is_never_frozen() -> None:
    """A scene in which nothing happens is not a picture that hangs: the least noise tells them apart."""
    stillness = Stillness(5.0)
    assert not any(stillness.observe(grey(noisy(SCENE)), second / 10) for second in range(100))


def test_the_same_picture_is_frozen_after_its_time_until_it_changes() -> None:
    """Equal pictures are frozen from the set time on; the first that differs ends it."""
    stillness = Stillness(5.0)
    verdicts = [stillness.observe(grey(SCENE.copy()), second / 10) for second in range(60)]
    assert verdicts == [False] * 50 + [True] * 10
    assert not stillness.observe(grey(noisy(SCENE)), 6.0)


def test_another_size_is_another_picture() -> None:
    """A camera that changes its resolution does not hang, even if all that it shows is black."""
    stillness = Stillness(5.0)
    black = np.zeros((120, 160), np.uint8)
    assert not stillness.observe(grey(black), 0.0)
    assert not stillness.observe(grey(black[::2]), 6.0)


def test_what_hangs_by_right_is_not_looked_at_unless_asked_for() -> None:
    """Without the setting a test card may stand for ever."""
    stillness = Stillness(None)
    assert not any(stillness.observe(grey(SCENE), float(second)) for second in range(1000))


@pytest.mark.parametrize(
    ("form", "shape"),
    [(PixelFormat.I420, (120, 160)), (PixelFormat.YUYV, (120, 160, 2)), (PixelFormat.RGB, (120, 160, 3))],
)
@pytest.mark.parametrize("crop", [1, 7, 110])
def test_pictures_of_all_kinds_and_sizes_are_compared(form: PixelFormat, shape: tuple[int, ...], crop: int) -> None:
    """Whatever the format, and however small the picture, equal ones are told from different ones."""
    plane = RNG.integers(20, 230, shape, np.uint8)[crop:, crop:]
    picture = Picture(form, plane.shape[1], plane.shape[0], (plane,))
    other = Picture(form, plane.shape[1], plane.shape[0], (255 - plane,))
    stillness = Stillness(1.0)
    assert [stillness.observe(shown, float(now)) for now, shown in enumerate((picture, picture, other))] == [
        False,
        True,
        False,
    ]


@pytest.mark.parametrize(("broken", "told"), [(1, False), (2, True)])
def test_a_stream_is_corrupt_when_most_frames_are_broken(broken: int, told: bool) -> None:
    """One broken frame for each sound one is not most, two are; and it takes some seconds to say so."""
    corruption = Corruption()
    verdicts = [corruption.observe(True, broken, second / 10) for second in range(100)]
    assert not any(verdicts[:30])
    assert all(verdicts[31:]) is told


def test_corruption_is_over_when_sound_frames_come_again() -> None:
    """Only the last few seconds count."""
    corruption = Corruption()
    assert any(corruption.observe(False, 25, float(second)) for second in range(10))
    assert not any(corruption.observe(True, 0, 10.0 + second / 25) for second in range(150, 300))


def captured(*, sound: bool = True, **counts: int) -> Captured:
    return Captured(grey(SCENE) if sound else None, **counts)


def test_a_stream_joined_between_key_frames_is_not_corrupt() -> None:
    """What cannot be decoded before the first picture, or after a skip, says nothing about the stream."""
    quality = Quality(None)
    flaws = [quality.observe(captured(sound=False, corrupt=25), float(second), joined=False) for second in range(8)]
    flaws += [quality.observe(captured(skipped=9, corrupt=25), 8.0 + second, joined=True) for second in range(8)]
    assert not any(each.corrupt for each in flaws)


def test_flaws_hold_for_a_while() -> None:
    """Behind and corrupt do not flicker: they are over when all was well for ten seconds."""
    quality = Quality(None)
    assert quality.observe(captured(skipped=1), 0.0, joined=True).behind
    assert quality.observe(captured(), 9.0, joined=True).behind
    assert not quality.observe(captured(), 10.0, joined=True).behind


def test_a_restart_forgets() -> None:
    """A camera that was off for an hour does not hang because it shows what it showed before."""
    quality = Quality(5.0)
    quality.observe(captured(skipped=1), 0.0, joined=True)
    quality.restart()
    flaws = quality.observe(captured(), 9.0, joined=True)
    assert not flaws.frozen
    assert not flaws.behind
