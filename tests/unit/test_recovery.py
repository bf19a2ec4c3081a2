"""The ladder: what follows from what, when the next host is started, and whose fault it is."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hailod.device.recovery import HAS_HOST, LADDER, RUNGS, Action, ModelFaults, Respawn, Rung, State, Trigger
from hailod.device.statuses import Fault

TRIGGERS = [trigger for trigger in Trigger if trigger is not Trigger.CLOSE]


def walk(state: State, *triggers: Trigger) -> tuple[State, list[Action]]:
    """Where triggers lead, and what is done on the way."""
    done: list[Action] = []
    for trigger in triggers:
        step = LADDER.get((state, trigger))
        if step is not None:
            state = step.state
            done += step.actions
    return state, done


def test_a_fault_ends_the_host_and_its_end_brings_the_next() -> None:
    """Kill, wait for the kernel to say that it is gone, wait out the back-off, start: in this order and no other."""
    state, done = walk(State.UP, Trigger.LOST, Trigger.REAPED, Trigger.DUE, Trigger.OPENED)
    assert state is State.UP
    assert done == [Action.KILL, Action.SCHEDULE, Action.SPAWN]


def test_what_cannot_be_cured_by_trying_is_held() -> None:
    """A rejected device is not started on a timer of seconds; a change of what is installed starts it at once."""
    state, done = walk(State.STARTING, Trigger.LOST, Trigger.REAPED_REJECTED)
    assert (state, done[-1]) == (State.HELD, Action.HOLD)
    assert walk(state, Trigger.CHANGED) == (State.STARTING, [Action.SPAWN])


def test_a_chip_that_is_too_hot_keeps_its_host() -> None:
    """The process is well: only the models rest until it has cooled."""
    assert walk(State.UP, Trigger.TOO_HOT, Trigger.COOLED) == (State.UP, [Action.REST, Action.RESUME])


def test_a_host_that_does_not_die_has_no_successor() -> None:
    """Nothing but its end leads out of `stuck`, whatever is asked for."""
    state, _ = walk(State.UP, Trigger.LOST, Trigger.OVERDUE)
    assert state is State.STUCK
    for trigger in set(TRIGGERS) - {Trigger.REAPED, Trigger.REAPED_REJECTED, Trigger.REAPED_RELEASED}:
        assert walk(state, trigger) == (State.STUCK, [])
    assert walk(state, Trigger.REAPED, Trigger.DUE) == (State.STARTING, [Action.SCHEDULE, Action.SPAWN])


def test_a_device_that_is_lent_comes_back_only_when_asked_for() -> None:
    """No timer, restart or change starts a host beside the program that has the device."""
    state, done = walk(State.UP, Trigger.RELEASE, Trigger.REAPED_RELEASED)
    assert (state, done) == (State.RELEASED, [Action.KILL, Action.SAY_RELEASED])
    for trigger in set(TRIGGERS) - {Trigger.ACQUIRE}:
        assert walk(state, trigger) == (State.RELEASED, [])
    assert walk(state, Trigger.ACQUIRE) == (State.STARTING, [Action.SPAWN])


@given(st.lists(st.sampled_from(TRIGGERS), max_size=40))
def test_there_is_never_more_than_one_host(triggers: list[Trigger]) -> None:
    """Whatever happens in whatever order: no host is started while another may live, and none is killed twice."""
    state, alive = State.OFF, 0
    for trigger in triggers:
        reaps = trigger in (Trigger.REAPED, Trigger.REAPED_REJECTED, Trigger.REAPED_RELEASED)
        if reaps and (not alive or state in (State.UP, State.COOLING)):
            # Whoever serves and is gone was lost first.
            continue
        before = state
        step = LADDER.get((state, trigger))
        if reaps:
            alive -= 1
        if step is None:
            assert not reaps or before not in HAS_HOST | {State.DYING, State.STUCK}
            continue
        state = step.state
        if Action.SPAWN in step.actions:
            assert alive == 0
            alive += 1
        assert Action.KILL not in step.actions or before in HAS_HOST
        assert alive == (state in HAS_HOST | {State.DYING, State.STUCK})


@pytest.mark.parametrize("state", [state for state in State if state is not State.OFF])
def test_every_state_leads_back_to_service(state: State) -> None:
    """There is a way up from everywhere, through what the device, the clock and people may do."""
    reached, frontier = {state}, [state]
    while frontier:
        for trigger in TRIGGERS:
            step = LADDER.get((frontier[-1], trigger))
            if step is not None and step.state not in reached:
                reached.add(step.state)
                frontier.insert(0, step.state)
        frontier.pop()
    assert State.UP in reached


@pytest.mark.parametrize("state", State)
def test_everything_ends(state: State) -> None:
    """The link can be closed in every state."""
    assert walk(state, Trigger.CLOSE) == (State.OFF, [])


def test_every_class_of_fault_has_its_rung() -> None:
    """No fault comes in below or beside the ladder."""
    assert set(RUNGS) == set(Fault)


# -- back-off --------------------------------------------------------------------------------------------------------


def respawn(seed: int = 1) -> Respawn:
    return Respawn(0.5, 30.0, 60.0, random.Random(seed))


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
    policy.succeeded(159.0)
    assert policy.failures == 2
    policy.succeeded(160.0)
    assert policy.failures == 0
    assert policy.delay(Fault.HUNG) == 0.0


# -- models ----------------------------------------------------------------------------------------------------------


def lost(faults: ModelFaults, now: float = 0.0, *, settled: bool = False, others: Sequence[float | None] = ()) -> Rung:
    return faults.lost("m", now, settled=settled, others=others, losses_to_quarantine=3)


def test_a_model_alone_climbs_from_session_to_host() -> None:
    """A first loss costs the session; one right after it is not cured by another session."""
    faults = ModelFaults()
    assert [lost(faults, now) for now in range(4)] == [Rung.SESSION, Rung.HOST, Rung.HOST, Rung.HOST]


def test_a_model_among_well_ones_never_costs_them_the_host() -> None:
    """While another one delivers through all of it the fault is the model's, and it goes into quarantine."""
    faults = ModelFaults()
    assert [lost(faults, now, others=[0.5]) for now in (1.0, 2.0, 3.0)] == [Rung.SESSION, Rung.SESSION, Rung.QUARANTINE]


