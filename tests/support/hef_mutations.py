"""Damaged and hostile HEFs out of whole ones, and what reading one cost. Deterministic for a given generator."""

from __future__ import annotations

import struct
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from hailod.models.hef import Hef, HefError, read_hef
from tests.support.hef_encoder import (
    FCR,
    HAILO8L,
    NC,
    NHCW,
    NMS,
    PER_FEATURE,
    CoreNms,
    File,
    Group,
    HostNms,
    Logits,
    Tensor,
    blob,
    describe,
    detector,
    encode_hef,
    message,
    number,
    sign,
    varint,
)


@dataclass(frozen=True)
class Seed:
    """A whole file: its description, and the format version to put it in."""

    name: str
    description: bytes
    version: int

    def file(self, description: bytes | None = None) -> bytes:
        """The file, with its own description or another one, and a right hash."""
        padding = 8 if self.version == 3 else 0
        return sign(self.description if description is None else description, version=self.version, padding=padding)


@dataclass(frozen=True)
class Outcome:
    """What came of reading: the file's contents or the error, in so many seconds, with so many bytes at the most."""

    result: Hef | HefError
    seconds: float
    peak: int | None


def models() -> dict[str, tuple[tuple[Group, ...], File]]:
    """One of each kind of model that the encoder writes."""
    picture = Tensor("m/input_layer1", (32, 32, 3), original_names=("images",))
    head = Tensor("m/conv1", (4, 4, 8), FCR, 2, scale=0.1, zero_point=3.0)
    by_feature = Tensor("m/conv2", (4, 4, 2), NHCW, zero_points=(1.0, 2.0), scales=(0.5, 0.25))
    logits = Tensor("m/fc1", (1, 1, 10), NC)
    core = Tensor("m/nms", (0, 0, 0), NMS, 2, core_nms=CoreNms(80, 20, burst_size=21))
    parts = tuple(
        Tensor(f"m/nms_{index}", (0, 0, 0), NMS, 2, core_nms=CoreNms(20, 20, part_of="m/nms"), context=1)
        for index in range(2)
    )
    kinds = [
        HostNms(f"m/{kind}", kind, classes=5, anchors=3, boxes_only=kind == "yolov5", background=0)
        for kind in ("yolov5", "yolox", "ssd", "iou", "yolov5_seg", "yolov8")
    ]
    raw = Group("m", [picture], [head, logits])
    return {
        "raw": ((raw,), File(version=1, compiler="3.29.0")),
        "detector": ((detector(size=64, classes=3),), File()),
        "by_feature": ((Group("m", [picture], [by_feature]),), File(extensions=(PER_FEATURE,))),
        "logits": ((Group("m", [picture], [logits, head], [Logits("m/softmax1", "m/fc1", 1)]),), File()),
        "core_nms": ((Group("m", [picture], [core]),), File()),
        "split_nms": (
            (Group("m", [picture], parts, contexts=2, fused=[("m/nms", CoreNms(40, 20))], sorted_outputs=["m/nms"]),),
            File(),
        ),
        "layouts": ((Group("m", [picture], [head], [kinds[-1]], layouts=(3, 12)),), File(hw_arch=HAILO8L)),
        "layouts_of_old": ((Group("m", [picture], [head], layouts=(3, 12)),), File(version=1, hw_arch=HAILO8L)),
        "two": (
            (Group("m", [picture], [head], networks=["a", "b"]), Group("n", [picture], [logits], networks=["c"])),
            File(version=2, resources=[("tokenizer", 3)]),
        ),
        "oldest": ((Group("m", [picture], [head], written=b"configuration"),), File(version=0)),
        **{kind.architecture: ((Group("m", [picture], [head], [kind]),), File()) for kind in kinds},
    }


def seeds() -> list[Seed]:
    """All models as files to be damaged."""
    return [Seed(name, describe(*groups, file=file), file.version) for name, (groups, file) in models().items()]


def bombs() -> Iterator[tuple[str, bytes]]:
    """Files that are small to write and would be large or deep to read."""
    mux = b""
    for _ in range(2000):
        mux = number(1, 0) + message(3, number(1, 1)) + message(5, message(2, mux))
    yield "mux within mux", _with_layer(number(2, 1) + message(4, message(2, number(12, 1)) + mux))
    partial = b""
    for _ in range(5000):
        partial = message(7, message(1, partial))
    yield "layout within layout", sign(describe() + message(2, partial))
    yield "groups within groups", sign(varint(20 << 3 | 3) * 100_000)
    yield "a million fields", sign(number(20, 0) * 1_100_000)
    yield "many network groups", sign(message(2, b"") * 300_000)
    yield "many layers", _with_layer(*[b""] * 250_000)
    yield (
        "features beyond counting",
        encode_hef(
            Group("m", [], [Tensor("m/a", (1 << 31, 1 << 31, 0xFFFF_FFFF), NHCW, zero_points=(0.0,), scales=(1.0,))]),
            file=File(extensions=(PER_FEATURE,)),
        ),
    )
    yield (
        "a long list of scales",
        _with_layer(
            number(1, 1) + message(3, message(2, number(12, 1)) + message(3, blob(6, bytes(8 * 1_200_000)))),
            extensions=(PER_FEATURE,),
        ),
    )
    yield "a name of a megabyte", _with_layer(number(1, 1) + message(3, blob(1, b"a" * 1_000_000)))


