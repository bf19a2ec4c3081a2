"""From device to result: only what was decoded becomes a result, and everything else is counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import pytest

from hailod.clock import FakeClock
from hailod.device.flight import Batch, Drained, Flight, FlightEvent, SessionFailed
from hailod.device.statuses import Stage
from hailod.errors import (
    DeviceHung,
    DeviceLost,
    InferenceError,
    InferenceSubmitError,
    InferenceTimeoutError,
    InferenceWaitError,
)
from hailod.geometry import View, place
from hailod.mailbox import Mailboxes, Outcome
from hailod.pipeline.results import ModelTrouble, Result, Results
from hailod.pipeline.service import CameraRules, Lane, Service
from tests.support.device import frame, session
from tests.support.lanes import RULES, garble, lane, see, service
from tests.support.spawner import FakeHost
from tests.support.waiting import wait_for

PLACED = place((64, 32), View(), (32, 16), "letterbox", "center", grid=1)
PERSON = (0, 0.9, (0.25, 0.5, 0.5, 0.75))
CAR = (1, 0.6, (0.0, 0.0, 1.0, 1.0))


class Rig:
    """A results thread between a host that a test plays and real mailboxes."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.mailboxes = Mailboxes(self.clock, depth=100)
        self.flight = Flight(self.clock)
        self.host = FakeHost(1)
        self.flight.attach(self.host.started.jobs, 1)
        self.host.started.control.close()
        self.flight.accept(True)
        self.seen: list[Result] = []
        self.troubles: list[ModelTrouble] = []
        self.told: list[FlightEvent] = []
        self.lost: list[InferenceError] = []
        self.rooms = 0
        self.results = Results(
            self.flight,
            self.mailboxes,
            self.clock,
            on_result=self.seen.append,
            on_trouble=self.troubles.append,
            on_flight=self.told.append,
            on_lost=self.lost.append,
            on_room=self._room,
        )
        self.lane = lane(of=session(batch_size=4))
        self.mailboxes.route("front", ["two"])
        self.results.apply(service(self.lane))
        self.results.start()

    def _room(self) -> None:
        self.rooms += 1

    def sent(self, frames: int = 1, *, lane: Lane | None = None) -> Batch:
        """A batch on the device."""
        of = (lane or self.lane).session
        for number in range(frames):
            self.mailboxes.offer(frame(number=number, captured=self.clock.monotonic()))
        items = self.mailboxes.take("two", frames, per_camera=frames, max_age=1.0)
        slots = of.pool.take(frames)
        assert slots is not None
        batch = Batch(of, items, slots, [PLACED] * frames, taken=self.clock.monotonic())
        assert self.flight.submit(batch) is None
        return batch

    def taken(self) -> Batch:
        """A batch of the one frame that waits, on the device."""
        of = self.lane.session
        items = self.mailboxes.take("two", 1, per_camera=1, max_age=1.0)
        slots = of.pool.take(1)
        assert slots is not None
        batch = Batch(of, items, slots, [PLACED], taken=self.clock.monotonic())
        assert self.flight.submit(batch) is None
        return batch

    def ended(self, frames: int) -> dict[str, int]:
        """How frames ended, once so many have."""

        def ended() -> Mapping[str, int]:
            return self.mailboxes.snapshot().pairs["front", "two"].ended

        wait_for(lambda: sum(ended().values()) >= frames, what=f"{frames} frames ended")
        return dict(ended())

    def run(self, *found: tuple[int, float, tuple[float, float, float, float]]) -> Result:
        """One frame in which the device sees these."""
        batch, before = self.sent(), len(self.seen)
        see(batch.session, batch.slots[0], *found)
        self.host.complete(batch.job)
        wait_for(lambda: len(self.seen) > before, what="a result comes")
        return self.seen[-1]

    def garbled(self) -> None:
        """One frame whose outputs make no sense."""
        batch, before = self.sent(), len(self.troubles)
        garble(batch.session, batch.slots[0])
        self.host.complete(batch.job)
        wait_for(lambda: len(self.troubles) > before, what="trouble is told")

    def close(self) -> None:
        self.flight.close()
        self.results.abandon(self.flight.abandon(DeviceLost("over")))
        self.mailboxes.close()
        self.host.close()
        assert self.results.stop(5.0)
        assert self.results.worker.failure is None
        assert self.mailboxes.snapshot().balanced
        # What is in service, and what was seen with it, holds slots.
        self.results.apply(Service())
        self.seen.clear()
        self.troubles.clear()
        self.told.clear()
        del self.lane


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.close()


