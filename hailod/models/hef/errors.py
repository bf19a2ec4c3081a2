"""What can be wrong with a HEF, each with the status number that HailoRT gives for it.

ModelError
└─ HefError
   ├─ HefOpenError       13  there is no such file, or it may not be opened
   ├─ HefReadError       14  a directory, a device, or shorter than a header
   ├─ HefCorrupted       91  lengths or hash do not agree with the file, or its description cannot be parsed
   ├─ HefNotSupported    92  no HEF, or one of a kind that HailoRT (or this reader) does not take
   └─ HefInvalid         26  well-formed, yet contradicting itself; in a few cases HailoRT says 2 or 8
"""

from __future__ import annotations

from hailod.errors import ModelError

INVALID_ARGUMENT = 2
INTERNAL_FAILURE = 8


def visible(text: str) -> str:
    """The text with what could move a terminal's cursor made visible: names in a file may be anything."""
    return "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in text)


class HefError(ModelError):
    """A HEF that cannot be read. `status` is HailoRT's number; `offset` the byte of the file, where one is to blame."""

    status: int

    def __init__(self, message: str, offset: int | None = None) -> None:
        super().__init__(visible(message if offset is None else f"{message} (at byte {offset})"))
        self.offset = offset


class HefOpenError(HefError):
    """The file cannot be opened."""

    status = 13


class HefReadError(HefError):
    """The file cannot be read, or ends within its header."""

    status = 14


class HefCorrupted(HefError):
    """The file is damaged: a length, the hash or the encoding is wrong."""

    status = 91


class HefNotSupported(HefError):
    """Not a HEF, or one that HailoRT or this reader does not take."""

    status = 92


class HefInvalid(HefError):
    """The description contradicts itself. `status` is HailoRT's where it differs from HAILO_INVALID_HEF."""

    def __init__(self, message: str, offset: int | None = None, *, status: int = 26) -> None:
        super().__init__(message, offset)
        self.status = status
