"""Protobuf's wire format, for messages from files that nobody vouches for.

A subclass of `Message` declares the fields that are wanted, by number; all others are skipped and cost nothing but
time. A message is indexed when it is made, and a field is decoded when it is first looked at. What a message says is
taken as protobuf takes it: unknown fields and fields of another wire type are skipped, of a field given twice the last
one counts, submessages given twice are merged, absent fields are zero.

Time and memory are bounded by a `Budget` that all messages of one file share, nesting by `MAX_DEPTH`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar, overload

from hailod.models.hef.errors import HefCorrupted, HefNotSupported

T = TypeVar("T")
M = TypeVar("M", bound="Message")

VARINT, FIXED64, LENGTH, START_GROUP, END_GROUP, FIXED32 = range(6)
_FIXED_BYTES = {FIXED64: 8, FIXED32: 4}

# As deep as protobuf itself goes.
MAX_DEPTH = 100
# Most files need some hundred of either. Those of version 0 have a few for each piece of their configuration.
MAX_FIELDS = 400_000
MAX_KEPT = 200_000
MAX_TEXT = 4096
_PAID_AT_ONCE = 1024


class Budget:
    """What one file may cost: fields gone over, and fields remembered."""

    def __init__(self, fields: int = MAX_FIELDS, kept: int = MAX_KEPT) -> None:
        self._fields, self._kept = fields, kept

    def spend(self, fields: int, kept: int) -> None:
        """Take from the budget; HefNotSupported when it is used up."""
        self._fields -= fields
        self._kept -= kept
        if self._fields < 0 or self._kept < 0:
            raise HefNotSupported("the description has far more fields than any compiler writes")


@dataclass(frozen=True, slots=True)
class Span:
    """Some bytes of the file: `data[start:end]`, of which `data[0]` is byte `base` of the file."""

    data: bytes
    start: int
    end: int
    base: int
    budget: Budget
    depth: int = 0

    def narrowed(self, start: int, end: int) -> Span:
        """A part of it, one message deeper."""
        if self.depth >= MAX_DEPTH:
            raise HefCorrupted(f"messages are nested deeper than {MAX_DEPTH}", self.base + start)
        return Span(self.data, start, end, self.base, self.budget, self.depth + 1)

    def merged(self, parts: list[tuple[int, int]]) -> Span:
        """A submessage in one or several parts, as one."""
        if len(parts) == 1:
            return self.narrowed(*parts[0])
        whole = b"".join(self.data[start:end] for start, end in parts)
        first = self.narrowed(*parts[0])
        return Span(whole, 0, len(whole), self.base + parts[0][0], self.budget, first.depth)


class Field(Generic[T]):
    """One declared field: reading it from a message decodes it once."""

    def __init__(self, number: int, wires: tuple[int, ...], decode: Callable[[Span, list[tuple[int, int]]], T]) -> None:
        self.number, self.wires, self._decode = number, wires, decode
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, message: None, owner: type) -> Field[T]: ...

    @overload
    def __get__(self, message: Message, owner: type) -> T: ...

    def __get__(self, message: Message | None, owner: type) -> T | Field[T]:
        if message is None:
            return self
        value = self._decode(message.span, message.occurrences.get(self.number, []))
        # The instance's own attribute is found before this descriptor from now on.
        message.__dict__[self._name] = value
        return value


class Message:
    """A message of which the declared fields can be read; HefCorrupted when its encoding is broken."""

    _wanted: ClassVar[dict[int, tuple[int, ...]]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        declared = [field for kind in cls.__mro__ for field in vars(kind).values() if isinstance(field, Field)]
        cls._wanted = {field.number: field.wires for field in declared}

    def __init__(self, span: Span) -> None:
        self.span = span
        self.occurrences: dict[int, list[tuple[int, int]]] = {}
        self._last: dict[int, int] = {}
        wanted = self._wanted
        unpaid = kept = 0
        for number, wire, start, end in _fields(span):
            unpaid += 1
            if number in wanted and wire in wanted[number]:
                kept += 1
                self.occurrences.setdefault(number, []).append((start, end))
                self._last[number] = start
            if unpaid == _PAID_AT_ONCE:
                span.budget.spend(unpaid, kept)
                unpaid = kept = 0
        # A message costs as much as a field, be it empty.
        span.budget.spend(unpaid + 1, kept)

    @property
    def offset(self) -> int:
        """Where in the file it begins."""
        return self.span.base + self.span.start

    def has(self, field: Field[Any]) -> bool:
        """Whether the field is given at all."""
        return field.number in self.occurrences

    def chosen(self, *fields: Field[Any]) -> Field[Any] | None:
        """Which of the fields of a oneof counts: the one that came last."""
        given = [field for field in fields if self.has(field)]
        return max(given, key=lambda field: self._last[field.number], default=None)


def _varint(data: bytes, at: int, end: int, base: int) -> tuple[int, int]:
    """The number that begins at `at`, and where it ends."""
    value = shift = 0
    for position in range(at, min(end, at + 10)):
        byte = data[position]
        if byte < 0x80:
            return (value | byte << shift) & 0xFFFF_FFFF_FFFF_FFFF, position + 1
        value |= (byte & 0x7F) << shift
        shift += 7
    raise HefCorrupted("a number does not end", base + at)


def _fields(span: Span) -> Iterator[tuple[int, int, int, int]]:
    """Number, wire type, start and end of the value of each field outside groups."""
    data, at, end, base = span.data, span.start, span.end, span.base
    groups: list[int] = []
    while at < end:
        began = at
        tag = data[at]
        at += 1
        if tag >= 0x80:
            tag, at = _varint(data, began, end, base)
        number, wire = tag >> 3, tag & 7
        if number == 0 or tag > 0xFFFF_FFFF:
            raise HefCorrupted("a field has a number that cannot be", base + began)
        start = at
        if wire == LENGTH:
            length, start = _varint(data, at, end, base)
            at = start + length
        elif wire == VARINT:
            at = _varint(data, at, end, base)[1]
        elif wire in _FIXED_BYTES:
            at += _FIXED_BYTES[wire]
        elif wire == START_GROUP and span.depth + len(groups) < MAX_DEPTH:
            groups.append(number)
        elif wire == END_GROUP and groups and groups.pop() == number:
            continue
        else:
            raise HefCorrupted(f"a field has wire type {wire}, which cannot be here", base + began)
        if at > end:
            raise HefCorrupted("a field is longer than what holds it", base + began)
        if not groups:
            yield number, wire, start, at
    if groups:
        raise HefCorrupted("a group does not end", base + end)


def _last_varint(span: Span, found: list[tuple[int, int]]) -> int:
    return _varint(span.data, *found[-1], span.base)[0] if found else 0


def uint(number: int) -> Field[int]:
    """A uint32, or an enum."""
    return Field(number, (VARINT,), lambda span, found: _last_varint(span, found) & 0xFFFF_FFFF)


def optional_uint(number: int) -> Field[int | None]:
    """A uint32 that may be absent."""
    return Field(number, (VARINT,), lambda span, found: _last_varint(span, found) & 0xFFFF_FFFF if found else None)


def uint64(number: int) -> Field[int]:
    """A uint64."""
    return Field(number, (VARINT,), _last_varint)


def flag(number: int) -> Field[bool]:
    """A bool."""
    return Field(number, (VARINT,), lambda span, found: _last_varint(span, found) != 0)


def single(number: int) -> Field[float]:
    """A float."""
    return Field(number, (FIXED32,), lambda span, found: _last_fixed("<f", span, found))


def double(number: int) -> Field[float]:
    """A double."""
    return Field(number, (FIXED64,), lambda span, found: _last_fixed("<d", span, found))


def doubles(number: int) -> Field[tuple[float, ...]]:
    """Repeated doubles, packed or not."""
    return Field(number, (FIXED64, LENGTH), lambda span, found: _all_fixed("d", 8, span, found))


def singles(number: int) -> Field[tuple[float, ...]]:
    """Repeated floats, packed or not."""
    return Field(number, (FIXED32, LENGTH), lambda span, found: _all_fixed("f", 4, span, found))


def uints(number: int) -> Field[tuple[int, ...]]:
    """Repeated uint32s, packed or not."""
    return Field(number, (VARINT, LENGTH), _all_uints)


def text(number: int) -> Field[str]:
    """A string."""
    return Field(number, (LENGTH,), lambda span, found: _text(span, *found[-1]) if found else "")


def texts(number: int) -> Field[tuple[str, ...]]:
    """Repeated strings."""
    return Field(number, (LENGTH,), lambda span, found: tuple(_text(span, *part) for part in found))


def length(number: int) -> Field[int]:
    """How many bytes a field of bytes has."""
    return Field(number, (LENGTH,), lambda _, found: found[-1][1] - found[-1][0] if found else 0)


def one(number: int, kind: Callable[[Span], M]) -> Field[M]:
    """A submessage; where it is absent, an empty one."""
    return Field(number, (LENGTH,), lambda span, found: kind(span.merged(found or [(span.end, span.end)])))


def many(number: int, kind: Callable[[Span], M]) -> Field[tuple[M, ...]]:
    """Repeated submessages."""
    return Field(number, (LENGTH,), lambda span, found: tuple(kind(span.narrowed(*part)) for part in found))


def _all_uints(span: Span, found: list[tuple[int, int]]) -> tuple[int, ...]:
    values = []
    for start, end in found:
        # A list of one is encoded as the number alone or as a packed list; here both are a run of varints.
        at = start
        while at < end:
            value, at = _varint(span.data, at, end, span.base)
            values.append(value & 0xFFFF_FFFF)
    span.budget.spend(len(values), 0)
    return tuple(values)


def _last_fixed(layout: str, span: Span, found: list[tuple[int, int]]) -> float:
    if not found:
        return 0.0
    value: float = struct.unpack_from(layout, span.data, found[-1][0])[0]
    return value


def _all_fixed(code: str, size: int, span: Span, found: list[tuple[int, int]]) -> tuple[float, ...]:
    values: list[float] = []
    for start, end in found:
        count, rest = divmod(end - start, size)
        if rest:
            raise HefCorrupted("a list of numbers ends within one", span.base + end)
        span.budget.spend(count, 0)
        values.extend(struct.unpack_from(f"<{count}{code}", span.data, start))
    return tuple(values)


def _text(span: Span, start: int, end: int) -> str:
    if end - start > MAX_TEXT:
        raise HefNotSupported(f"a name is longer than {MAX_TEXT} bytes", span.base + start)
    try:
        return span.data[start:end].decode()
    except UnicodeDecodeError as error:
        raise HefCorrupted("a name is not UTF-8", span.base + start + error.start) from None
