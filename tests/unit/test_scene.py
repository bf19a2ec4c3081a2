"""The counts of a camera: up at once, down only when it is sure, whatever single frames say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hailod.pipeline.scene import OFF_DELAY_S, Scene

START = 1000.0


def test_labels_are_counted_from_the_start() -> None:
    """The labels that a camera asks for are there with 0 before anything was seen; others appear once seen."""
    scene = Scene(["person", "car"])
    assert scene.counts() == {"car": 0, "person": 0}
    scene.see({"dog": 1}, START)
    assert scene.counts() == {"car": 0, "dog": 1, "person": 0}


def test_more_counts_at_once() -> None:
    """The first frame that shows more raises the count."""
    scene = Scene(["person"])
    scene.see({"person": 1}, START)
    assert scene.counts() == {"person": 1}
    scene.see({"person": 3}, START)
    assert scene.counts() == {"person": 3}


def test_missed_frames_change_nothing() -> None:
    """A detector that misses an object for less than the delay does not make its count flicker."""
    scene = Scene()
    for number in range(100):
        scene.see({"person": 2} if number % 10 == 0 else {}, START + 0.1 * number)
        assert scene.counts() == {"person": 2}


def test_less_counts_after_the_delay() -> None:
    """When no frame showed as many for the whole delay, the count falls to the most that was seen meanwhile."""
    scene = Scene()
    scene.see({"person": 3}, START)
    scene.see({"person": 1}, START + 1.0)
    scene.see({"person": 2}, START + 2.0)
    scene.see({}, START + 0.9 + OFF_DELAY_S)
    assert scene.counts() == {"person": 3}
    scene.see({}, START + 1.0 + OFF_DELAY_S)
    assert scene.counts() == {"person": 2}
    scene.see({}, START + 1.1 + OFF_DELAY_S)
    scene.see({}, START + 1.1 + 2 * OFF_DELAY_S)
    assert scene.counts() == {"person": 0}


@given(st.lists(st.tuples(st.floats(0.01, 2.0), st.integers(0, 4)), min_size=1, max_size=60))
def test_count_is_the_most_of_the_recent_past(steps: list[tuple[float, int]]) -> None:
    """A count is never below what the last frame showed and never above what any frame so far showed."""
    scene, now, most = Scene(["person"]), START, 0
    for pause, seen in steps:
        now += pause
        most = max(most, seen)
        scene.see({"person": seen}, now)
        assert seen <= scene.counts()["person"] <= most
