"""From mailbox to device: what is sent, what is not, and that slots and frames are accounted for either way."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import pytest

from hailod.clock import FakeClock
from hailod.device.flight import Flight
from hailod.errors import DeviceLost
from hailod.geometry import Placement, View
from hailod.mailbox import Mailboxes, Outcome
from hailod.pipeline.dispatcher import Dispatcher
from hailod.pipeline.service import Lane, Service
from hailod.types import Picture, PixelFormat
from tests.support.device import frame, session
from tests.support.lanes import RULES, lane, service
from tests.support.spawner import FakeHost
from tests.support.waiting import wait_for

BROKEN = Picture(PixelFormat.I420, 64, 32, (np.zeros((3, 3), np.uint8),))


class Rig:
    """A dispatcher between real mailboxes and the channel of a host that a test plays."""

    def __init__(self, *, prep_workers: int = 1) -> None:
        self.clock = FakeClock()
        self.mailboxes = Mailboxes(self.clock, depth=8)
        self.flight = Flight(self.clock)
        self.host = FakeHost(1)
        self.flight.attach(self.host.started.jobs, 1)
        self.host.started.control.close()
        self.flight.accept(True)
        self.dispatcher = Dispatcher(self.mailboxes, self.flight, self.clock, prep_workers=prep_workers)
        self.jobs: list[list[int]] = []

    def begin(self, first: Service, *, cameras: tuple[str, ...] = ("front",)) -> None:
        for camera in cameras:
            self.mailboxes.route(camera, list(first.lanes))
        self.dispatcher.apply(first)
        self.dispatcher.start()

    def sent(self, jobs: int) -> list[list[int]]:
        """The slots of each job, once so many were sent."""

        def enough() -> bool:
            self.jobs += [list(job.slots) for job in self.host.submitted()]
            return len(self.jobs) >= jobs

        wait_for(enough, what=f"{jobs} jobs are sent")
        return self.jobs

    def ended(self, frames: int, *, camera: str = "front", model: str = "two") -> dict[str, int]:
        """How frames ended, once so many have."""

        def ended() -> Mapping[str, int]:
            return self.mailboxes.snapshot().pairs[camera, model].ended

        wait_for(lambda: sum(ended().values()) >= frames, what=f"{frames} frames ended")
        return dict(ended())

    def close(self) -> None:
        self.mailboxes.close()
        assert self.dispatcher.stop(5.0)
        self.host.close()
        self.flight.release()
        self.dispatcher.apply(Service())
        for failed in self.flight.abandon(DeviceLost("over")):
            self.mailboxes.finish(failed.batch.items, Outcome.ABANDONED)
        assert self.mailboxes.snapshot().balanced


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.close()
    assert rig.dispatcher.worker.failure is None


def test_frame_is_laid_into_a_slot_and_sent(rig: Rig) -> None:
    """A frame that waits is prepared in the slot that the host is told of."""
    mine = lane()
    rig.begin(service(mine))
    rig.mailboxes.offer(frame())
    ((slot,),) = rig.sent(1)
    assert mine.session.pool.inputs[slot]["in"].mean() > 50
    assert rig.mailboxes.snapshot().pairs["front", "two"].taken == 1
    assert rig.flight.frames(mine.session) == 1


def test_nothing_is_taken_beyond_the_window(rig: Rig) -> None:
    """Frames for which the device has no room stay in the mailbox, and go when it has."""
    mine = lane()
    rig.begin(service(mine))
    for number in range(5):
        rig.mailboxes.offer(frame(number=number))
    rig.sent(2)
    assert rig.mailboxes.pending("two") == 3
    rig.host.complete(1)
    done = rig.flight.receive()
    assert done is not None
    mine.session.pool.give(done.batch.slots)
    rig.dispatcher.room()
    assert len(rig.sent(3)) == 3
    assert rig.mailboxes.pending("two") == 2


def test_full_batch_goes_as_one_job(rig: Rig) -> None:
    """Frames of several cameras that wait together become one job."""
    mine = lane(of=session(batch_size=4))
    cameras = ("a", "b", "c", "d")
    for camera in cameras:
        rig.mailboxes.route(camera, ["two"])
        rig.mailboxes.offer(frame(camera))
    rig.begin(service(mine, cameras=cameras), cameras=cameras)
    (slots,) = rig.sent(1)
    assert len(set(slots)) == 4


def test_expired_frame_is_not_sent(rig: Rig) -> None:
    """A frame older than it may be costs neither a slot nor the device's time."""
    mine = lane()
    free = mine.session.pool.free
    rig.mailboxes.route("front", ["two"])
    rig.mailboxes.offer(frame(captured=rig.clock.monotonic() - 1.5))
    rig.begin(service(mine))
    assert rig.ended(1) == {"expired": 1}
    assert mine.session.pool.free == free
    assert rig.host.submitted() == []