def test_a_model_that_fails_before_the_others_have_delivered_does_not_cost_them_the_host_at_once() -> None:
    """At a start nothing is proven yet: the model has its sessions, and by then the others show what they are."""
    faults = ModelFaults()
    others: list[list[float | None]] = [[None], [1.5], [1.5]]
    rungs = [lost(faults, now, others=them) for now, them in zip((1.0, 2.0, 3.0), others, strict=True)]
    assert rungs == [Rung.SESSION, Rung.SESSION, Rung.QUARANTINE]


def test_a_fault_of_the_device_blames_no_model() -> None:
    """Where the others are lost each time too, and only come back in between, it is the device: a new process."""
    faults = ModelFaults()
    rungs = [lost(faults, now, others=[now - 0.5]) for now in (1.0, 2.0, 3.0)]
    assert rungs == [Rung.SESSION, Rung.SESSION, Rung.HOST]
    faults = ModelFaults()
    assert [lost(faults, now) for now in (1.0, 2.0)] == [Rung.SESSION, Rung.HOST]


def test_a_model_that_had_settled_begins_anew() -> None:
    """A loss an hour is a first loss every time."""
    faults = ModelFaults()
    assert [lost(faults, 3600.0 * n, settled=True) for n in range(5)] == [Rung.SESSION] * 5


def test_a_model_that_was_forgotten_begins_anew() -> None:
    """Asked for again, it has its first chance again."""
    faults = ModelFaults()
    lost(faults)
    faults.forget("m")
    assert lost(faults) is Rung.SESSION
