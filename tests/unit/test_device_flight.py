"""What is on the device: room, submissions, completions, and that every batch leaves the table exactly once."""

from __future__ import annotations

import random
import socket
import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from hailod.clock import FakeClock
from hailod.device.flight import Completion, Done, Failed, Flight
from hailod.device.protocol import MAX_IN_FLIGHT
from hailod.errors import DeviceLost, SessionLost
from tests.support.device import batch, session
from tests.support.spawner import FakeHost

GONE = DeviceLost("gone")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def host() -> Iterator[FakeHost]:
    host = FakeHost(1)
    yield host
    host.close()


@pytest.fixture
def flight(clock: FakeClock, host: FakeHost) -> Iterator[Flight]:
    """A flight whose host takes jobs."""
    flight = Flight(clock)
    attach(flight, host)
    flight.accept(True)
    yield flight
    flight.close()
    flight.release()
    flight.abandon(GONE)


def attach(flight: Flight, host: FakeHost) -> None:
    flight.attach(host.started.jobs, host.generation)
    host.started.control.close()


def received(flight: Flight) -> Completion:
    completion = flight.receive()
    assert completion is not None
    return completion


def test_room_is_what_is_left_of_the_window(flight: Flight, host: FakeHost) -> None:
    """The window counts frames of this session on the device, and a completion gives its frames' room back."""
    mine, other = session(batch_size=2), session("other", key=2, batch_size=4)
    first = batch(mine, 2)
    assert (flight.room(mine), flight.room(other)) == (4, 8)
    assert flight.submit(first) is None
    assert flight.submit(batch(mine, 1)) is None
    assert (flight.room(mine), flight.frames(mine)) == (1, 3)
    assert (flight.room(other), flight.frames(other)) == (8, 0)
    host.complete(first.job)
    assert received(flight).batch is first
    assert (flight.room(mine), flight.frames(mine)) == (3, 1)


def test_no_slots_no_room(flight: Flight) -> None:
    """A session whose slots are all out takes nothing, whatever its window."""
    mine = session()
    slots = mine.pool.take(mine.pool.free - 1)
    assert flight.room(mine) == 1
    assert slots is not None
    mine.pool.take(1)
    assert flight.room(mine) == 0


def test_host_is_never_given_more_jobs_than_its_answers_fit(flight: Flight) -> None:
    """However large the windows, there are at most as many jobs as completions fit into the channel."""
    sessions = [session(str(key), key=key, window=100) for key in range(1, 30)]
    sent = 0
    for one in sessions:
        while flight.room(one) > 0:
            assert flight.submit(batch(one)) is None
            sent += 1
    assert sent == MAX_IN_FLIGHT


def test_host_is_told_what_to_run(flight: Flight, host: FakeHost, clock: FakeClock) -> None:
    """A job names model, generation and slots; the oldest one's age can be told."""
    assert flight.oldest is None
    first, second = batch(session(key=7, batch_size=3), 3), batch(session(key=8))
    assert flight.submit(first) is None
    clock.advance(1.0)
    assert flight.submit(second) is None
    jobs = host.submitted()
    assert [(job.model, job.generation, list(job.slots)) for job in jobs] == [(7, 1, first.slots), (8, 1, second.slots)]
    assert flight.oldest == first.submitted == clock.monotonic() - 1.0
    host.complete(first.job)
    assert received(flight).batch is first
    assert flight.oldest == second.submitted
    assert not flight.empty


def test_completion_carries_its_times(flight: Flight, host: FakeHost) -> None:
    """A batch that came back well says when the host took it up and when it ended, in seconds."""
    running = batch(session())
    assert flight.submit(running) is None
    host.complete(running.job)
    done = received(flight)
    assert isinstance(done, Done)
    assert (done.started, done.ended) == (1.0, 2.0)
    assert flight.empty


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (63, SessionLost),
        (4, SessionLost),
        (36, DeviceLost),
        (8, DeviceLost),
        (64, DeviceLost),
        (26, SessionLost),
    ],
)
def test_failed_completion_has_no_outputs_but_a_class(
    flight: Flight, host: FakeHost, status: int, error: type[Exception]
) -> None:
    """A status other than 0 makes a failure of the class that says what to do, with the number in it."""
    running = batch(session())
    assert flight.submit(running) is None
    host.complete(running.job, status)
    failed = received(flight)
    assert isinstance(failed, Failed)
    assert type(failed.error) is error
    assert failed.error.status == status
    assert failed.batch is running