def test_picture_that_cannot_be_prepared_has_failed(rig: Rig) -> None:
    """A picture that is not what it says is counted as failed, its slot comes home, and the next frame goes."""
    mine = lane()
    free = mine.session.pool.free
    rig.begin(service(mine))
    rig.mailboxes.offer(frame(picture=BROKEN))
    assert rig.ended(1) == {"failed": 1}
    assert rig.dispatcher.bad_pictures == 1
    assert mine.session.pool.free == free
    rig.mailboxes.offer(frame())
    assert len(rig.sent(1)) == 1


@pytest.mark.parametrize("prep_workers", [1, 2])
def test_bad_picture_does_not_cost_the_rest_of_its_batch(prep_workers: int) -> None:
    """Of a batch with one bad picture the others are sent, each with its own slot and place."""
    rig = Rig(prep_workers=prep_workers)
    try:
        mine = lane(of=session(batch_size=3), workers=prep_workers)
        for camera, picture in (("a", None), ("b", BROKEN), ("c", None)):
            rig.mailboxes.route(camera, ["two"])
            rig.mailboxes.offer(frame(camera) if picture is None else frame(camera, picture=picture))
        rig.begin(service(mine, cameras=("a", "b", "c")), cameras=("a", "b", "c"))
        (slots,) = rig.sent(1)
        assert len(slots) == 2
        assert rig.ended(1, camera="b") == {"failed": 1}
        assert mine.session.pool.free == 4 * 3 + 1 - 2
        rig.host.complete(1)
        done = rig.flight.receive()
        assert done is not None
        assert [item.frame.camera for item in done.batch.items] == ["a", "c"]
        assert all(isinstance(context, Placement) for context in done.batch.context)
    finally:
        rig.close()


def test_frame_of_a_camera_without_rules_has_failed(rig: Rig) -> None:
    """A frame that was taken while its camera's rules were removed is counted and not run."""
    rig.begin(service(lane(), cameras=()))
    rig.mailboxes.offer(frame())
    assert rig.ended(1) == {"failed": 1}
    assert rig.dispatcher.bad_pictures == 0


def test_batch_that_cannot_be_sent_comes_home(rig: Rig) -> None:
    """When the host is gone the frame waits again as if it had not been taken, and its slot is free."""
    mine = lane()
    free = mine.session.pool.free
    rig.host.jobs.close()
    rig.begin(service(mine))
    rig.mailboxes.offer(frame())
    wait_for(lambda: rig.flight.room(mine.session) == 0, what="the host is found to be gone")
    wait_for(lambda: rig.mailboxes.pending("two") == 1, what="the frame waits again")
    assert mine.session.pool.free == free
    pair = rig.mailboxes.snapshot().pairs["front", "two"]
    assert (pair.ended, pair.retried) == ({}, 0)


def test_load_is_shed_where_frames_wait(rig: Rig) -> None:
    """Below a rate limit frames stay in the mailbox, where newer ones take their place; without it all are sent."""
    rig.begin(replace(service(lane()), max_rate=0.001))
    rig.mailboxes.offer(frame(number=1))
    rig.sent(1)
    rig.mailboxes.offer(frame(number=2))
    assert rig.mailboxes.pending("two") == 1
    rig.dispatcher.apply(service(lane()))
    wait_for(lambda: rig.mailboxes.pending("two") == 0, what="the limit is gone")


def test_rules_apply_from_the_next_frame_on(rig: Rig) -> None:
    """A camera that is turned round is prepared turned round from the next batch on."""
    mine = lane()
    rig.begin(service(mine))
    rig.mailboxes.offer(frame())
    rig.sent(1)
    rig.dispatcher.apply(service(mine, rules=replace(RULES, view=View(rotate=90))))
    rig.mailboxes.offer(frame())
    rig.sent(2)
    placements = []
    for job in (1, 2):
        rig.host.complete(job)
        done = rig.flight.receive()
        assert done is not None
        placements.append(done.batch.context[0])
    assert [placement.view.rotate for placement in placements] == [0, 90]  # type: ignore[attr-defined]


def test_models_share_the_device_in_turn(rig: Rig) -> None:
    """Neither of two models with frames waiting has to wait for the other's to be used up."""
    lanes: list[Lane] = [lane("one", of=session("one", key=1)), lane("two", of=session("two", key=2))]
    rig.mailboxes.route("front", ["one", "two"])
    for number in range(8):
        rig.mailboxes.offer(frame(number=number))
    rig.begin(service(*lanes))
    rig.sent(4)
    assert rig.mailboxes.pending("one") == rig.mailboxes.pending("two") == 6


def test_stop_ends_a_thread_that_waits() -> None:
    """The dispatcher ends promptly though nothing comes, and leaves no prep worker."""
    rig = Rig(prep_workers=3)
    rig.begin(service(lane(workers=3)))
    rig.close()
    assert not rig.dispatcher.worker.alive
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prep")]
