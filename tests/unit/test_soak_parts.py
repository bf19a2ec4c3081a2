"""What a soak is made of: its plan of faults, and how it tells growth from noise."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from hailod.simulator import load_faults
from tests.benchmarks.soaklib.faults import IN_A_SCRIPT, SHARES, SIGNALS, Fault, Plan
from tests.benchmarks.soaklib.growth import judge, theil_sen, verdict
from tests.benchmarks.soaklib.sample import Sample

FRAMES = 100_000


def played(plan: Plan) -> list[Fault]:
    """All faults of a plan, brought about in their order."""
    done = [*plan.due(FRAMES), *plan.scripted]
    for fault in done:
        plan.done(fault)
    return done


def test_a_plan_is_what_its_seed_says() -> None:
    """The same seed gives the same faults at the same moments, another one others."""
    first, again, other = (played(Plan(50, FRAMES, random.Random(seed))) for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_a_plan_has_its_share_of_every_kind() -> None:
    """Of a hundred faults each kind has its share, and all come while there is load and time to get over them."""
    plan = Plan(100, FRAMES, random.Random(1))
    faults = played(plan)
    assert Counter(fault.kind for fault in faults) == SHARES
    assert all(FRAMES // 50 <= fault.at < FRAMES * 9 // 10 for fault in faults)
    assert plan.injected == 100
    assert plan.told() == dict(SHARES)


@pytest.mark.parametrize("count", [0, 1, 8, 500])
def test_a_plan_of_any_size(count: int) -> None:
    """However many are wanted, so many there are, signals only when their frame has come."""
    plan = Plan(count, FRAMES, random.Random(3))
    assert list(plan.due(0)) == []
    assert len(played(plan)) == count


def test_what_is_scripted_can_be_read_by_the_simulator(tmp_path: Path) -> None:
    """A script full of faults of every kind is one that the simulated device takes."""
    faults = Plan(200, FRAMES, random.Random(1)).scripted[:IN_A_SCRIPT]
    assert len(faults) == IN_A_SCRIPT
    path = tmp_path / "faults.toml"
    path.write_text("".join(fault.rule(number + 1) for number, fault in enumerate(faults)))
    loaded = load_faults(path)
    assert [rule.job for rule in loaded.fault] == list(range(1, IN_A_SCRIPT + 1))  # type: ignore[union-attr]
    assert {rule.kind for rule in loaded.fault} == SHARES.keys() - SIGNALS.keys()


def test_noise_is_no_growth() -> None:
    """A figure that goes up and down around the same value does not grow."""
    noise = random.Random(1)
    flat = verdict("rss_mb", [(float(at), 80 + noise.uniform(-1.5, 1.5)) for at in range(60)], 4.0)
    assert not flat.grew
    assert "zero" in str(flat)


def test_a_leak_is_growth() -> None:
    """A figure that rises by more than it may is found, through the same noise."""
    noise = random.Random(1)
    rising = verdict("rss_mb", [(float(at), 80 + at / 6 + noise.uniform(-1.5, 1.5)) for at in range(60)], 4.0)
    assert rising.grew
    assert rising.per_hour == pytest.approx(600, rel=0.1)
    assert "not zero" in str(rising)


def test_one_thread_too_many_is_growth() -> None:
    """Of what is counted exactly not a single one may stay behind."""
    points = [(float(at), 8.0 if at < 40 else 9.0) for at in range(60)]
    assert verdict("threads", points, 0.0).grew


def test_outliers_do_not_make_a_slope() -> None:
    """A few wild samples leave the slope where it is."""
    points = [(float(at), 5.0 if at % 10 else 500.0) for at in range(60)]
    assert theil_sen(points) == 0.0
    assert theil_sen([(0.0, 1.0)]) == 0.0


def test_every_figure_is_judged() -> None:
    """Nothing that is counted goes without a verdict, and a slot that does not come home is found."""
    samples = [Sample(float(at), 80, 50, 40, 8, 17, 1, 2, 65 - (at > 30), 65, 0) for at in range(60)]
    verdicts = {found.name: found.grew for found in judge(samples)}
    judged_as = {"at", "free_slots", "slots"}
    assert verdicts.keys() == (samples[0].document().keys() - judged_as) | {"missing_slots"}
    assert [name for name, grew in verdicts.items() if grew] == ["missing_slots"]