def test_condemned_session_takes_nothing_more(flight: Flight, host: FakeHost) -> None:
    """After its first failure nothing is sent to a session, and the last of what it held is told as such."""
    mine, other = session("mine", key=1), session("other", key=2)
    jobs = [batch(mine), batch(mine), batch(other)]
    assert [flight.submit(job) for job in jobs] == [None] * 3
    assert flight.condemn(mine)
    assert not flight.condemn(mine)
    assert flight.room(mine) == 0
    assert flight.submit(batch(mine)) is not None
    assert flight.room(other) == 1
    host.complete(jobs[0].job, 63)
    host.complete(jobs[1].job, 63)
    first, second = received(flight), received(flight)
    assert (first.last, second.last) == (False, True)
    assert flight.frames(other) == 1


def test_when_a_session_began_to_deliver(flight: Flight, host: FakeHost) -> None:
    """Only results count as delivering, and what they are counted by goes on over all sessions."""
    mine = session()
    failing, working = batch(mine), batch(mine)
    assert [flight.submit(job) for job in (failing, working)] == [None, None]
    host.complete(failing.job, 63)
    received(flight)
    assert (flight.delivering_since(mine), flight.finished) == (None, 0)
    host.complete(working.job)
    received(flight)
    assert (flight.delivering_since(mine), flight.finished) == (1000.0, 1)


def test_completion_of_no_known_job_is_ignored(flight: Flight, host: FakeHost) -> None:
    """A completion twice over, of a job that never was, or of another generation ends nothing."""
    running = batch(session())
    assert flight.submit(running) is None
    host.complete(running.job + 1)
    host.complete(running.job, generation=2)
    assert flight.receive() is None
    assert flight.receive() is None
    assert not flight.empty
    host.complete(running.job)
    host.complete(running.job)
    assert received(flight).batch is running
    assert flight.receive() is None
    assert flight.empty


@pytest.mark.parametrize("data", [b"x", b"x" * 31, b"x" * 64, b"x" * 200])
def test_nonsense_on_the_jobs_channel_ends_it(flight: Flight, host: FakeHost, data: bytes) -> None:
    """A host that sends what is no completion is heard no more; what it holds is there to be given up."""
    running = batch(session())
    assert flight.submit(running) is None
    assert len(host.submitted()) == 1
    host.jobs.send(data)
    assert flight.receive() is None
    assert host.abandoned
    assert isinstance(flight.submit(batch(session())), SessionLost)
    assert [failed.batch for failed in flight.abandon(GONE)] == [running]


def test_refused_batch_still_belongs_to_the_caller(flight: Flight, host: FakeHost) -> None:
    """While paused, for another generation, or once the host is given up, a batch is refused and not kept."""
    mine = session()
    flight.accept(False)
    assert isinstance(flight.submit(batch(mine)), SessionLost)
    assert flight.room(mine) == 0
    flight.accept(True)
    old = session(generation=9)
    assert isinstance(flight.submit(batch(old)), SessionLost)
    assert flight.room(old) == 0
    assert flight.abandon(GONE) == []
    assert isinstance(flight.submit(batch(mine)), SessionLost)
    assert flight.empty
    assert flight.frames(mine) == 0
    assert host.submitted() == []


def test_host_that_is_gone_takes_nothing(flight: Flight, host: FakeHost) -> None:
    """A batch for a dead host is refused, before its death was noticed and after."""
    mine = session()
    host.jobs.close()
    error = flight.submit(batch(mine))
    assert isinstance(error, DeviceLost)
    assert not flight.deaf
    assert flight.empty
    assert flight.receive() is None
    assert isinstance(flight.submit(batch(mine)), SessionLost)


