"""The control thread's inbox: in order, never blocking, and bounded towards strangers."""

from __future__ import annotations

import signal
import threading

from hailod.control.inbox import MAX_INBOUND, Event, Inbox, Quit
from hailod.mqtt.messages import Inbound


def message(number: int) -> Inbound:
    return Inbound(f"hailod/pi/cmd/{number}", b"{}", False, 0.0)


def test_events_come_in_order() -> None:
    """Whoever puts them, events come out as they went in, and nothing is told as None."""
    inbox = Inbox()
    assert inbox.get(0.0) is None
    events: list[Event] = [Quit("a"), message(1), Quit("b")]
    inbox.put(events[0])
    inbox.put_inbound(message(1))
    inbox.put(events[2])
    assert [inbox.get(0.0) for _ in events] == events
    assert inbox.get(-1.0) is None


def test_strangers_cannot_fill_it() -> None:
    """Of messages from outside only so many wait; the rest is dropped and counted, and our own events come through."""
    inbox = Inbox()
    for number in range(MAX_INBOUND + 10):
        inbox.put_inbound(message(number))
    inbox.put(Quit("still heard"))
    assert inbox.dropped == 10
    waiting = [inbox.get(0.0) for _ in range(MAX_INBOUND + 1)]
    assert waiting == [*map(message, range(MAX_INBOUND)), Quit("still heard")]
    inbox.put_inbound(message(1))
    assert inbox.get(0.0) == message(1)
    assert inbox.dropped == 10


def test_wait_ends_with_an_event() -> None:
    """A control thread that waits is woken by what another thread puts."""
    inbox = Inbox()
    timer = threading.Timer(0.05, inbox.put, [Quit("now")])
    timer.start()
    assert inbox.get(30.0) == Quit("now")
    timer.join()


def test_signal_handler_may_put() -> None:
    """A signal that comes while the inbox is in use puts its event without a deadlock."""
    inbox = Inbox()
    before = signal.signal(signal.SIGUSR1, lambda *_: inbox.put(Quit("signal")))
    try:
        for _ in range(200):
            signal.raise_signal(signal.SIGUSR1)
            inbox.put(Quit("x"))
        taken = [inbox.get(0.0) for _ in range(400)]
        assert taken.count(Quit("signal")) == 200
    finally:
        signal.signal(signal.SIGUSR1, before)
