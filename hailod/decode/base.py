"""The seam between tensors and detections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from numpy.typing import NDArray

from hailod.errors import DecodeError
from hailod.types import Detections

Tensors = Mapping[str, NDArray[Any]]

# What decoders believe. Sigmoids in eight bits overshoot 1 by a rounding step, and boxes reach over the edge of the
# input, but not by ten thousand times its size.
MAX_SCORE = 1.01
FAR = 1e4


def output_of(tensors: Tensors, name: str) -> NDArray[Any]:
    """The output of that name; DecodeError where the device left it out."""
    try:
        return tensors[name]
    except KeyError:
        raise DecodeError(f"{name}: the device returned no such output") from None


class Decoder(Protocol):
    """Turns one frame's output tensors into detections. Pure and reusable; one per loaded model.

    `tensors` maps output names to arrays of the shape and dtype of their `TensorInfo`, views into a slot that is reused
    as soon as `decode` returns: nothing returned may refer to them. Boxes are normalised to the model's input and not
    clipped. Nothing below `threshold` is returned. Raises DecodeError on what cannot be believed.
    """

    def decode(self, tensors: Tensors, threshold: float) -> Detections: ...
