"""Pictures on their way through the outbox: large, one at a time, and never left to chance."""

from __future__ import annotations

import pytest

from hailod.clock import FakeClock
from hailod.mqtt.lanes import Drop, Kind
from hailod.mqtt.outbox import Outbox, Outgoing
from hailod.mqtt.pictures import MAX_PICTURE, MAX_WAITING, RETAINED_S
from hailod.mqtt.topics import Topics

TOPICS = Topics("pi")
SNAPSHOT = TOPICS.camera("front").snapshot
JPEG = b"\xff\xd8 a picture \xff\xd9"


@pytest.fixture
def outbox() -> Outbox:
    made = Outbox(TOPICS, FakeClock())
    made.online()
    return made


def taken(outbox: Outbox) -> list[Outgoing]:
    found = []
    while (outgoing := outbox.take()) is not None:
        found.append(outgoing)
    return found


def test_picture_goes_out_as_it_is(outbox: Outbox) -> None:
    """Its bytes go out once, at QoS 0 and not retained, and its sender hears when they left."""
    fates: list[bool] = []
    assert outbox.picture(SNAPSHOT, JPEG, fates.append)
    (sent,) = taken(outbox)
    assert (sent.topic, sent.payload, sent.qos, sent.retain, sent.expiry) == (SNAPSHOT, JPEG, 0, False, None)
    assert fates == []
    outbox.done(sent)
    assert fates == [True]


def test_retained_picture_expires(outbox: Outbox) -> None:
    """A broker that is to keep a picture is told to forget it after a day."""
    outbox.picture(SNAPSHOT, JPEG, lambda _: None, retain=True)
    (sent,) = taken(outbox)
    assert (sent.retain, sent.expiry) == (True, RETAINED_S)


def test_one_picture_of_a_topic_at_a_time(outbox: Outbox) -> None:
    """While one is on its way no other of its topic is taken, and no more than eight of all topics."""
    assert outbox.picture(SNAPSHOT, JPEG, lambda _: None)
    taken(outbox)
    assert not outbox.picture(SNAPSHOT, JPEG, lambda _: None)
    others = [outbox.picture(TOPICS.camera(str(n)).snapshot, JPEG, lambda _: None) for n in range(MAX_WAITING)]
    assert others.count(True) == MAX_WAITING - 1
    assert outbox.drops[Kind.PICTURE, Drop.BUSY] == outbox.drops[Kind.PICTURE, Drop.OVERFLOW] == 1


def test_lost_picture_is_told(outbox: Outbox) -> None:
    """A connection that ends tells the sender of each picture that was to go; without one none is taken."""
    fates: list[bool] = []
    outbox.picture(SNAPSHOT, JPEG, fates.append)
    sent = taken(outbox)
    outbox.picture(TOPICS.camera("back").snapshot, JPEG, fates.append)
    outbox.offline(sent)
    assert fates == [False, False]
    assert not outbox.picture(SNAPSHOT, JPEG, fates.append)
    assert outbox.dropped == {"picture": 3}


@pytest.mark.parametrize(("size", "fits"), [(MAX_PICTURE, True), (MAX_PICTURE + 1, False)])
def test_picture_has_a_largest_size(outbox: Outbox, size: int, fits: bool) -> None:
    """A picture has at most 256 kB; a larger one is refused, counted and told."""
    fates: list[bool] = []
    outbox.picture(SNAPSHOT, bytes(size), fates.append)
    sent = taken(outbox)
    assert bool(sent) is fits
    assert fates == ([] if fits else [False])


def test_broker_may_take_less(outbox: Outbox) -> None:
    """What is said to fit does fit into the broker's largest packet, and what does not is not sent."""
    outbox.online(max_packet=10_000)
    fates: list[bool] = []
    outbox.picture(SNAPSHOT, bytes(outbox.picture_limit), fates.append)
    (sent,) = taken(outbox)
    outbox.done(sent)
    outbox.picture(SNAPSHOT, bytes(10_000), fates.append)
    assert taken(outbox) == []
    assert fates == [True, False]


def test_withdrawn_picture_is_nowhere(outbox: Outbox) -> None:
    """One that still waits is not sent, and the broker is told to hold none."""
    fates: list[bool] = []
    outbox.picture(SNAPSHOT, JPEG, fates.append, retain=True)
    outbox.withdraw(SNAPSHOT)
    (clearing,) = taken(outbox)
    assert (clearing.topic, clearing.payload, clearing.retain, clearing.qos) == (SNAPSHOT, b"", True, 1)
    assert fates == [False]
