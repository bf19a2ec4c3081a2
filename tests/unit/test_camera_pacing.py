"""Pacing, rates and back-off."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hailod.pipeline.pacing import Backoff, Pacer, RateMeter


def admitted(pacer: Pacer, times: list[float]) -> int:
    return sum(pacer.admit(time) for time in times)


def frames(fps: float, seconds: float, *, jitter: float = 0.0) -> list[float]:
    rng = random.Random(1)
    return [100.0 + (n + rng.uniform(-jitter, jitter)) / fps for n in range(round(fps * seconds))]


@pytest.mark.parametrize(("source", "limit"), [(30, 10), (25, 10), (15, 10), (29.97, 15), (60, 7), (25, 24), (12, 5)])
@pytest.mark.parametrize("jitter", [0.0, 0.2])
def test_the_mean_rate_is_the_limit(source: float, limit: float, jitter: float) -> None:
    """25 frames a second limited to 10 are 10, neither 8.3 nor 12.5, also when frames come unevenly."""
    assert admitted(Pacer(limit), frames(source, 100.0, jitter=jitter)) == pytest.approx(limit * 100, rel=0.01)


@pytest.mark.parametrize("limit", [30.0, 31.0, None])
def test_a_limit_at_or_above_the_source_rate_loses_nothing(limit: float | None) -> None:
    """Jitter costs no frame when the limit equals the camera's own rate."""
    assert admitted(Pacer(limit), frames(30.0, 100.0, jitter=0.2)) >= 2997


@given(st.lists(st.floats(0.0, 2.0), max_size=200), st.floats(0.5, 60.0))
def test_the_limit_holds_whatever_comes(gaps: list[float], limit: float) -> None:
    """In no span of time are more frames admitted than the limit allows, but for a burst of two after a pause."""
    pacer, now, times = Pacer(limit), 0.0, []
    for gap in gaps:
        now += gap
        if pacer.admit(now):
            times.append(now)
    for first in range(len(times)):
        for last in range(first, len(times)):
            assert last - first + 1 <= (times[last] - times[first]) * limit + 2.25 + 1e-6


def test_a_new_limit_holds_at_once() -> None:
    """A limit set at run time needs no restart."""
    pacer = Pacer(1.0)
    assert pacer.admit(10.0)
    assert not pacer.admit(10.1)
    pacer.set_max_fps(None)
    assert pacer.admit(10.2)
    assert pacer.admit(10.2)


def test_the_rate_is_that_of_the_last_seconds() -> None:
    """A camera that stopped has no rate."""
    meter = RateMeter()
    for n in range(100):
        meter.count(n / 20)
    assert meter.rate(99 / 20) == pytest.approx(20.0)
    assert meter.rate(20.0) == 0.0


@given(st.integers(0, 2**32), st.floats(0.05, 2.0), st.floats(2.0, 60.0))
def test_delays_grow_to_the_maximum_and_start_over_after_a_reset(seed: int, initial: float, maximum: float) -> None:
    """Each delay lies between nothing and a bound that doubles up to the maximum."""
    backoff = Backoff(initial, maximum, random.Random(seed))
    for attempt in range(12):
        assert 0.0 <= backoff.next_delay() <= min(maximum, initial * 2**attempt)
    backoff.reset()
    assert backoff.next_delay() <= initial
