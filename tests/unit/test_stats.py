"""Rates and latencies: what is told of the time since the last reading."""

from __future__ import annotations

import pytest

from hailod.pipeline.results import Timing
from hailod.pipeline.stats import SAMPLES, Rate, Stats

START = 1000.0


def timing(ended: float, *, total: float = 0.04) -> Timing:
    """A frame whose time is a quarter each of waiting, way there, device and decoding."""
    part = total / 4
    return Timing(ended - 3 * part, ended - 2 * part, ended - part, ended, ended + part)


def test_interval_counts_from_the_last_reading() -> None:
    """Each reading tells of what came since the one before, per camera and in all, and then begins anew."""
    stats = Stats(START)
    for number in range(20):
        stats.add("front" if number % 2 else "back", timing(START + number))
    first = stats.read(START + 10.0)
    assert (first.results, first.seconds, first.fps) == (20, 10.0, 2.0)
    assert (first.camera_fps("front"), first.camera_fps("nobody")) == (1.0, 0.0)
    second = stats.read(START + 15.0)
    assert (second.results, second.seconds, second.fps, second.batch_mean) == (0, 5.0, 0.0, 0.0)
    assert second.latency_ms == {}


def test_latency_is_told_by_part_in_milliseconds() -> None:
    """Percentiles of the whole and of its parts."""
    stats = Stats(START)
    for number in range(100):
        stats.add("front", timing(START + number, total=0.04 if number < 97 else 0.4))
    latency = stats.read(START + 100.0).latency_ms
    assert set(latency) == {"total", "waiting", "device", "host"}
    assert latency["total"]["p50"] == pytest.approx(40.0, rel=1e-3)
    assert latency["total"]["p99"] == pytest.approx(400.0, rel=1e-3)
    assert latency["waiting"]["p50"] == latency["device"]["p50"] == pytest.approx(10.0, rel=1e-3)
    assert latency["host"]["p50"] == pytest.approx(20.0, rel=1e-3)


def test_frames_of_one_batch_are_one_batch() -> None:
    """The mean batch is told by how many frames share the moment at which they ended."""
    stats = Stats(START)
    for batch in range(5):
        for _ in range(3):
            stats.add("front", timing(START + batch))
    assert stats.read(START + 10.0).batch_mean == 3.0


def test_memory_is_bounded_and_counts_are_exact() -> None:
    """Of more results than are kept all are counted, and the latest make the percentiles."""
    stats = Stats(START)
    for number in range(SAMPLES + 500):
        stats.add("front", timing(START + number, total=9.0 if number < 500 else 0.01))
    interval = stats.read(START + 10.0)
    assert interval.results == SAMPLES + 500
    assert interval.latency_ms["total"]["p99"] == pytest.approx(10.0, rel=1e-2)


def test_reading_twice_at_once_divides_by_nothing() -> None:
    """An interval of no length has a rate of 0."""
    stats = Stats(START)
    stats.add("front", timing(START))
    assert stats.read(START).fps == 0.0


def test_rate_is_of_full_windows() -> None:
    """A steady rhythm is told as its rate, and stays there between windows."""
    rate = Rate()
    assert rate.value(START) == 0.0
    for number in range(100):
        rate.add(START + number * 0.1)
    assert rate.value(START + 10.0) == pytest.approx(10.0)


def test_rate_ages_to_nothing() -> None:
    """When events cease the rate falls, though nothing more happens."""
    rate = Rate()
    for number in range(50):
        rate.add(START + number * 0.1)
    end = START + 5.0
    assert rate.value(end) == pytest.approx(10.0)
    assert rate.value(end + 10.0) < 2.0
    assert rate.value(end + 1000.0) < 0.05
