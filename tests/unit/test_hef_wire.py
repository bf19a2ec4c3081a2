"""Protobuf's wire format, read as protobuf reads it."""

from __future__ import annotations

import struct

import pytest

from hailod.models.hef.errors import HefCorrupted, HefNotSupported
from hailod.models.hef.wire import (
    MAX_DEPTH,
    Budget,
    Message,
    Span,
    double,
    doubles,
    flag,
    length,
    many,
    one,
    optional_uint,
    single,
    text,
    texts,
    uint,
    uint64,
    uints,
)
from tests.support import hef_encoder as encoder


class Inner(Message):
    value = uint(1)
    other = uint(2)


class Outer(Message):
    number = uint(1)
    large = uint64(2)
    yes = flag(3)
    maybe = optional_uint(4)
    small = single(5)
    real = double(6)
    reals = doubles(7)
    name = text(8)
    names = texts(9)
    inner = one(10, Inner)
    inners = many(11, Inner)
    numbers = uints(12)
    blob = length(13)
    self = one(14, lambda span: Outer(span))  # noqa: PLW0108 -- not defined yet


def parse(data: bytes, budget: Budget | None = None) -> Outer:
    return Outer(Span(data, 0, len(data), 1000, budget or Budget()))


def test_absent_fields_are_zero() -> None:
    """An empty message has zeros, empty texts and lists, and an empty message in place of one that is absent."""
    message = parse(b"")
    assert (message.number, message.large, message.yes, message.maybe) == (0, 0, False, None)
    assert (message.small, message.real, message.reals, message.numbers) == (0.0, 0.0, (), ())
    assert (message.name, message.names, message.inners, message.blob) == ("", (), (), 0)
    assert message.inner.value == 0
    assert not message.has(Outer.inner)


def test_every_type_is_decoded() -> None:
    """Varints, fixed numbers, texts, bytes and messages come out as they were written."""
    message = parse(
        encoder.number(1, 300)
        + encoder.number(2, 1 << 63)
        + encoder.number(3, 2)
        + encoder.number(4, 0)
        + encoder.single(5, 0.5)
        + encoder.double(6, 1e300)
        + encoder.text(8, "größe")
        + encoder.text(9, "a")
        + encoder.text(9, "b")
        + encoder.message(10, encoder.number(1, 7))
        + encoder.blob(13, b"four")
    )
    assert (message.number, message.large, message.yes, message.maybe) == (300, 1 << 63, True, 0)
    assert (message.small, message.real, message.name, message.names) == (0.5, 1e300, "größe", ("a", "b"))
    assert (message.inner.value, message.blob) == (7, 4)


def test_lists_are_packed_or_not() -> None:
    """A list of numbers may be packed, one by one, or both."""
    packed = encoder.blob(7, struct.pack("<2d", 1.0, 2.0)) + encoder.double(7, 3.0)
    assert parse(packed).reals == (1.0, 2.0, 3.0)
    assert parse(encoder.blob(12, b"\x01\x80\x01") + encoder.number(12, 5)).numbers == (1, 128, 5)


def test_what_is_given_twice() -> None:
    """Of a number or text the last one counts; a message is the sum of its parts; of a oneof the last member counts."""
    twice = encoder.number(1, 1) + encoder.number(1, 2)
    twice += encoder.message(10, encoder.number(1, 7)) + encoder.message(10, encoder.number(2, 8))
    message = parse(twice)
    assert message.number == 2
    assert (message.inner.value, message.inner.other) == (7, 8)
    assert message.chosen(Outer.number, Outer.inner) is Outer.inner
    assert message.chosen(Outer.name) is None


def test_unknown_fields_are_skipped() -> None:
    """Fields that are not declared, of another wire type, or in groups are passed over."""
    group = encoder.varint(20 << 3 | 3) + encoder.number(1, 99) + encoder.varint(20 << 3 | 4)
    strange = encoder.number(100, 5) + encoder.text(1, "no number") + group + encoder.single(99, 1.0)
    assert parse(strange + encoder.number(1, 3)).number == 3


@pytest.mark.parametrize(
    "data",
    [
        b"\x08",
        b"\x08\xff",
        b"\x08" + b"\xff" * 10 + b"\x01",
        b"\x00\x01",
        b"\x0e\x01",
        b"\x42\x05abc",
        b"\x42\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x31\x00",
        b"\xa3\x01",
        b"\xa4\x01",
        b"\xa3\x01\xac\x01",
    ],
    ids=["no value", "endless", "too long", "number 0", "type 6", "short", "huge", "half", "open", "close", "mixed"],
)
def test_broken_encoding_is_corruption(data: bytes) -> None:
    """Whatever breaks off, overlaps or cannot be is corruption, with the byte of the file where it begins."""
    with pytest.raises(HefCorrupted) as caught:
        parse(data)
    assert 1000 <= (caught.value.offset or 0) <= 1000 + len(data)


def test_broken_values_are_corruption() -> None:
    """A text that is not UTF-8 and a list that ends within a number are corruption."""
    with pytest.raises(HefCorrupted, match="UTF-8"):
        _ = parse(encoder.blob(8, b"\xff\xfe")).name
    with pytest.raises(HefCorrupted, match="list"):
        _ = parse(encoder.blob(7, bytes(9))).reals


def test_budget_bounds_what_is_read() -> None:
    """Fields gone over, fields remembered and numbers of a list all count, over all messages of a file."""
    with pytest.raises(HefNotSupported):
        parse(encoder.number(100, 1) * 2000, Budget(fields=1500, kept=10))
    with pytest.raises(HefNotSupported):
        parse(encoder.number(1, 1) * 20, Budget(fields=1500, kept=10))
    with pytest.raises(HefNotSupported):
        _ = parse(encoder.blob(7, bytes(8 * 2000)), Budget(fields=1500, kept=10)).reals
    with pytest.raises(HefNotSupported):
        _ = parse(encoder.text(8, "a" * 5000)).name


def test_nesting_is_bounded() -> None:
    """Messages are followed as deep as protobuf follows them, and no deeper."""
    data = b""
    for _ in range(MAX_DEPTH + 10):
        data = encoder.message(14, data)
    message = parse(data)
    for _ in range(MAX_DEPTH):
        message = message.self
    with pytest.raises(HefCorrupted, match="nested"):
        _ = message.self
