"""The file around a HEF's description: its format, its lengths, its hash, and the status for all that can be wrong."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from hailod.models.hef import (
    HefCorrupted,
    HefError,
    HefInvalid,
    HefNotSupported,
    HefOpenError,
    HefReadError,
    container,
    read_hef,
)
from tests.support.hef_encoder import File, describe, detector, encode_hef, message, number, sign

HEADER = {0: 32, 1: 28, 2: 44, 3: 56}
SIGNATURES = {0: "md5", 1: "crc32", 2: "xxh3-64", 3: "xxh3-64"}


def whole(version: int = 3) -> bytes:
    return encode_hef(detector(size=64), file=File(version=version, padding=8, additional=b"more"))


@pytest.mark.parametrize("version", HEADER)
def test_every_format_version_is_read(version: int, tmp_path: Path) -> None:
    """A file of any format version says the same of its network, from a path as from bytes."""
    data = encode_hef(detector(size=64), file=File(version=version))
    path = tmp_path / "m.hef"
    path.write_bytes(data)
    by_path, by_bytes = read_hef(path), read_hef(data)
    assert by_path.groups == by_bytes.groups == read_hef(whole()).groups
    assert (by_path.path, by_bytes.path) == (str(path), None)
    assert (by_path.format_version, by_path.signature.kind) == (version, SIGNATURES[version])


@pytest.mark.parametrize("version", HEADER)
def test_sizes_add_up(version: int) -> None:
    """Header and parts make up the file; of version 0 the configuration is a part of the description."""
    file = File(version=version, padding=8 if version == 3 else 0, additional=b"more" if version == 3 else b"")
    sizes = read_hef(encode_hef(detector(size=64), file=file)).sizes
    outside = sizes.configuration if version else 0
    assert sizes.file == HEADER[version] + sizes.description + sizes.padding + outside + sizes.additional
    assert outside == (len(file.configuration) if version else 0)


@pytest.mark.parametrize("version", HEADER)
def test_any_changed_byte_is_found(version: int) -> None:
    """Whichever byte behind the header changes, the hash tells; HailoRT's status is 91."""
    data = whole(version) if version == 3 else encode_hef(detector(size=64), file=File(version=version))
    for at in {HEADER[version], HEADER[version] + 100, len(data) - 1}:
        damaged = bytearray(data)
        damaged[at] ^= 0x10
        with pytest.raises(HefCorrupted, match=SIGNATURES[version]) as caught:
            read_hef(bytes(damaged))
        assert caught.value.status == 91


@pytest.mark.parametrize("version", HEADER)
def test_truncated_file_is_told_from_a_short_one(version: int, tmp_path: Path) -> None:
    """A file that ends within its header cannot be read (14); one that ends later is corrupted (91)."""
    path = tmp_path / "m.hef"
    data = encode_hef(detector(size=64), file=File(version=version))
    for length in (0, 4, 11, 12, HEADER[version] - 1):
        path.write_bytes(data[:length])
        with pytest.raises(HefReadError) as caught:
            read_hef(path)
        assert caught.value.status == 14
    for length in (HEADER[version], HEADER[version] + 1, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(HefCorrupted, match="truncated") as damaged:
            read_hef(path)
        assert damaged.value.status == 91


@pytest.mark.parametrize("length", [0, 4, 12, 55])
def test_few_bytes_in_memory_are_corrupted(length: int) -> None:
    """Bytes that are shorter than the longest header are corrupted (91) whatever their version, as HailoRT has it."""
    with pytest.raises(HefCorrupted):
        read_hef(encode_hef(detector(size=64), file=File(version=0))[:length])


def test_what_is_no_hef_is_not_supported() -> None:
    """A wrong magic number or format version is not supported (92), and the message says what was found."""
    data = whole()
    with pytest.raises(HefNotSupported, match="begins with 4d5a9000") as caught:
        read_hef(b"\x4d\x5a\x90\x00" + data[4:])
    assert (caught.value.status, caught.value.offset) == (92, 0)
    with pytest.raises(HefNotSupported, match="format version is 4"):
        read_hef(data[:4] + struct.pack(">I", 4) + data[8:])
    with pytest.raises(HefNotSupported):
        read_hef(bytes(range(200)))


def test_git_lfs_pointer_is_named(tmp_path: Path) -> None:
    """What a repository holds in place of a large file is recognised, with the command that brings the file."""
    path = tmp_path / "m.hef"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 15357274\n")
    with pytest.raises(HefNotSupported, match="git lfs pull"):
        read_hef(path)


def test_missing_file_cannot_be_opened(tmp_path: Path) -> None:
    """A path that leads nowhere, or cannot be one, is an open failure (13)."""
    for path in (tmp_path / "none.hef", "no\0path"):
        with pytest.raises(HefOpenError) as caught:
            read_hef(path)
        assert caught.value.status == 13


def test_directory_and_pipe_are_refused_at_once(tmp_path: Path) -> None:
    """What is no regular file is not read (14): a named pipe that nobody writes to does not keep the reader waiting."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (tmp_path, pipe, Path("/dev/zero")):
        with pytest.raises(HefReadError, match="not a regular file") as caught:
            read_hef(path)
        assert caught.value.status == 14


def test_hash_of_the_description_alone_is_verified_too() -> None:
    """Files of compiler 5 carry a second hash, which has to be right as well."""
    data = bytearray(encode_hef(detector(size=64), file=File(own_hash=True)))
    read_hef(bytes(data))
    data[40] ^= 1
    with pytest.raises(HefCorrupted, match="description"):
        read_hef(bytes(data))


def test_padding_is_not_larger_than_what_it_pads() -> None:
    """Sizes in a header that contradict each other are corruption, even where their sum fits."""
    data = bytearray(whole())
    struct.pack_into(">I", data, 28, 0xFFFF)
    with pytest.raises(HefCorrupted, match="padding"):
        read_hef(bytes(data))


def test_size_limits_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file or a description beyond the limits is refused (92) before it is read."""
    monkeypatch.setattr(container, "MAX_DESCRIPTION_BYTES", 100)
    with pytest.raises(HefNotSupported, match="description"):
        read_hef(whole())
    monkeypatch.setattr(container, "MAX_FILE_BYTES", 100)
    with pytest.raises(HefNotSupported, match="100"):
        read_hef(whole())


def test_extensions_decide_what_is_supported() -> None:
    """Unknown extensions are not supported (92) and named; so are files older than the one that all have to have."""
    with pytest.raises(HefNotSupported, match="EXTENSION_99"):
        read_hef(encode_hef(detector(size=64), file=File(extensions=(99,))))
    with pytest.raises(HefNotSupported, match="too old"):
        read_hef(sign(message(1, number(1, 1) + number(4, 1)) + message(2, b"")))


def test_contradictions_have_the_status_of_hailort() -> None:
    """A well-formed description without a network group, or with two of one name, is an invalid HEF (26)."""
    for groups in ((), (detector(size=64), detector(size=64))):
        with pytest.raises(HefInvalid) as caught:
            read_hef(sign(describe(*groups)))
        assert caught.value.status == 26


def test_messages_are_safe_for_a_terminal() -> None:
    """Names from a file cannot smuggle control characters into an error message."""
    error = HefError("layer \x1b[2Jbad\x07", 12)
    assert str(error) == "layer \\x1b[2Jbad\\x07 (at byte 12)"
