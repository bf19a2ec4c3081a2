"""Cameras at the Pi's own connector."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest

from hailod.errors import SourceUnavailable
from hailod.sources.csi import CsiSource
from hailod.types import PixelFormat
from tests.support.picamera2 import FakePicamera2


@pytest.fixture(autouse=True)
def _picamera2(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("picamera2")
    module.Picamera2 = FakePicamera2  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "picamera2", module)


def test_planes_are_cut_out_of_the_padded_array() -> None:
    """Luma and both chroma planes are found, and nothing of the padding is in them."""
    source = CsiSource(0, size=(320, 240), fps=15.0)
    source.open()
    picture = source.read().picture
    source.close()
    assert picture.format is PixelFormat.I420
    assert [plane.shape for plane in picture.planes] == [(240, 320), (120, 160), (120, 160)]
    assert [np.unique(plane).tolist() for plane in picture.planes] == [[1], [100], [150]]


def test_a_camera_that_is_not_there_is_told_with_how_to_look_for_it() -> None:
    """A missing camera names the command that lists cameras."""
    source = CsiSource(3, size=None, fps=None)
    with pytest.raises(SourceUnavailable, match="rpicam-hello --list-cameras") as caught:
        source.open()
    source.close()
    assert caught.value.code == "not_found"