def test_boxes_come_back_in_the_frame(rig: Rig) -> None:
    """What the model saw is told in fractions of the frame as it was decoded, with who, what and how sure."""
    result = rig.run(CAR, PERSON)
    assert result.frame.camera == "front"
    assert result.lane is rig.lane
    assert result.detections.classes.tolist() == [0, 1]
    assert np.allclose(result.detections.scores, [0.9, 0.6])
    assert np.allclose(result.detections.boxes, [PERSON[2], CAR[2]])


def test_empty_scene_is_a_result(rig: Rig) -> None:
    """A frame in which the model saw nothing is done, and has a result without detections."""
    assert len(rig.run().detections) == 0
    assert rig.ended(1) == {"done": 1}


def test_each_frame_of_a_batch_has_its_own(rig: Rig) -> None:
    """The frames of a batch come back in order, each with what was in its slot; slots and room come back with them."""
    free = rig.lane.session.pool.free
    batch = rig.sent(3)
    see(batch.session, batch.slots[0], PERSON)
    see(batch.session, batch.slots[1])
    see(batch.session, batch.slots[2], CAR, PERSON)
    rig.host.complete(batch.job)
    assert rig.ended(3) == {"done": 3}
    wait_for(lambda: len(rig.seen) == 3, what="three results come")
    assert [len(result.detections) for result in rig.seen] == [1, 0, 2]
    assert [result.frame.number for result in rig.seen] == [0, 1, 2]
    wait_for(lambda: rig.rooms > 0, what="the dispatcher is told")
    assert rig.lane.session.pool.free == free


def test_failed_batch_has_no_result_and_is_sent_again(rig: Rig) -> None:
    """Frames of a batch that the device failed wait again, in front; there is no result, and its slots are not used."""
    free = rig.lane.session.pool.free
    batch = rig.sent(2)
    see(batch.session, batch.slots[0], PERSON)
    rig.host.complete(batch.job, 63)
    wait_for(lambda: rig.mailboxes.pending("two") == 2, what="both frames wait again")
    again = rig.mailboxes.take("two", 2, per_camera=2, max_age=1.0)
    assert [(item.frame.number, item.tries) for item in again] == [(0, 1), (1, 1)]
    assert rig.seen == []
    assert rig.troubles == []
    assert rig.lane.session.pool.free == free - 2
    rig.mailboxes.finish(again, Outcome.DONE)


def test_frame_that_fails_again_has_failed(rig: Rig) -> None:
    """A frame has one more chance, not two; what becomes of it is told with camera, number, advice and status."""
    batch = rig.sent()
    rig.host.complete(batch.job, 63)
    wait_for(lambda: rig.mailboxes.pending("two") == 1, what="the frame waits again")
    rig.lane = lane(of=session(key=2, batch_size=4))
    rig.results.apply(service(rig.lane))
    rig.host.complete(rig.taken().job, 4)
    assert rig.ended(1) == {"failed": 1}
    (error,) = rig.lost
    assert isinstance(error, InferenceWaitError)
    assert (error.source, error.frame, error.status) == ("front", 0, 4)
    assert "front, frame 0: HailoRT status 4 (TIMEOUT); try the frame once more" in str(error)
    assert rig.results.lost == {"InferenceWaitError": 1}


def test_stale_frame_is_not_sent_again(rig: Rig) -> None:
    """A frame that is older than a frame may be has failed with its batch."""
    batch = rig.sent()
    rig.clock.advance(2.0)
    rig.host.complete(batch.job, 82, refused=True)
    assert rig.ended(1) == {"failed": 1}
    assert isinstance(rig.lost[0], InferenceSubmitError)


def test_first_failure_of_a_session_is_told_once(rig: Rig) -> None:
    """The control thread hears of a dead session once, with status and stage, and when the last of it is home."""
    batches = [rig.sent(), rig.sent()]
    for batch in batches:
        rig.host.complete(batch.job, 63)
    wait_for(lambda: len(rig.told) == 2, what="both are told")
    failed, drained = rig.told
    assert isinstance(failed, SessionFailed)
    assert (failed.session, failed.status, failed.stage) == (rig.lane.session, 63, Stage.COMPLETION)
    assert isinstance(drained, Drained)


