"""The batch rule: full batches at once, partial ones just before the device runs dry, nothing without room."""

from __future__ import annotations

import pytest

from hailod.pipeline.batcher import Pace, RateCap, Send, Situation, Wait, decide


@pytest.mark.parametrize(
    ("situation", "decision"),
    [
        (Situation(waiting=0, room=2, batch_size=1, dry_in=0.0, turnaround=0.0), Wait(None)),
        (Situation(waiting=5, room=0, batch_size=1, dry_in=0.0, turnaround=0.0), Wait(None)),
        (Situation(waiting=5, room=2, batch_size=1, dry_in=0.5, turnaround=0.0), Send(1)),
        (Situation(waiting=9, room=16, batch_size=8, dry_in=0.5, turnaround=0.0), Send(8)),
        (Situation(waiting=8, room=7, batch_size=8, dry_in=0.0, turnaround=0.0), Wait(None)),
        (Situation(waiting=3, room=16, batch_size=8, dry_in=0.0, turnaround=0.001), Send(3)),
        (Situation(waiting=3, room=16, batch_size=8, dry_in=0.004, turnaround=0.001), Wait(pytest.approx(0.003))),
        (Situation(waiting=3, room=16, batch_size=8, dry_in=0.001, turnaround=0.001), Send(3)),
        (Situation(3, 16, 8, dry_in=0.0, turnaround=0.0, waited=0.002, max_delay=0.01), Wait(pytest.approx(0.008))),
        (Situation(3, 16, 8, dry_in=0.0, turnaround=0.0, waited=0.01, max_delay=0.01), Send(3)),
        (Situation(8, 16, 8, dry_in=0.0, turnaround=0.0, waited=0.002, max_delay=0.01), Send(8)),
        (Situation(3, 16, 8, dry_in=0.02, turnaround=0.0, waited=0.002, max_delay=0.01), Wait(pytest.approx(0.02))),
    ],
    ids=[
        "nothing waits",
        "window full",
        "batch of one is always full",
        "full batch",
        "room for less than what would be sent",
        "idle device takes a partial batch",
        "busy device lets the batch grow",
        "device about to run dry",
        "idle device waits as long as the user allows",
        "and no longer",
        "and never with a full batch",
        "and a busy one as before",
    ],
)
def test_rule(situation: Situation, decision: Send | Wait) -> None:
    """Each line of the rule, by example."""
    assert decide(situation) == decision


def test_pace_predicts_when_the_device_runs_dry() -> None:
    """After steady batches of 4 frames in 20 ms, 8 frames in flight last 40 ms from the last completion."""
    pace = Pace()
    for n in range(1, 200):
        pace.completed(4, taken=n * 0.02 - 0.041, started=n * 0.02 - 0.04, ended=n * 0.02)
    assert pace.per_frame == pytest.approx(0.005, rel=0.01)
    assert pace.turnaround == pytest.approx(0.001, rel=0.01)
    assert pace.dry_in(199 * 0.02 + 0.01, 8) == pytest.approx(0.03, rel=0.05)
    assert pace.dry_in(199 * 0.02, 0) == 0.0
    assert pace.dry_in(1000.0, 8) == 0.0


def test_rate_cap_spreads_what_is_sent() -> None:
    """Batches are sent so far apart that the rate holds; a pause is not made up for by a burst."""
    cap = RateCap()
    assert cap.rest(10.0, 100.0) == 0.0
    cap.sent(4, 10.0, 100.0)
    assert cap.rest(10.0, 100.1) == pytest.approx(0.3)
    cap.sent(4, 10.0, 100.4)
    assert cap.rest(10.0, 100.4) == pytest.approx(0.4)
    assert cap.rest(10.0, 200.0) == 0.0
    cap.sent(1, 10.0, 200.0)
    assert cap.rest(10.0, 200.0) == pytest.approx(0.1)


def test_without_a_limit_nothing_rests() -> None:
    """What is lifted holds nobody back any more."""
    cap = RateCap()
    cap.sent(100, 1.0, 0.0)
    assert cap.rest(None, 0.0) == 0.0