def _with_layer(*edges: bytes, extensions: tuple[int, ...] = ()) -> bytes:
    """A file that is right but for the edge layers."""
    context = message(3, b"".join(message(2, edge) for edge in edges))
    rest = describe(file=File(extensions=extensions))
    return sign(rest + message(2, message(3, context) + blob(4, b"out")))


Mutation = Callable[[Seed, Random], bytes]


def truncated(seed: Seed, random: Random) -> bytes:
    """The file up to some byte."""
    whole = seed.file()
    return whole[: random.randrange(len(whole))]


def truncated_description(seed: Seed, random: Random) -> bytes:
    """The description up to some byte, signed."""
    return seed.file(seed.description[: random.randrange(len(seed.description))])


def flipped(seed: Seed, random: Random) -> bytes:
    """The file with some bits flipped."""
    return _flip(seed.file(), random)


def flipped_description(seed: Seed, random: Random) -> bytes:
    """The description with some bits flipped, signed."""
    return seed.file(_flip(seed.description, random))


def lying(seed: Seed, random: Random) -> bytes:
    """The description with some bytes replaced by a number of any size, signed: lengths, counts and tags that lie."""
    at = random.randrange(len(seed.description))
    lie = varint(random.choice((0, 1, 127, 128, 1 << 14, 1 << 28, (1 << 31) - 1, 1 << 31, 1 << 40, (1 << 64) - 1)))
    return seed.file(seed.description[:at] + lie + seed.description[at + random.randrange(3) :])


def spliced(seed: Seed, random: Random) -> bytes:
    """The description with a piece of itself taken out, doubled or put elsewhere, signed."""
    data = seed.description
    start, end = sorted(random.sample(range(len(data) + 1), 2))
    at = random.randrange(len(data) + 1)
    rest = data[:start] + data[end:] if random.random() < 0.5 else data
    return seed.file(rest[:at] + data[start:end] + rest[at:])


def noise(seed: Seed, random: Random) -> bytes:
    """The description with a run of random bytes in it, signed."""
    at = random.randrange(len(seed.description))
    return seed.file(seed.description[:at] + random.randbytes(random.randrange(1, 64)) + seed.description[at:])


def reshaped(seed: Seed, random: Random) -> bytes:
    """The description with some fields changed, dropped, doubled or renumbered and all lengths right, signed."""
    data = seed.description
    for _ in range(random.choice((1, 1, 2, 4))):
        data = _reshape(data, random)
    return seed.file(data)


MUTATIONS: tuple[Mutation, ...] = (
    truncated,
    truncated_description,
    flipped,
    flipped_description,
    lying,
    spliced,
    noise,
    reshaped,
)


def read(data: bytes, *, measured: bool = False) -> Outcome:
    """Read a file that may be anything. Only a HefError is expected of it, and passes for a result."""
    if measured:
        tracemalloc.start()
    began = time.perf_counter()
    result: Hef | HefError
    try:
        result = read_hef(data)
    except HefError as error:
        result = error
    seconds = time.perf_counter() - began
    peak = None
    if measured:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return Outcome(result, seconds, peak)


def _reshape(data: bytes, random: Random) -> bytes:
    """Change one field of a message, or of a message in it."""
    fields = list(_split(data))
    if not fields:
        return data + number(random.randrange(1, 16), random.choice(_NUMBERS))
    at = random.randrange(len(fields))
    key, wire, value = fields[at]
    if wire == 2 and _is_message(value) and random.random() < 0.8:
        changed = [blob(key, _reshape(value, random))]
    else:
        whole = _joined(key, wire, value)
        changed = random.choice(
            (
                [],
                [whole, whole],
                [_joined(random.randrange(1, 16), wire, value)],
                [number(key, random.choice(_NUMBERS))],
                [blob(key, random.randbytes(random.randrange(20)))],
                [varint(key << 3 | 1), random.choice(_DOUBLES)],
                [varint(key << 3 | 5), random.choice(_DOUBLES)[:4]],
            )
        )
    rest = [_joined(*field) for field in fields]
    return b"".join([*rest[:at], *changed, *rest[at + 1 :]])


_NUMBERS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 13, 16, 100, 127, 1000, 65535, 1 << 20, 1 << 31, (1 << 32) - 1, (1 << 64) - 1)
_DOUBLES = tuple(struct.pack("<d", value) for value in (0.0, -1.0, 640.0, 1e300, float("inf"), float("nan"), 5e-324))


def _split(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """The fields of a message that is known to be one."""
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        wire = tag & 7
        if wire == 0:
            end = _read_varint(data, at)[1]
        elif wire == 2:
            length, at = _read_varint(data, at)
            end = at + length
        else:
            end = at + {1: 8, 5: 4}[wire]
        if end > len(data) or tag >> 3 == 0:
            raise ValueError(tag)
        yield tag >> 3, wire, data[at:end]
        at = end


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    end = at
    while data[end] >= 0x80:
        end += 1
    return sum((byte & 0x7F) << 7 * index for index, byte in enumerate(data[at : end + 1])), end + 1


def _is_message(data: bytes) -> bool:
    try:
        return bool(list(_split(data)))
    except (ValueError, KeyError, IndexError):
        return False


def _joined(key: int, wire: int, value: bytes) -> bytes:
    return blob(key, value) if wire == 2 else varint(key << 3 | wire) + value


def _flip(data: bytes, random: Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8))):
        damaged[random.randrange(len(damaged))] ^= 1 << random.randrange(8)
    return bytes(damaged)
