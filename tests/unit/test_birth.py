"""Home Assistant's birth: when what is told again."""

from __future__ import annotations

import random

from hailod.control.birth import Birth, Step


def moments(birth: Birth, since: float, until: float) -> list[tuple[float, Step]]:
    """The steps between two times, looked at ten times a second."""
    times = [since + tenth / 10 for tenth in range(round(10 * (until - since)) + 1)]
    return [(now, step) for now in times if (step := birth.due(now)) is not None]


def test_states_follow_discovery_after_a_moment() -> None:
    """A node waits 1 to 5 s, tells what it is, and 1 s later how it stands; each once."""
    for seed in range(20):
        birth = Birth(random.Random(seed))
        birth.heard(100.0)
        (first, one), (second, two) = moments(birth, 100.0, 200.0)
        assert (one, two) == (Step.DISCOVERY, Step.STATES)
        assert 101.0 <= first <= 105.1
        assert 1.0 <= second - first <= 1.2


def test_nodes_do_not_answer_at_once() -> None:
    """Not every node of a house answers in the same moment."""
    births = [Birth(random.Random(seed)) for seed in range(10)]
    for birth in births:
        birth.heard(0.0)
    assert len({moments(birth, 0.0, 10.0)[0][0] for birth in births}) > 5


def test_births_in_a_row_are_one() -> None:
    """Whoever sends births without end is answered no more often than every few seconds."""
    birth = Birth(random.Random(1))
    steps = []
    for tenth in range(100):
        birth.heard(tenth / 10)
        steps.append(birth.due(tenth / 10))
    assert 1 <= steps.count(Step.DISCOVERY) <= 5


def test_without_a_birth_nothing_is_due() -> None:
    """Nothing is told again that nobody asked for."""
    assert moments(Birth(random.Random(1)), 0.0, 100.0) == []
