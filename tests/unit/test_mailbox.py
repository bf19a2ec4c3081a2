"""Mailboxes: newest wins, everything is counted, and the books balance at every instant."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from hailod.clock import FakeClock
from hailod.mailbox import Item, Mailboxes, Outcome, Skip
from hailod.types import Frame, Picture, PixelFormat

PICTURE = Picture(PixelFormat.GRAY, 2, 2, (np.zeros((2, 2), np.uint8),))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def boxes(clock: FakeClock) -> Mailboxes:
    return Mailboxes(clock)


def frame(clock: FakeClock, camera: str, number: int) -> Frame:
    return Frame(camera, number, clock.monotonic(), clock.wall(), PICTURE)


def take(boxes: Mailboxes, limit: int = 8, *, per_camera: int = 1, max_age: float = 1.0) -> list[tuple[str, int]]:
    items = boxes.take("m", limit, per_camera=per_camera, max_age=max_age)
    return [(item.frame.camera, item.frame.number) for item in items]


def test_newest_frame_displaces_the_one_that_waits(boxes: Mailboxes, clock: FakeClock) -> None:
    """A camera's box holds its newest frame; the displaced one is counted as superseded."""
    boxes.route("front", ["m"])
    for number in (1, 2, 3):
        boxes.offer(frame(clock, "front", number))
    assert take(boxes) == [("front", 3)]
    assert boxes.snapshot().pairs["front", "m"].ended == {Outcome.SUPERSEDED: 2}


def test_cameras_take_turns(boxes: Mailboxes, clock: FakeClock) -> None:
    """With less room than cameras, each camera is served before any is served again."""
    cameras = ["a", "b", "c"]
    served = []
    for camera in cameras:
        boxes.route(camera, ["m"])
    for number in range(6):
        for camera in cameras:
            boxes.offer(frame(clock, camera, number))
        served += [camera for camera, _ in take(boxes, 1)]
    assert sorted(served[:3]) == cameras
    assert sorted(served[3:]) == cameras


def test_old_frames_expire_instead_of_being_sent(boxes: Mailboxes, clock: FakeClock) -> None:
    """A live frame older than max_frame_age is never handed out, and is counted as expired."""
    boxes.route("front", ["m"])
    boxes.offer(frame(clock, "front", 1))
    clock.advance(1.5)
    assert take(boxes, max_age=1.0) == []
    assert boxes.snapshot().pairs["front", "m"].ended == {Outcome.EXPIRED: 1}


def test_rerouting_abandons_what_waits_for_the_old_model(boxes: Mailboxes, clock: FakeClock) -> None:
    """After a model swap nothing that waited for the old model is run on either."""
    boxes.route("front", ["m"])
    boxes.offer(frame(clock, "front", 1))
    boxes.route("front", ["other"])
    assert take(boxes) == []
    snapshot = boxes.snapshot()
    assert snapshot.pairs["front", "m"].ended == {Outcome.ABANDONED: 1}
    assert snapshot.balanced


def test_a_frame_of_a_camera_without_model_is_skipped(boxes: Mailboxes, clock: FakeClock) -> None:
    """A camera that runs no model costs nothing downstream and still shows in the books."""
    boxes.route("front", [])
    boxes.offer(frame(clock, "front", 1))
    boxes.skip("front", Skip.PACED, 4)
    counts = boxes.snapshot().cameras["front"]
    assert (counts.captured, counts.offered) == (5, 0)
    assert counts.skipped == {Skip.NO_MODEL: 1, Skip.PACED: 4}


def test_one_frame_goes_to_every_model_of_its_camera(boxes: Mailboxes, clock: FakeClock) -> None:
    """Two models on one camera get the same frame and are counted apart."""
    boxes.route("front", ["m", "n"])
    boxes.offer(frame(clock, "front", 1))
    boxes.finish(boxes.take("m", 1, per_camera=1, max_age=1.0), Outcome.DONE)
    snapshot = boxes.snapshot()
    assert snapshot.pairs["front", "m"].ended == {Outcome.DONE: 1}
    assert snapshot.pairs["front", "n"].in_flight == 1
    assert snapshot.balanced


def test_finishing_twice_is_an_error(boxes: Mailboxes, clock: FakeClock) -> None:
    """Each item ends exactly once; a second end is a bug that shows itself."""
    boxes.route("front", ["m"])
    boxes.offer(frame(clock, "front", 1))
    items = boxes.take("m", 1, per_camera=1, max_age=1.0)
    boxes.finish(items, Outcome.DONE)
    with pytest.raises(AssertionError, match="twice"):
        boxes.finish(items, Outcome.DONE)


def test_lossless_offer_waits_for_room(clock: FakeClock) -> None:
    """Offline work loses no frame: offer blocks until one was taken."""
    boxes = Mailboxes(clock, depth=1, lossless=True)
    boxes.route("video", ["m"])
    boxes.offer(frame(clock, "video", 1))
    offered = threading.Event()

    def offer_second() -> None:
        boxes.offer(frame(clock, "video", 2))
        offered.set()

    thread = threading.Thread(target=offer_second)
    thread.start()
    assert take(boxes) == [("video", 1)]
    assert offered.wait(5)
    thread.join()
    assert take(boxes) == [("video", 2)]


