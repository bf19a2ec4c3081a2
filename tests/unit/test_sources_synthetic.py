"""Scenes that are computed."""

from __future__ import annotations

import numpy as np
import pytest

from hailod.clock import FakeClock
from hailod.sources.base import Captured
from hailod.sources.synthetic import SceneOptions, SyntheticSource


def first(count: int, text: str, clock: FakeClock | None = None) -> list[Captured]:
    source = SyntheticSource(SceneOptions.parse(text), clock or FakeClock(100.0))
    source.open()
    captured = [source.read() for _ in range(count)]
    source.close()
    return captured


def luma(captured: list[Captured]) -> list[bytes]:
    return [one.picture.planes[0].tobytes() for one in captured]


def test_a_seed_gives_the_same_scene_every_time() -> None:
    """Two runs see the same pictures, another seed sees others."""
    scene = "boxes?seed=3&size=160x120"
    assert luma(first(20, scene)) == luma(first(20, scene))
    assert luma(first(1, scene)) != luma(first(1, "boxes?seed=4&size=160x120"))


def test_the_scene_moves() -> None:
    """Every picture differs from the one before."""
    pictures = luma(first(50, "?size=321x241"))
    assert all(now != then for now, then in zip(pictures[1:], pictures, strict=False))


def test_pictures_are_due_at_the_frame_rate() -> None:
    """Twenty frames a second are 50 ms apart, and a late reader is not hurried."""
    assert [one.due for one in first(5, "boxes?fps=20")] == pytest.approx([100.0, 100.05, 100.1, 100.15, 100.2])
    clock = FakeClock(100.0)
    source = SyntheticSource(SceneOptions.parse("boxes?fps=20"), clock)
    source.open()
    source.read()
    clock.advance(60.0)
    assert [source.read().due for _ in range(2)] == pytest.approx([160.0, 160.05])


def test_the_text_goes_before_the_settings() -> None:
    """What the source says of size and rate holds; the camera's settings fill in what it leaves open."""
    options = SceneOptions.parse("boxes?size=64x48", size=(320, 240), fps=5.0)
    assert (options.size, options.fps) == ((64, 48), 5.0)
    assert np.shape(first(1, "boxes?size=64x48")[0].picture.planes[0]) == (48, 64)