def test_host_that_does_not_listen_is_deaf(flight: Flight, host: FakeHost) -> None:
    """A full jobs channel never blocks: the batch is refused and the host called deaf, until another one comes."""
    window = 10_000
    mine = session(batch_size=1, window=window)
    sent = 0
    while (error := flight.submit(one := batch(mine))) is None:
        mine.pool.give(one.slots)
        sent += 1
        assert sent < window
    assert isinstance(error, DeviceLost)
    assert flight.deaf
    assert flight.frames(mine) == sent
    assert len(flight.abandon(GONE)) == sent

    successor = FakeHost(2)
    try:
        attach(flight, successor)
        flight.accept(True)
        assert not flight.deaf
        assert flight.submit(batch(session(generation=2))) is None
        assert len(successor.submitted()) == 1
        # The reader closes what it read from before.
        flight.receive()
        while host.submitted():
            continue
        assert host.abandoned
    finally:
        successor.close()


def test_closed_channel_is_let_go_by_its_reader(flight: Flight, host: FakeHost) -> None:
    """When the host closes its end the reader closes ours, and the next host is served as if nothing had been."""
    host.jobs.close()
    assert flight.receive() is None
    successor = FakeHost(2)
    try:
        attach(flight, successor)
        flight.accept(True)
        running = batch(session(generation=2))
        assert flight.submit(running) is None
        successor.complete(running.job)
        assert received(flight).batch is running
    finally:
        successor.close()


def test_reader_is_woken_by_the_next_host(clock: FakeClock) -> None:
    """Without a host the reader waits for one, and hears its first completion."""
    flight = Flight(clock)
    heard: list[Completion] = []

    def read() -> None:
        while not heard:
            completion = flight.receive()
            if completion is not None:
                heard.append(completion)

    reader = threading.Thread(target=read)
    reader.start()
    host = FakeHost(1)
    attach(flight, host)
    flight.accept(True)
    running = batch(session())
    assert flight.submit(running) is None
    host.complete(running.job)
    reader.join(10.0)
    host.close()
    assert flight.receive() is None
    assert [completion.batch for completion in heard] == [running]


def test_released_flight_holds_no_channel(clock: FakeClock) -> None:
    """When the results thread ends, neither the present host's channel nor one that was replaced stays open."""
    flight = Flight(clock)
    hosts = [FakeHost(1), FakeHost(2)]
    for host in hosts:
        attach(flight, host)
    flight.release()
    assert all(host.abandoned for host in hosts)
    flight.release()
    for host in hosts:
        host.close()


def test_every_batch_leaves_once(clock: FakeClock) -> None:
    """Whether it completes or is given up while completions are on their way, no batch is lost and none comes twice."""
    rng = random.Random(7)
    for _ in range(30):
        flight = Flight(clock)
        host = FakeHost(1)
        attach(flight, host)
        flight.accept(True)
        mine = session(batch_size=8, window=64)
        running = [batch(mine) for _ in range(20)]
        for one in running:
            assert flight.submit(one) is None
        left: Counter[int] = Counter()

        def read(flight: Flight, left: Counter[int], jobs: socket.socket) -> None:
            while True:
                completion = flight.receive()
                if completion is not None:
                    left[completion.batch.job] += 1
                elif jobs.fileno() < 0:
                    return

        reader = threading.Thread(target=read, args=(flight, left, host.started.jobs))
        reader.start()
        for one in running[: rng.randrange(20)]:
            host.complete(one.job)
        given_up = flight.abandon(GONE)
        for one in running:
            host.complete(one.job)
        host.close()
        reader.join(10.0)
        assert not reader.is_alive()
        left.update(failed.batch.job for failed in given_up)
        assert left == Counter(one.job for one in running)
        assert flight.abandon(GONE) == []
        assert flight.frames(mine) == 0
