"""Health: conditions by stable codes, one transition for each change, and a bounded list."""

from __future__ import annotations

import pytest

from hailod.health import DEVICE_CODES, MAX_REASONS, MAX_TEXT, Code, Health, State


def test_ok_until_something_is_wrong() -> None:
    """A node with no condition is ok and gives no reason."""
    snapshot = Health().snapshot()
    assert (snapshot.state, snapshot.reasons, snapshot.hidden) == (State.OK, (), 0)


def test_one_transition_for_each_change() -> None:
    """Coming and going are told once each; repeats change the text, not the beginning."""
    health = Health()
    came = health.raise_(Code.CAMERA_LOST, "no route", 10.0, "front")
    assert came is not None
    assert (came.raised, came.before, came.after) == (True, State.OK, State.DEGRADED)
    assert health.raise_(Code.CAMERA_LOST, "refused", 20.0, "front") is None
    (reason,) = health.snapshot().reasons
    assert reason.document(lambda moment: 1_000_000.0 + moment) == {
        "code": "camera_lost",
        "since": 1_000_010.0,
        "count": 1,
        "text": "refused",
        "subject": "front",
    }
    went = health.clear(Code.CAMERA_LOST, "front")
    assert went is not None
    assert (went.raised, went.before, went.after) == (False, State.DEGRADED, State.OK)
    assert went.reason.since == 10.0
    assert health.clear(Code.CAMERA_LOST, "front") is None


def test_says_how_often_and_what_to_do() -> None:
    """A person reads how often it was, what is being done about it and what they can do."""
    health = Health()
    for now in (1.0, 2.0):
        health.raise_(Code.CAMERA_LOST, "refused", now, "front", doing="trying again", fix="check the port")
        last = health.snapshot().reasons[0].document(float)
        health.clear(Code.CAMERA_LOST, "front")
    assert (last["count"], last["doing"], last["fix"]) == (2, "trying again", "check the port")
    health.raise_(Code.CAMERA_LOST, "refused", 3.0, "back")
    assert health.counts() == {"camera_lost": 3}
    health.forget("front")
    assert health.counts() == {"camera_lost": 1}


def test_subjects_are_apart() -> None:
    """Two lost cameras are two conditions; the state is ok when both are back."""
    health = Health()
    health.raise_(Code.CAMERA_LOST, "x", 1.0, "a")
    health.raise_(Code.CAMERA_LOST, "x", 1.0, "b")
    health.clear(Code.CAMERA_LOST, "a")
    assert [reason.subject for reason in health.snapshot().reasons] == ["b"]
    assert health.state is State.DEGRADED


@pytest.mark.parametrize(
    ("code", "state"),
    [
        (Code.SIMULATED, State.OK),
        (Code.DEVICE_UNAVAILABLE, State.DEGRADED),
        (Code.DEVICE_LOST, State.DEGRADED),
        (Code.BROKER_DOWN, State.DEGRADED),
        (Code.DEVICE_REJECTED, State.FAILED),
        (Code.DEVICE_STUCK, State.FAILED),
    ],
)
def test_gravity(code: Code, state: State) -> None:
    """What passes by itself is degraded, what needs a person is failed, a simulated device is said and harmless."""
    health = Health()
    health.raise_(code, "x", 1.0)
    assert health.state is state


def test_the_gravest_and_oldest_first() -> None:
    """The first reason is the one to act upon."""
    health = Health()
    health.raise_(Code.BROKER_DOWN, "x", 2.0)
    health.raise_(Code.CAMERA_LOST, "x", 1.0, "a")
    health.raise_(Code.DEVICE_STUCK, "x", 3.0)
    assert [r.code for r in health.snapshot().reasons] == [Code.DEVICE_STUCK, Code.CAMERA_LOST, Code.BROKER_DOWN]


def test_bounded_and_counted() -> None:
    """However many cameras are lost, the message stays small and says how many more there are."""
    health = Health()
    for number in range(MAX_REASONS + 5):
        health.raise_(Code.CAMERA_LOST, "x" * 1000, float(number), str(number))
    snapshot = health.snapshot()
    assert (len(snapshot.reasons), snapshot.hidden) == (MAX_REASONS, 5)
    assert all(len(reason.text) == MAX_TEXT for reason in snapshot.reasons)


def test_snapshot_does_not_change() -> None:
    """What was handed out stays as it was."""
    health = Health()
    health.raise_(Code.HOST_BOUND, "x", 1.0)
    snapshot = health.snapshot()
    health.clear(Code.HOST_BOUND)
    assert snapshot.state is State.DEGRADED
    assert len(snapshot.reasons) == 1


def test_groups_and_forgotten_subjects() -> None:
    """A device that works again has no condition left, nor has a camera that was removed."""
    health = Health()
    health.raise_(Code.DEVICE_HUNG, "x", 1.0)
    health.raise_(Code.DEVICE_STARTING, "x", 2.0)
    health.raise_(Code.CAMERA_STALE, "x", 3.0, "a")
    health.raise_(Code.CAMERA_LOST, "x", 3.0, "a")
    assert [t.reason.code for t in health.clear_all(DEVICE_CODES)] == [Code.DEVICE_HUNG, Code.DEVICE_STARTING]
    last = health.forget("a")
    assert [t.after for t in last] == [State.DEGRADED, State.OK]


def test_unknown_code_is_refused() -> None:
    """The list of codes is closed."""
    with pytest.raises(ValueError, match="not a valid Code"):
        Health().raise_("nonsense", "x", 1.0)  # type: ignore[arg-type]