def test_batches_of_a_host_that_was_given_up(rig: Rig) -> None:
    """What was in flight there is sent again; what had its chance has failed, by a time-out if the host hung."""
    first = rig.sent()
    rig.results.fail(rig.flight.abandon(DeviceLost("gone")))
    rig.flight.accept(True)
    rig.host.complete(first.job)
    second = rig.taken()
    rig.results.fail(rig.flight.abandon(DeviceHung("no heartbeat")))
    rig.flight.accept(True)
    rig.host.complete(second.job)
    assert rig.ended(1) == {"failed": 1}
    assert isinstance(rig.lost[0], InferenceTimeoutError)
    third = rig.sent()
    rig.results.abandon(rig.flight.abandon(DeviceLost("over")))
    rig.host.complete(third.job)
    assert rig.ended(2) == {"failed": 1, "abandoned": 1}
    assert rig.seen == []


def test_result_that_came_home_too_late_is_no_news(rig: Rig) -> None:
    """A frame whose device had all but hung is expired and not told, however good its result."""
    rig.run(PERSON)
    batch = rig.sent()
    see(batch.session, batch.slots[0], PERSON)
    # A full window of 8 frames at the second each that the first one took is in order; more is not.
    rig.clock.advance(9.5)
    rig.host.complete(batch.job)
    assert rig.ended(2) == {"done": 1, "expired": 1}
    assert len(rig.seen) == 1


@pytest.mark.parametrize(
    ("rules", "classes"),
    [
        (RULES, [0, 1]),
        (replace(RULES, threshold=0.7), [0]),
        (replace(RULES, labels=frozenset({"car"})), [1]),
        (replace(RULES, labels=frozenset({"cat"})), []),
        (replace(RULES, labels=frozenset()), []),
    ],
)
def test_only_what_the_camera_asks_for_is_told(rig: Rig, rules: CameraRules, classes: list[int]) -> None:
    """Threshold and labels of the camera apply from the next result on; the frame is done in any case."""
    rig.results.apply(service(rig.lane, rules=rules))
    detections = rig.run(PERSON, CAR).detections
    assert detections.classes.tolist() == classes
    assert len(detections.boxes) == len(detections.scores) == len(classes)
    assert rig.ended(1) == {"done": 1}


def test_result_of_a_camera_without_rules_is_not_told(rig: Rig) -> None:
    """A camera that was removed while its frame was on the device has no result any more."""
    batch = rig.sent()
    see(batch.session, batch.slots[0], PERSON)
    rig.results.apply(service(rig.lane, cameras=()))
    rig.host.complete(batch.job)
    rig.ended(1)
    assert rig.seen == []


@pytest.mark.parametrize("successor", [False, True])
def test_result_of_a_model_out_of_service_is_not_told(rig: Rig, successor: bool) -> None:
    """Outputs of a session that is not in service any more, replaced or not, are not decoded."""
    batch = rig.sent()
    garble(batch.session, batch.slots[0])
    rig.results.apply(service(*([lane()] if successor else [])))
    rig.host.complete(batch.job)
    assert rig.ended(1) == {"abandoned": 1}
    assert rig.seen == []
    assert rig.troubles == []


def test_outputs_that_cannot_be_are_no_empty_scene(rig: Rig) -> None:
    """Outputs that the decoder cannot believe make a failed frame and trouble that is told, never an empty scene."""
    free = rig.lane.session.pool.free
    rig.garbled()
    assert rig.ended(1) == {"failed": 1}
    assert rig.seen == []
    (trouble,) = rig.troubles
    assert (trouble.model, trouble.in_a_row) == ("two", 1)
    assert "boxes" in str(trouble.error)
    assert rig.lane.session.pool.free == free


def test_trouble_is_counted_in_a_row(rig: Rig) -> None:
    """Trouble is told each time with how often it came in a row; one good frame ends the row."""
    for _ in range(3):
        rig.garbled()
    rig.run(PERSON)
    for _ in range(10):
        rig.garbled()
    assert [trouble.in_a_row for trouble in rig.troubles] == [1, 2, 3, *range(1, 10 + 1)]


def test_new_session_starts_a_new_row(rig: Rig) -> None:
    """A model that comes into service anew is not blamed for what was before, so that it can be given up again."""
    for _ in range(3):
        rig.garbled()
    rig.lane = lane(of=session(key=2, batch_size=4))
    rig.results.apply(service(rig.lane))
    rig.garbled()
    assert [trouble.in_a_row for trouble in rig.troubles] == [1, 2, 3, 1]


def test_pace_is_measured_of_good_and_bad_outputs(rig: Rig) -> None:
    """The time that the device took is learnt from every batch that it completed."""
    rig.run(PERSON)
    assert rig.lane.pace.per_frame == 1.0


def test_timing_is_told_part_by_part(rig: Rig) -> None:
    """The parts of a frame's time make up the whole."""
    timing = rig.run().timing
    assert timing.device == 1.0
    assert timing.waiting + timing.host + timing.device == pytest.approx(timing.total)
