"""How far two observers of the same frames agree on what is in them."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.support.reference import Thing, iou

Sightings = Mapping[int, Sequence[Thing]]

# What both report; only what either is more certain of (see `compare`) must be seen by both. So nothing is called a
# disagreement that merely lies on the two sides of a threshold.
REPORTED = 0.3
JUDGED = 0.5
# Boxes that overlap less are not of the same thing.
SAME = 0.5


@dataclass(frozen=True, slots=True)
class Pair:
    """One thing as both saw it."""

    frame: int
    first: Thing
    second: Thing

    @property
    def iou(self) -> float:
        return iou(self.first, self.second)

    @property
    def shift(self) -> float:
        """By how much the scores differ."""
        return abs(self.first.score - self.second.score)


@dataclass(frozen=True, slots=True)
class Agreement:
    """What both saw, and what only one of them did."""

    frames: int
    pairs: tuple[Pair, ...]
    lonely: tuple[tuple[int, Thing], ...]
    same_classes: int

    def __str__(self) -> str:
        if not self.pairs:
            return f"{self.frames:6d} {'nothing seen by either' if not self.lonely else f'{len(self.lonely)} lonely'}"
        ious, shifts = sorted(pair.iou for pair in self.pairs), sorted(pair.shift for pair in self.pairs)
        figures = [statistics.median(ious), ious[len(ious) // 20], ious[0]]
        figures += [statistics.median(shifts), shifts[-1 - len(shifts) // 20], shifts[-1]]
        classes = 100.0 * self.same_classes / self.frames
        return f"{self.frames:6d} {len(self.pairs):6d} {len(self.lonely):6d} {classes:8.1f} " + " ".join(
            f"{figure:7.3f}" for figure in figures
        )


HEADINGS = " ".join(
    f"{title:>{width}}"
    for title, width in zip(
        ("frames", "pairs", "lonely", "classes%", "IoU p50", "p5", "min", "dS p50", "p95", "max"),
        (6, 6, 6, 8, 7, 7, 7, 7, 7, 7),
        strict=True,
    )
)


def compare(first: Sightings, second: Sightings) -> Agreement:
    """Pair what two observers saw in the frames that both looked at: the best overlaps of one label first.

    A thing that either is certain of (`JUDGED`) and the other did not see at all (`REPORTED`) is lonely; what neither
    is certain of is left out.
    """
    frames = sorted(first.keys() & second.keys())
    pairs: list[Pair] = []
    lonely: list[tuple[int, Thing]] = []
    same = 0
    for frame in frames:
        found, alone = _pair(frame, first[frame], second[frame])
        pairs += (pair for pair in found if max(pair.first.score, pair.second.score) >= JUDGED)
        lonely += ((frame, thing) for thing in alone if thing.score >= JUDGED)
        same += _classes(first[frame]) == _classes(second[frame])
    return Agreement(len(frames), tuple(pairs), tuple(lonely), same)


def _pair(frame: int, first: Sequence[Thing], second: Sequence[Thing]) -> tuple[list[Pair], list[Thing]]:
    left, right = list(first), list(second)
    pairs = []
    for pair in sorted(_candidates(frame, left, right), key=lambda pair: -pair.iou):
        if pair.first in left and pair.second in right:
            pairs.append(pair)
            left.remove(pair.first)
            right.remove(pair.second)
    return pairs, left + right


def _candidates(frame: int, first: Sequence[Thing], second: Sequence[Thing]) -> Iterator[Pair]:
    for one in first:
        for other in second:
            if one.label == other.label and iou(one, other) >= SAME:
                yield Pair(frame, one, other)


def _classes(things: Sequence[Thing]) -> Counter[str]:
    return Counter(thing.label for thing in things if thing.score >= JUDGED)
