"""What a fault means and when the next host is started."""

from __future__ import annotations

import random

import pytest

from hailod.device.recovery import CURES, HEALTHY_S, REJECTED_RETRY_S, Fault, Respawn, cure_of


@pytest.mark.parametrize(
    ("status", "fault"),
    [
        (4, Fault.SESSION_LOST),
        (63, Fault.SESSION_LOST),
        (82, Fault.SESSION_LOST),
        (74, Fault.UNAVAILABLE),
        (73, Fault.UNAVAILABLE),
        (64, Fault.UNAVAILABLE),
        (76, Fault.REJECTED),
        (93, Fault.REJECTED),
        (91, Fault.REJECTED),
        (36, Fault.DEVICE_LOST),
        (8, Fault.DEVICE_LOST),
        (97, Fault.DEVICE_LOST),
    ],
)
def test_status_is_classed_by_its_cure(status: int, fault: Fault) -> None:
    """HailoRT's statuses fall into the classes of the design; unknown ones cost a new process."""
    assert cure_of(status).fault is fault


def test_what_people_must_mend_comes_with_the_fix() -> None:
    """Whatever hailod cannot cure by itself tells what to do."""
    for cure in CURES.values():
        assert bool(cure.fix) == (cure.fault in (Fault.UNAVAILABLE, Fault.REJECTED))


def respawn(seed: int = 1) -> Respawn:
    return Respawn(0.5, 30.0, random.Random(seed))


def test_first_respawn_has_no_delay() -> None:
    """Most faults are over with the process that had them."""
    assert respawn().delay(Fault.DEVICE_LOST) == 0.0


def test_missing_device_is_waited_for_from_the_first_time_on() -> None:
    """There is nothing to gain by asking again at once for a device that is not there."""
    assert respawn().delay(Fault.UNAVAILABLE) > 0.0


def test_later_delays_are_jittered_up_to_a_ceiling() -> None:
    """From the second failure on the delay is anywhere below a ceiling that doubles and ends at the maximum."""
    for seed in range(50):
        policy = respawn(seed)
        delays = [policy.delay(Fault.DEVICE_LOST) for _ in range(20)]
        assert all(delay <= min(30.0, 0.5 * 2.0**n) for n, delay in enumerate(delays))
    spread = [policy.delay(Fault.DEVICE_LOST) for policy in [respawn(seed) for seed in range(50)] for _ in (1, 2)]
    assert len(set(spread)) > 40


def test_a_minute_of_health_resets_the_count() -> None:
    """A fault a day is answered at once every day; a fault a second is not."""
    policy = respawn()
    policy.delay(Fault.HUNG)
    policy.delay(Fault.HUNG)
    policy.succeeded(100.0)
    policy.succeeded(100.0 + HEALTHY_S - 1)
    assert policy.failures == 2
    policy.succeeded(100.0 + HEALTHY_S)
    assert policy.failures == 0
    assert policy.delay(Fault.HUNG) == 0.0


def test_rejected_is_not_retried_in_a_loop() -> None:
    """A wrong HEF or version stays wrong; it is looked at again every ten minutes."""
    assert respawn().delay(Fault.REJECTED) == REJECTED_RETRY_S
