"""The loan of the device: its states, its end, and how its time is told."""

from __future__ import annotations

from datetime import datetime

import pytest

from hailod.control.lease import Lease, Loan, Return, clock_time


@pytest.fixture
def lent() -> Lease:
    lease = Lease()
    lease.grant(100.0, 600.0)
    assert lease.handed_over(101.0)
    return lease


def test_device_is_ours_at_first() -> None:
    """Without a loan nothing is due, and nothing comes back."""
    lease = Lease()
    assert (lease.state, lease.lent, lease.due(1e9), lease.remaining(0.0)) == (Loan.OURS, False, False, 0.0)
    assert not lease.take_back("cmd")
    assert not lease.handed_over(1.0)
    assert lease.regained(1.0) is None


def test_time_counts_from_the_command(lent: Lease) -> None:
    """A loan is over so many seconds after it was asked for, not after the device was handed over."""
    assert not lent.due(699.9)
    assert lent.due(700.0)
    assert lent.remaining(640.0) == 60.0


@pytest.mark.parametrize("by", ["cmd", "time"])
def test_return_is_told_once_the_device_is_open(lent: Lease, by: str) -> None:
    """The loan ends when the device is open again, which another program may delay; its length says so."""
    assert lent.take_back(by)
    assert (lent.state, lent.lent, lent.due(1e9)) == (Loan.RETURNING, False, False)
    assert not lent.take_back("cmd")
    assert lent.regained(801.0) == Return(700.0, by)
    assert lent.regained(802.0) is None


def test_second_grant_replaces_the_time(lent: Lease) -> None:
    """Whoever needs longer asks again, and whoever needs less, too."""
    lent.grant(200.0, 10.0)
    assert (lent.state, lent.for_s) == (Loan.LENT, 10.0)
    assert lent.due(210.0)
    lent.take_back("time")
    assert lent.regained(211.0) == Return(110.0, "time")


def test_loan_begins_before_it_ends() -> None:
    """A device that takes longer to be handed over than it is lent for is handed over and then taken back."""
    lease = Lease()
    lease.grant(100.0, 1.0)
    assert not lease.due(105.0)
    assert lease.handed_over(105.0)
    assert lease.due(105.0)


def test_loan_that_never_began_leaves_no_trace() -> None:
    """What was taken back before it was handed over was never away."""
    lease = Lease()
    lease.grant(100.0, 600.0)
    assert lease.take_back("cmd")
    assert lease.state is Loan.OURS
    assert not lease.handed_over(101.0)
    assert lease.regained(102.0) is None


def test_grant_while_it_comes_back_is_a_new_loan(lent: Lease) -> None:
    """Lending once more before the device is back begins anew."""
    lent.take_back("cmd")
    lent.grant(300.0, 60.0)
    assert lent.state is Loan.LENDING
    assert lent.handed_over(301.0)
    assert lent.due(360.0)


@pytest.mark.parametrize(
    ("hours", "shown"), [(0.5, "22:30"), (3, "01:00"), (20, "2026-11-22 18:00"), (-48, "2026-11-19 22:00")]
)
def test_clock_time_names_the_day_when_it_must(hours: float, shown: str) -> None:
    """A time of the coming hours is told as a clock shows it, a later one with its day."""
    now = datetime(2026, 11, 21, 22, 0).timestamp()  # noqa: DTZ001 -- local, as people read it
    assert clock_time(now + hours * 3600, now) == shown
