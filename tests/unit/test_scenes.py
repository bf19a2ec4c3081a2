"""Rendered scenes: what they show, and that they tell the truth about it."""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import cache

import numpy as np
import pytest

from hailod.scenes import LABELS, PLACES, Pool, RenderedScene
from hailod.scenes.acts import Path
from hailod.types import Picture

SIZE = (320, 180)
FPS = 15.0
DEMO = (("driveway", 8, False), ("street", 7, True))


@cache
def scene(kind: str, seed: int, night: bool = False, rain: bool = False) -> RenderedScene:
    return RenderedScene(kind, seed, SIZE, FPS, night=night, rain=rain)


def content(picture: Picture) -> bytes:
    return b"".join(plane.tobytes() for plane in picture.planes)


def pixels(box: np.ndarray) -> tuple[slice, slice]:
    x1, y1, x2, y2 = (box * [*SIZE, *SIZE]).round().astype(int)
    return slice(y1, y2), slice(x1, x2)


@pytest.mark.parametrize("kind", PLACES)
def test_a_seed_gives_the_same_pictures_every_time(kind: str) -> None:
    """Two scenes of the same arguments are equal in every byte and in their truth; another seed is another scene."""
    scenes = [RenderedScene(kind, seed, (160, 90), FPS, night=True, rain=True) for seed in (5, 5, 6)]
    (one, truth), (same, same_truth), (other, _) = (each.both(33) for each in scenes)
    assert content(one) == content(same)
    assert np.array_equal(truth.boxes, same_truth.boxes)
    assert np.array_equal(truth.ids, same_truth.ids)
    assert content(one) != content(other)


def test_pictures_can_be_asked_for_in_any_order() -> None:
    """A picture does not depend on which were asked for before."""
    forwards, backwards = (RenderedScene("street", 4, (160, 90), FPS) for _ in range(2))
    numbers = [0, 40, 900, 4000]
    ahead = {number: content(forwards(number)) for number in numbers}
    assert {number: content(backwards(number)) for number in reversed(numbers)} == ahead


@pytest.mark.parametrize("kind", PLACES)
def test_something_is_where_the_truth_says(kind: str) -> None:
    """In the box of everything that moves the picture differs from the empty place."""
    place = scene(kind, 7)
    resting = place.resting_ids
    for number in range(0, 600, 60):
        picture, truth = place.both(number)
        difference = np.abs(picture.planes[0].astype(int) - place.empty(number).planes[0])
        for box, own, visible in zip(truth.boxes, truth.ids, truth.visibility, strict=True):
            if own not in resting and visible > 0.6 and np.prod((box[2:] - box[:2]) * SIZE) > 40:
                assert (difference[pixels(box)] > 4).mean() > 0.2


@pytest.mark.parametrize("kind", PLACES)
def test_nothing_is_where_the_truth_says_nothing(kind: str) -> None:
    """What differs from the empty place, soft shadows aside, lies inside the boxes."""
    place = RenderedScene(kind, 7, SIZE, FPS, lighting="overcast")
    for number in range(0, 600, 120):
        picture, truth = place.both(number)
        difference = np.abs(picture.planes[0].astype(int) - place.empty(number).planes[0]) > 40
        for box in truth.boxes:
            rows, columns = pixels(box)
            difference[max(0, rows.start - 2) : rows.stop + 2, max(0, columns.start - 2) : columns.stop + 2] = False
        assert difference.mean() < 0.001


@pytest.mark.parametrize(("kind", "seed", "night"), DEMO)
def test_all_classes_are_seen_within_any_twenty_seconds(kind: str, seed: int, night: bool) -> None:
    """The demo's scenes show a person, a car, a cat and a parcel in every window of 20 s."""
    place = scene(kind, seed, night)
    seen: dict[int, list[float]] = defaultdict(lambda: [0.0])
    end = 90.0
    for second in np.arange(0, end, 0.5):
        truth = place.truth(round(second * FPS))
        for label in set(truth.labels[truth.visibility > 0.5].tolist()):
            seen[label].append(float(second))
    assert sorted(seen) == list(range(len(LABELS)))
    gaps = {LABELS[label]: max(np.diff([*seconds, end])) for label, seconds in seen.items()}
    assert all(gap < 20 for gap in gaps.values()), gaps


def test_parcels_are_put_down_and_taken_away() -> None:
    """A parcel is carried in, lies still for a while, and is gone later."""
    drive = scene("driveway", 8)
    ways: dict[int, list[tuple[float, ...]]] = defaultdict(list)
    for number in range(0, round(80 * FPS), 5):
        truth = drive.truth(number)
        for box, label, own in zip(truth.boxes, truth.labels, truth.ids, strict=True):
            if LABELS[label] == "parcel":
                ways[int(own)].append(tuple(box.tolist()))
    rests = {own: Counter(way).most_common(1)[0] for own, way in ways.items()}
    whole = [own for own, (place, _) in rests.items() if ways[own][0] != place != ways[own][-1]]
    # Nine pictures, five apart, are three seconds.
    assert max(rests[own][1] for own in whole) >= 9


def test_visibility_tells_what_is_hidden() -> None:
    """In the course of a minute things are seen whole and partly, and never more than whole."""
    place = scene("street", 3)
    shares = np.concatenate([place.truth(number).visibility for number in range(0, 900, 30)])
    assert shares.max() <= 1.0
    assert shares.min() > 0.0
    assert (shares > 0.97).any()
    assert (shares < 0.6).any()


def test_night_is_darker_than_day_and_rain_moves() -> None:
    """Night and rain can be seen in the picture."""
    day, night = (
        RenderedScene("street", 2, SIZE, FPS, lighting=light)(0).planes[0].mean() for light in ("noon", "lamps")
    )
    assert night < 0.75 * day
    wet = scene("garden", 2, False, True)
    assert (wet.empty(1).planes[0] > wet.empty(2).planes[0].astype(int) + 12).mean() > 0.005


def test_a_picture_of_odd_sides_is_whole() -> None:
    """Any size from 16 pixels gives planes as 4:2:0 has them."""
    picture, truth = RenderedScene("porch", 1, (161, 91), FPS).both(5)
    assert [plane.shape for plane in picture.planes] == [(91, 161), (46, 81), (46, 81)]
    assert truth.boxes.max() <= 1.0
    tiny = RenderedScene("street", 1, (16, 16), FPS)(0)
    assert tiny.planes[0].shape == (16, 16)


def test_reserved_styles_are_never_trained_on() -> None:
    """What training scenes draw from and what held-out ones draw from have nothing in common."""
    rng = np.random.default_rng(0)
    for draw in (
        lambda pool: pool.figure(rng, 20),
        lambda pool: pool.background(rng, 24),
        lambda pool: pool.light(rng, ("noon", "evening", "hazy")),
    ):
        trained, held_out = ({draw(pool) for _ in range(300)} for pool in (Pool.TRAINING, Pool.HELD_OUT))
        assert trained
        assert held_out
        assert trained.isdisjoint(held_out)


def test_a_path_is_walked_at_an_even_pace() -> None:
    """Equal distances along a path are equal steps over the ground, from its first point to its last."""
    path = Path([(0.0, 5.0), (3.0, 6.0), (4.0, 9.0)])
    places = np.array([path.at(distance)[:2] for distance in np.linspace(0, path.length, 40)])
    steps = np.hypot(*np.diff(places, axis=0).T)
    assert steps == pytest.approx(np.full(39, path.length / 39), rel=0.05)
    assert places[[0, -1]] == pytest.approx(np.array([(0.0, 5.0), (4.0, 9.0)]), abs=1e-4)