def test_closing_frees_a_blocked_offer(clock: FakeClock) -> None:
    """A lossless offer that blocks ends when the boxes are closed, and its frame is counted."""
    boxes = Mailboxes(clock, depth=1, lossless=True)
    boxes.route("video", ["m"])
    boxes.offer(frame(clock, "video", 1))
    thread = threading.Thread(target=lambda: boxes.offer(frame(clock, "video", 2)))
    thread.start()
    boxes.close()
    thread.join(5)
    assert not thread.is_alive()
    snapshot = boxes.snapshot()
    assert snapshot.balanced
    assert snapshot.pairs["video", "m"].ended == {Outcome.ABANDONED: 1}
    assert snapshot.cameras["video"].captured == 2


def test_an_offer_between_look_and_wait_is_not_slept_through(boxes: Mailboxes, clock: FakeClock) -> None:
    """A frame that comes after the dispatcher looked and before it waits wakes it all the same."""
    boxes.route("front", ["m"])
    seen = boxes.offers
    boxes.offer(frame(clock, "front", 1))
    boxes.wait(None, seen=seen)
    assert take(boxes) == [("front", 1)]


def test_a_kick_wakes_the_next_wait(boxes: Mailboxes) -> None:
    """A completion that comes while the dispatcher is busy is not lost."""
    boxes.kick()
    boxes.wait(None, seen=None)
    assert boxes.offers == 0


def taken(boxes: Mailboxes, limit: int = 8) -> list[Item]:
    return boxes.take("m", limit, per_camera=limit, max_age=1.0)


def back(boxes: Mailboxes, items: list[Item], *, failed: bool = True, retries: int = 1) -> list[int]:
    """Put items back; the numbers of the frames that cannot be sent again."""
    return [item.frame.number for item in boxes.put_back(items, max_age=1.0, failed=failed, retries=retries)]


def test_frame_that_failed_waits_again(boxes: Mailboxes, clock: FakeClock) -> None:
    """It comes back once, is then in flight and not ended, and the second failure is its last."""
    boxes.route("front", ["m"])
    boxes.offer(frame(clock, "front", 1))
    assert back(boxes, taken(boxes)) == []
    pair = boxes.snapshot().pairs["front", "m"]
    assert (pair.waiting, pair.taken, pair.retried, pair.ended) == (1, 0, 1, {})
    assert back(boxes, taken(boxes)) == [1]
    assert boxes.snapshot().pairs["front", "m"].ended == {Outcome.FAILED: 1}


def test_frame_that_was_never_sent_had_no_chance_yet(boxes: Mailboxes, clock: FakeClock) -> None:
    """Taken for a device that was gone by then is no attempt, however often."""
    boxes.route("front", ["m"])
    boxes.offer(frame(clock, "front", 1))
    for _ in range(5):
        assert back(boxes, taken(boxes), failed=False) == []
    assert boxes.snapshot().pairs["front", "m"].retried == 0


def test_newer_frame_takes_the_place_of_one_that_failed(boxes: Mailboxes, clock: FakeClock) -> None:
    """Where a newer frame waits the old one is not sent again: it has failed, or was superseded unsent."""
    boxes.route("front", ["m"])
    for number, failed in ((1, True), (3, False)):
        boxes.offer(frame(clock, "front", number))
        mine = taken(boxes)
        boxes.offer(frame(clock, "front", number + 1))
        assert back(boxes, mine, failed=failed) == [number]
        assert take(boxes) == [("front", number + 1)]
    assert boxes.snapshot().pairs["front", "m"].ended == {Outcome.FAILED: 1, Outcome.SUPERSEDED: 1}


def test_old_frame_is_not_sent_again(boxes: Mailboxes, clock: FakeClock) -> None:
    """What failed and is stale has failed; what was never sent has expired."""
    boxes.route("front", ["m"])
    for failed in (True, False):
        boxes.offer(frame(clock, "front", 1))
        mine = taken(boxes)
        clock.advance(1.5)
        assert back(boxes, mine, failed=failed) == [1]
    assert boxes.snapshot().pairs["front", "m"].ended == {Outcome.FAILED: 1, Outcome.EXPIRED: 1}


def test_frames_come_back_in_order(clock: FakeClock) -> None:
    """Offline, a batch that failed is sent again before all that waits behind it, in its own order."""
    boxes = Mailboxes(clock, depth=4, lossless=True)
    boxes.route("front", ["m"])
    for number in range(4):
        boxes.offer(frame(clock, "front", number))
    mine = taken(boxes, 3)
    for number in (4, 5, 6):
        boxes.offer(frame(clock, "front", number))
    clock.advance(100.0)
    assert back(boxes, mine) == []
    assert [number for _, number in take(boxes, per_camera=8)] == list(range(7))


def test_nothing_comes_back_to_a_model_that_is_no_longer_asked(boxes: Mailboxes, clock: FakeClock) -> None:
    """After a swap, and after the end, what was taken is abandoned."""
    boxes.route("front", ["m"])
    boxes.offer(frame(clock, "front", 1))
    mine = taken(boxes)
    boxes.route("front", ["n"])
    assert back(boxes, mine) == [1]
    assert boxes.snapshot().pairs["front", "m"].ended == {Outcome.ABANDONED: 1}


def test_frame_that_comes_back_wakes_who_waits(boxes: Mailboxes, clock: FakeClock) -> None:
    """The dispatcher hears of it as of a new frame."""
    boxes.route("front", ["m"])
    boxes.offer(frame(clock, "front", 1))
    mine = taken(boxes)
    seen = boxes.offers
    back(boxes, mine)
    boxes.wait(None, seen=seen)
    assert boxes.pending("m") == 1
