"""Reads HEFs, Hailo's model files, without HailoRT. `docs/hef.md` has the layout of the file."""

from __future__ import annotations

from hailod.models.hef.chips import Architecture, Chip
from hailod.models.hef.container import MAX_DESCRIPTION_BYTES, MAX_FILE_BYTES, Signature, Sizes
from hailod.models.hef.errors import (
    HefCorrupted,
    HefError,
    HefInvalid,
    HefNotSupported,
    HefOpenError,
    HefReadError,
)
from hailod.models.hef.formats import FormatOrder, FormatType
from hailod.models.hef.model import Hef, NetworkGroup, Nms, Quantisation, Resource, Stream, VStream
from hailod.models.hef.reader import read_hef

__all__ = [
    "MAX_DESCRIPTION_BYTES",
    "MAX_FILE_BYTES",
    "Architecture",
    "Chip",
    "FormatOrder",
    "FormatType",
    "Hef",
    "HefCorrupted",
    "HefError",
    "HefInvalid",
    "HefNotSupported",
    "HefOpenError",
    "HefReadError",
    "NetworkGroup",
    "Nms",
    "Quantisation",
    "Resource",
    "Signature",
    "Sizes",
    "Stream",
    "VStream",
    "read_hef",
]
