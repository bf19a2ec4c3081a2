"""The errors of a frame say all that a person needs in one line."""

from __future__ import annotations

import pytest

import hailod.errors
from hailod.device.flight import error_of
from hailod.device.statuses import Stage
from hailod.errors import (
    HailodError,
    InferenceError,
    InferencePipelineError,
    InferenceSubmitError,
    InferenceTimeoutError,
    InferenceWaitError,
)


@pytest.mark.parametrize(
    ("kind", "action"),
    [
        (InferenceTimeoutError, "wait for it again, then skip the frame"),
        (InferenceSubmitError, "restart the device and try the frame once more"),
        (InferenceWaitError, "try the frame once more while it is fresh, then skip it"),
        (InferencePipelineError, "end the run"),
    ],
)
def test_frame_errors_say_which_what_and_why(kind: type[InferenceError], action: str) -> None:
    """Source, frame number, HailoRT's error and the suggested action are attributes, and all in `str()`."""
    cause = error_of(63, Stage.COMPLETION)
    error = kind("front", 4711, cause)
    assert isinstance(error, HailodError)
    assert (error.source, error.frame, error.status, error.__cause__) == ("front", 4711, 63, cause)
    said = str(error)
    assert said.startswith("front, frame 4711: HailoRT status 63 (STREAM_ABORT); ")
    assert action in error.action
    assert error.action in said


def test_frame_error_without_a_cause() -> None:
    """What has no error of the device behind it says so by leaving it out."""
    error = InferenceTimeoutError("clip.mp4", 3)
    assert error.status is None
    assert str(error) == f"clip.mp4, frame 3; {error.action}"


def test_the_tree_is_drawn_as_it_is() -> None:
    """Every class of the module stands in the drawing at its top."""
    drawing = hailod.errors.__doc__ or ""
    classes = [
        name
        for name, value in vars(hailod.errors).items()
        if isinstance(value, type) and value.__module__ == "hailod.errors"
    ]
    assert classes
    assert [name for name in classes if name not in drawing] == []
