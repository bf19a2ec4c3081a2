"""The rules of HailoRT's scheduler: whose frames go to the chip next."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from hailod.simulator.chip.scheduler import ScheduledModel, Scheduler


class Desk:
    """A scheduler with a clock of its own, and what it granted."""

    def __init__(self, *models: ScheduledModel, idle_optimisation: bool = True) -> None:
        self.scheduler = Scheduler(idle_optimisation=idle_optimisation)
        self.models = models
        self.now = 0.0
        for model in models:
            self.scheduler.add(model, 0.0)

    def ask(self, *frames: int) -> None:
        for model, count in zip(self.models, frames, strict=True):
            model.requested += count

    def grants(self) -> list[tuple[int, int]]:
        """What goes now: which model, how many frames."""
        found = []
        while (grant := self.scheduler.next(self.now)) is not None:
            found.append((self.models.index(grant.model), grant.frames))
        return found

    def turns(self, count: int) -> list[tuple[int, int]]:
        """What goes when all that was granted is completed `count` times; streamed frames are counted together."""
        found = []
        for _ in range(count):
            granted = self.grants()
            if not granted:
                break
            total = sum(frames for _, frames in granted)
            found.append((granted[0][0], total))
            self.scheduler.completed(total)
        return found


def batched(burst: int = 8, **settings_: float) -> ScheduledModel:
    return ScheduledModel(burst=burst, place=2 * burst, batched=True, **settings_)  # type: ignore[arg-type]


def streaming(burst: int = 1, place: int = 8, **settings_: float) -> ScheduledModel:
    return ScheduledModel(burst=burst, place=place, **settings_)  # type: ignore[arg-type]


def test_models_of_one_priority_take_turns() -> None:
    """Each turn is one burst, whoever asks for more."""
    desk = Desk(batched(4), batched(2), batched(4))
    desk.ask(12, 12, 3)
    assert desk.turns(6) == [(0, 4), (1, 2), (2, 3), (0, 4), (1, 2), (0, 4)]


def test_higher_priority_goes_first() -> None:
    """As long as a model of a higher priority has frames, a lower one has no turn."""
    desk = Desk(batched(4), batched(4, priority=17))
    desk.ask(8, 8)
    assert desk.turns(4) == [(1, 4), (1, 4), (0, 4), (0, 4)]


def test_priority_can_change() -> None:
    """A model counts from now on by its new priority."""
    desk = Desk(batched(4), batched(4))
    desk.ask(8, 8)
    desk.scheduler.set_priority(desk.models[1], 20)
    assert desk.turns(2) == [(1, 4), (1, 4)]


def test_a_batch_on_the_chip_is_not_added_to() -> None:
    """Frames of a model in several contexts wait until the chip is idle."""
    desk = Desk(batched(8))
    desk.ask(3)
    assert desk.grants() == [(0, 3)]
    desk.ask(5)
    assert desk.grants() == []
    desk.scheduler.completed(3)
    assert desk.grants() == [(0, 5)]


def test_a_model_alone_streams_up_to_its_place() -> None:
    """Without a rival frames go as they come, until the chip takes no more."""
    desk = Desk(streaming(place=4))
    desk.ask(6)
    assert sum(frames for _, frames in desk.grants()) == 4
    desk.scheduler.completed(1)
    assert desk.grants() == [(0, 1)]


def test_a_burst_is_finished_before_the_next_model() -> None:
    """A model of automatic batch size sends all that fits before it makes way, one of batch size 1 a single frame."""
    desk = Desk(streaming(burst=8), streaming(burst=8))
    desk.ask(20, 20)
    assert desk.turns(3) == [(0, 8), (1, 8), (0, 8)]
    desk = Desk(streaming(burst=1), streaming(burst=1))
    desk.ask(3, 3)
    assert desk.turns(4) == [(0, 1), (1, 1), (0, 1), (1, 1)]


def test_a_lower_priority_does_not_interrupt_a_stream() -> None:
    """Only models of at least its priority end a model's stream."""
    desk = Desk(streaming(burst=1, priority=17), streaming(burst=1))
    desk.ask(20, 20)
    assert desk.turns(2) == [(0, 8), (0, 8)]


def test_a_threshold_needs_a_timeout_to_matter() -> None:
    """The time-out is 0 unless set, so any frame of any age makes ready, as in HailoRT."""
    assert ScheduledModel(burst=8, place=16, threshold=4, requested=1).ready(0.0)
    model = ScheduledModel(burst=8, place=16, threshold=4, timeout=0.1, requested=1)
    assert not model.ready(0.05)
    assert model.ready(0.1)
    model.requested = 4
    assert model.ready(0.0)


