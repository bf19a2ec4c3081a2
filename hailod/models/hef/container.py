"""The file around a HEF's description: which format it is, how long its parts are, and whether its hash is right.

All numbers are big-endian. A header is u32 magic, u32 format version, u32 size of the description, and by version:

0 (any HailoRT): 4 reserved, MD5; 32 bytes in all.
1 (HailoRT 4.18): CRC-32, u64 size of the configuration, 4 reserved; 28 bytes.
2 (HailoRT 4.20): XXH3-64, u64 size of the configuration, 16 reserved; 44 bytes.
3 (HailoRT 4.21): XXH3-64, u64 size of padding and configuration together, u32 size of the padding, u64 size of what
   else follows, XXH3-64 of the description alone (from 5.x on, else zero), 8 reserved; 56 bytes.

The hash is over everything behind the header. Nothing else of a file is kept in memory than its description.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Protocol

import xxhash

from hailod.models.hef.errors import HefCorrupted, HefNotSupported, HefOpenError, HefReadError

MAGIC = 0x01484546
# Language models for Hailo-10H have some gigabytes. They are hashed in pieces, never held.
MAX_FILE_BYTES = 16 << 30
# Version 0 keeps the weights in here; those of the others have a megabyte or two.
MAX_DESCRIPTION_BYTES = 256 << 20
PIECE = 1 << 20

_PREFIX = struct.Struct(">III")
_HEADERS = {
    0: struct.Struct(">4x16s"),
    1: struct.Struct(">4sQ4x"),
    2: struct.Struct(">8sQ16x"),
    3: struct.Struct(">8sQIQ8s8x"),
}
# What a file begins with that a repository keeps elsewhere.
_LFS_POINTER = b"version http"
# HailoRT compares bytes in memory with the longest header before it looks at their version.
_SHORTEST_BYTES = _PREFIX.size + _HEADERS[3].size


class Hash(Protocol):
    """What hashlib's objects are."""

    def update(self, data: bytes, /) -> object: ...

    def digest(self) -> bytes: ...


class _Crc32:
    """CRC-32 (IEEE 802.3) in the manner of hashlib."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes, /) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


_HASHES: dict[int, tuple[str, Callable[[], Hash]]] = {
    0: ("md5", lambda: hashlib.md5(usedforsecurity=False)),
    1: ("crc32", _Crc32),
    2: ("xxh3-64", xxhash.xxh3_64),
    3: ("xxh3-64", xxhash.xxh3_64),
}


@dataclass(frozen=True, slots=True)
class Signature:
    """The hash that a file carries, which was found to be right. It tells damage, not forgery: anybody can make it."""

    kind: str
    value: str


@dataclass(frozen=True, slots=True)
class Sizes:
    """Where a file's bytes go. `configuration` is what is written to the chip: weights and registers together."""

    file: int
    description: int
    configuration: int
    padding: int = 0
    additional: int = 0


@dataclass(frozen=True, slots=True)
class Envelope:
    """A file that is whole: its description, which begins at byte `offset`, and what its header says."""

    version: int
    signature: Signature
    sizes: Sizes
    description: bytes
    offset: int


def read_envelope(source: str | os.PathLike[str] | bytes) -> Envelope:
    """Open, measure and verify; raises HefError."""
    if isinstance(source, bytes):
        # The status for what is too short depends on whether it is a file.
        if len(source) < _SHORTEST_BYTES:
            raise HefCorrupted(f"{len(source)} bytes are too short for a HEF")
        return _read(io.BytesIO(source), len(source))
    with _opened(source) as file:
        try:
            return _read(file, os.fstat(file.fileno()).st_size)
        except OSError as error:
            raise HefReadError(f"cannot read: {error.strerror}") from error


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    try:
        # A named pipe without a writer would keep a plain open() waiting for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise HefOpenError(f"cannot open: {error.strerror}") from error
    except ValueError as error:
        raise HefOpenError(f"cannot open: {error}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise HefReadError("not a regular file")
    with open(descriptor, "rb", buffering=0) as file:
        yield file


def _read(file: BinaryIO, size: int) -> Envelope:
    if size > MAX_FILE_BYTES:
        raise HefNotSupported(f"{size} bytes are more than the {MAX_FILE_BYTES} that are read at most")
    prefix = _exactly(file, _PREFIX.size, HefReadError)
    if prefix == _LFS_POINTER:
        raise HefNotSupported("a pointer of Git LFS and not the file itself, which `git lfs pull` brings", 0)
    magic, version, description_size = _PREFIX.unpack(prefix)
    if version not in _HEADERS:
        raise HefNotSupported(f"no HEF: its format version is {version}, and 0 to 3 exist", 4)
    header = _HEADERS[version]
    fields = header.unpack(_exactly(file, header.size, HefReadError))
    if magic != MAGIC:
        raise HefNotSupported(f"no HEF: it begins with {magic:08x} and not with {MAGIC:08x}", 0)
    offset = _PREFIX.size + header.size
    sizes, own_hash = _sizes(version, fields, size, description_size)
    expected = offset + description_size + sizes.additional + (sizes.configuration + sizes.padding)
    if expected != size:
        raise HefCorrupted(f"the file has {size} bytes where its header says {expected}: truncated or damaged", 8)
    if description_size > MAX_DESCRIPTION_BYTES:
        raise HefNotSupported(f"a description of {description_size} bytes; at most {MAX_DESCRIPTION_BYTES} are read", 8)
    description = _exactly(file, description_size, HefCorrupted)
    kind, make = _HASHES[version]
    total = make()
    total.update(description)
    left = size - offset - description_size
    while left:
        piece = _exactly(file, min(PIECE, left), HefCorrupted)
        total.update(piece)
        left -= len(piece)
    if total.digest() != fields[0]:
        raise HefCorrupted(f"the {kind} of its contents is {total.digest().hex()}, not {fields[0].hex()}", _PREFIX.size)
    if any(own_hash) and xxhash.xxh3_64(description).digest() != own_hash:
        raise HefCorrupted("the xxh3-64 of its description is not the one that its header gives", 40)
    return Envelope(version, Signature(kind, fields[0].hex()), sizes, description, offset)


def _sizes(version: int, fields: tuple[object, ...], size: int, description: int) -> tuple[Sizes, bytes]:
    """The sizes that a header gives, and the hash of the description alone, where there is one."""
    match version, fields:
        case 0, _:
            return Sizes(size, description, 0), b""
        case 3, (_, int(padded), int(padding), int(additional), bytes(own_hash)):
            if padding > padded:
                raise HefCorrupted("the padding is larger than what it pads", 20)
            return Sizes(size, description, padded - padding, padding, additional), own_hash
        case _, (_, int(configuration)):
            return Sizes(size, description, configuration), b""
    raise AssertionError(fields)


def _exactly(file: BinaryIO, count: int, error: type[HefReadError] | type[HefCorrupted]) -> bytes:
    """The next `count` bytes; `error` when the file ends before."""
    pieces = []
    while count:
        piece = file.read(min(count, PIECE))
        if not piece:
            raise error("the file ends too early")
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)
