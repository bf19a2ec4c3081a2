"""Threads with a name, a heartbeat and an end that is noticed."""

from __future__ import annotations

import threading

from structlog.testing import capture_logs

from hailod.clock import FakeClock
from hailod.worker import Worker


def idle(worker: Worker) -> None:
    worker.stopping.wait()


def test_worker_is_late_when_silent() -> None:
    """A worker is late once it did not beat for longer than its bound, and no more once it beats again."""
    clock = FakeClock()
    worker = Worker("w", idle, clock, bound=5.0)
    worker.start()
    assert not worker.late
    clock.advance(5.0)
    assert not worker.late
    clock.advance(0.1)
    assert worker.late
    worker.beat()
    assert not worker.late
    worker.stop()
    assert worker.join(10.0)


def test_dead_worker_is_late() -> None:
    """A worker that was never started, or that has ended, gives no sign of life."""
    worker = Worker("w", idle, FakeClock())
    assert worker.late
    assert not worker.alive
    assert worker.join(0.0)
    worker.start()
    assert worker.alive
    worker.stop()
    assert worker.join(10.0)
    assert worker.late


def test_start_is_a_sign_of_life() -> None:
    """Time between making a worker and starting it is not held against it."""
    clock = FakeClock()
    worker = Worker("w", idle, clock, bound=1.0)
    clock.advance(60.0)
    worker.start()
    assert not worker.late
    worker.stop()
    assert worker.join(10.0)


def test_failure_is_kept_and_logged() -> None:
    """A worker that ends by an exception logs it with its traceback and keeps it for its owner."""

    def fail(_: Worker) -> None:
        raise ValueError("broken")

    worker = Worker("w", fail, FakeClock())
    with capture_logs() as logs:
        worker.start()
        assert worker.join(10.0)
    assert isinstance(worker.failure, ValueError)
    (entry,) = [entry for entry in logs if entry["event"] == "worker failed"]
    assert (entry["worker"], entry["exc_info"]) == ("w", True)


def test_thread_has_the_name_of_its_worker() -> None:
    """In a debugger or `top -H` a worker is found by its name."""
    names: list[str] = []
    worker = Worker("results", lambda _: names.append(threading.current_thread().name), FakeClock(), daemon=True)
    worker.start()
    assert worker.join(10.0)
    assert names == ["results"]
    assert worker.failure is None


def test_join_says_when_the_end_did_not_come() -> None:
    """A worker that cannot be ended in time is told of, and waited for no longer."""
    hold = threading.Event()

    def hang(_: Worker) -> None:
        hold.wait(30.0)

    worker = Worker("w", hang, FakeClock())
    worker.start()
    worker.stop()
    assert not worker.join(0.01)
    hold.set()
    assert worker.join(10.0)


def test_stack_says_where_a_worker_is() -> None:
    """The stack of a worker names the functions it is in; one that does not run has none."""
    inside, release = threading.Event(), threading.Event()

    def linger_somewhere(_: Worker) -> None:
        inside.set()
        release.wait()

    worker = Worker("w", linger_somewhere, FakeClock())
    assert worker.stack() == ""
    worker.start()
    assert inside.wait(10.0)
    assert "linger_somewhere" in worker.stack()
    release.set()
    assert worker.join(10.0)
    assert worker.stack() == ""