def test_a_model_below_its_threshold_lets_others_go_first() -> None:
    """Ready models go before it; once nobody is ready the idle chip takes what it has all the same."""
    desk = Desk(batched(8, threshold=8, timeout=1.0), batched(8))
    desk.ask(2, 16)
    assert desk.turns(3) == [(1, 8), (1, 8), (0, 2)]


def test_the_timeout_counts_from_the_last_turn() -> None:
    """With rivals, a few frames go at the latest when the time-out has passed since the model's last turn."""
    desk = Desk(batched(8, threshold=8, timeout=1.0), batched(8))
    desk.ask(2, 100)
    order = []
    for _ in range(6):
        order += desk.turns(1)
        desk.now += 0.25
    assert order == [(1, 8), (1, 8), (1, 8), (1, 8), (0, 2), (1, 8)]


def test_a_removed_model_leaves_an_idle_chip() -> None:
    """What it had on the chip blocks nobody."""
    desk = Desk(batched(8), batched(8))
    desk.ask(8, 8)
    assert desk.grants() == [(0, 8)]
    desk.scheduler.remove(desk.models[0])
    assert desk.scheduler.idle
    assert desk.grants() == [(1, 8)]


MODELS = st.builds(
    lambda burst, extra, in_batches, priority, threshold, timeout: ScheduledModel(
        burst=burst, place=burst + extra, batched=in_batches, priority=priority, threshold=threshold, timeout=timeout
    ),
    st.integers(1, 8),
    st.integers(0, 8),
    st.booleans(),
    st.sampled_from([0, 16, 31]),
    st.integers(0, 8),
    st.sampled_from([0.0, 3.0, float("inf")]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(MODELS, min_size=1, max_size=5), st.data())
def test_work_is_conserved(models: list[ScheduledModel], data: st.DataObject) -> None:
    """Whenever the chip is idle and anybody has frames, some go; never more than asked for, or than fit the chip."""
    desk = Desk(*models)
    asked, sent = 0, 0
    ongoing: list[tuple[int, int]] = []
    for _ in range(12):
        frames = [data.draw(st.integers(0, 4)) for _ in models]
        asked += sum(frames)
        desk.ask(*frames)
        granted = desk.grants()
        ongoing += granted
        sent += sum(count for _, count in granted)
        assert len({index for index, _ in ongoing}) <= 1, "two models on the chip at once"
        if ongoing:
            assert sum(count for _, count in ongoing) <= models[ongoing[0][0]].place
        else:
            assert not any(model.requested for model in models)
        assert asked == sent + sum(model.requested for model in models)
        if ongoing:
            desk.scheduler.completed(ongoing.pop(0)[1])
        desk.now += 1.0
    ongoing += desk.grants()
    while ongoing:
        desk.scheduler.completed(ongoing.pop(0)[1])
        ongoing += desk.grants()
    assert not any(model.requested for model in models)


@settings(max_examples=60, deadline=None)
@given(st.lists(MODELS, min_size=2, max_size=5), st.data())
def test_nobody_starves_within_a_priority(models: list[ScheduledModel], data: st.DataObject) -> None:
    """A model that stays ready has its turn after at most one turn of every other one of its priority."""
    for model in models:
        model.priority, model.threshold = 16, 0
    desk = Desk(*models)
    since = dict.fromkeys(range(len(models)), 0)
    for _ in range(20):
        for index, model in enumerate(models):
            if index == 0 or data.draw(st.booleans()):
                model.requested = max(model.requested, model.place)
        desk.now += 1.0
        ((granted, _),) = desk.turns(1)
        # Frames that complete a burst which had to wait for them belong to the turn before.
        begun = models[granted].turn_began == desk.now
        for index, model in enumerate(models):
            since[index] = 0 if granted == index or not model.requested else since[index] + begun
        assert max(since.values()) <= len(models) - 1


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 5)), min_size=1, max_size=30))
def test_the_same_requests_give_the_same_grants(requests: list[tuple[int, int]]) -> None:
    """Nothing but what was asked for, and when, decides."""

    def run() -> list[tuple[int, int]]:
        desk = Desk(streaming(2), batched(4), streaming(3, priority=20))
        found: list[tuple[int, int]] = []
        for index, frames in requests:
            desk.models[index].requested += frames
            found += desk.turns(1)
        return found

    assert run() == run()
