"""The outbox: what is told when, and what is given up, without a network."""

from __future__ import annotations

import json
from typing import Any

import pytest
from structlog.testing import capture_logs

from hailod.clock import FakeClock
from hailod.mqtt.lanes import Drop, Kind, StatePolicy
from hailod.mqtt.messages import ReplyTo
from hailod.mqtt.outbox import CAMERA_STATE, HEALTH, MAX_DOCUMENT, Outbox, Outgoing
from hailod.mqtt.topics import Topics

TOPICS = Topics("pi")
FRONT = TOPICS.camera("front")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def outbox(clock: FakeClock) -> Outbox:
    return Outbox(TOPICS, clock)


def drain(outbox: Outbox) -> list[Outgoing]:
    """Everything that may go now, each acknowledged at once."""
    taken = []
    while (outgoing := outbox.take()) is not None:
        outbox.done(outgoing)
        taken.append(outgoing)
    return taken


def told(outbox: Outbox) -> list[tuple[str, Any]]:
    return [
        (o.topic, json.loads(o.payload) if o.payload.startswith(b"{") else o.payload.decode()) for o in drain(outbox)
    ]


def test_nothing_goes_out_while_offline(outbox: Outbox) -> None:
    """Without a broker nothing is taken, whatever waits."""
    outbox.state(TOPICS.info, {"v": 1})
    outbox.event(TOPICS.event, {"v": 1})
    outbox.reply(ReplyTo(TOPICS.reply("ping")), {"v": 1})
    assert outbox.take() is None
    assert outbox.wait_s() is None


def test_announcement_has_the_order_of_the_contract(outbox: Outbox) -> None:
    """At every connect state is told as info, models, settings, health, cameras, and the node's status last."""
    outbox.state(TOPICS.status, "online")
    outbox.event(TOPICS.event, {"event_type": "x"})
    outbox.state(FRONT.status, "online")
    outbox.state("homeassistant/device/hailod_pi/config", {"v": 1})
    for topic in (FRONT.state, FRONT.settings, TOPICS.health, TOPICS.settings, TOPICS.models, TOPICS.info):
        outbox.state(topic, {"v": 1})
    outbox.online()
    outbox.stream(TOPICS.metrics, {"fps": 1}, 1.0)
    assert [topic for topic, _ in told(outbox)] == [
        TOPICS.info,
        TOPICS.models,
        TOPICS.settings,
        TOPICS.health,
        FRONT.state,
        FRONT.settings,
        FRONT.status,
        "homeassistant/device/hailod_pi/config",
        TOPICS.status,
        TOPICS.event,
        TOPICS.metrics,
    ]


def test_everything_is_told_again_when_asked(outbox: Outbox) -> None:
    """Who has just started gets all state in the order of a connection; offline nothing more is told than at the next
    connect anyway."""
    for topic in (TOPICS.status, TOPICS.info, FRONT.state):
        outbox.state(topic, {"v": 1})
    outbox.repeat_all()
    assert outbox.take() is None
    outbox.online()
    assert len(told(outbox)) == 3
    assert told(outbox) == []
    outbox.repeat_all()
    assert [topic for topic, _ in told(outbox)] == [TOPICS.info, FRONT.state, TOPICS.status]


def test_announcement_waits_for_room_with_everything_behind_it(outbox: Outbox) -> None:
    """A stream never overtakes the announcement, even when only streams may be sent."""
    outbox.state(TOPICS.info, {"v": 1})
    outbox.online()
    outbox.stream(TOPICS.metrics, {"fps": 1}, 1.0)
    assert outbox.take(room=False) is None
    assert outbox.wait_s(room=False) is None
    assert [topic for topic, _ in told(outbox)] == [TOPICS.info, TOPICS.metrics]


def test_every_connect_tells_all_state_again(outbox: Outbox) -> None:
    """A broker that lost its retained messages has all of them after the next connect, as they are by then."""
    outbox.state(TOPICS.info, {"v": 1})
    outbox.state(TOPICS.settings, {"revision": 1})
    outbox.online()
    drain(outbox)
    outbox.offline()
    outbox.state(TOPICS.settings, {"revision": 2})
    outbox.state(TOPICS.settings, {"revision": 3})
    outbox.online()
    assert told(outbox) == [(TOPICS.info, {"v": 1}), (TOPICS.settings, {"revision": 3})]


def test_unchanged_state_is_not_told_before_its_keep_alive(outbox: Outbox, clock: FakeClock) -> None:
    """A document that differs only in `ts` is told again when its keep-alive period is over, not before."""
    outbox.online()
    outbox.state(FRONT.state, {"ts": 1.0, "objects": {"person": 1}}, CAMERA_STATE)
    assert len(drain(outbox)) == 1
    clock.advance(29.0)
    outbox.state(FRONT.state, {"ts": 30.0, "objects": {"person": 1}}, CAMERA_STATE)
    assert drain(outbox) == []
    clock.advance(1.0)
    outbox.state(FRONT.state, {"ts": 31.0, "objects": {"person": 1}}, CAMERA_STATE)
    assert told(outbox) == [(FRONT.state, {"ts": 31.0, "objects": {"person": 1}})]


def test_changed_state_is_coalesced_to_its_interval(outbox: Outbox, clock: FakeClock) -> None:
    """Of many changes within the interval only the latest is told, when the interval is over."""
    outbox.online()
    outbox.state(FRONT.state, {"n": 0}, CAMERA_STATE)
    drain(outbox)
    for n in range(1, 9):
        clock.advance(0.05)
        outbox.state(FRONT.state, {"n": n}, CAMERA_STATE)
    assert drain(outbox) == []
    assert outbox.wait_s() == pytest.approx(0.1)
    clock.advance(0.11)
    assert told(outbox) == [(FRONT.state, {"n": 8})]


def test_a_change_taken_back_in_time_is_not_told(outbox: Outbox, clock: FakeClock) -> None:
    """State that is back at what was told last needs no message."""
    outbox.online()
    outbox.state(FRONT.state, {"n": 0}, CAMERA_STATE)
    drain(outbox)
    outbox.state(FRONT.state, {"n": 1}, CAMERA_STATE)
    outbox.state(FRONT.state, {"n": 0}, CAMERA_STATE)
    clock.advance(1.0)
    assert drain(outbox) == []


def test_small_moves_of_a_figure_are_no_change(outbox: Outbox, clock: FakeClock) -> None:
    """A rate that moves by less than its dead band, compared with what was told, is not told."""
    outbox.online()
    for fps, expected in ((15.0, 1), (15.3, 0), (15.49, 0), (15.6, 1), (15.2, 0)):
        outbox.state(FRONT.state, {"fps": fps}, CAMERA_STATE)
        assert len(drain(outbox)) == expected, fps
        clock.advance(1.0)


def test_health_changes_by_state_and_reasons_only(outbox: Outbox, clock: FakeClock) -> None:
    """Uptime and counters do not make health news; a new reason does."""
    outbox.online()
    outbox.state(TOPICS.health, {"state": "ok", "reasons": [], "uptime_s": 1, "mqtt": {"reconnects": 0}}, HEALTH)
    drain(outbox)
    clock.advance(5.0)
    outbox.state(TOPICS.health, {"state": "ok", "reasons": [], "uptime_s": 6, "mqtt": {"reconnects": 1}}, HEALTH)
    assert drain(outbox) == []
    outbox.state(TOPICS.health, {"state": "ok", "reasons": [{"code": "x"}], "uptime_s": 6}, HEALTH)
    assert len(drain(outbox)) == 1


def test_text_and_documents_may_follow_each_other() -> None:
    """Plain text is compared as a whole."""
    assert StatePolicy().unchanged("online", "online")
    assert not StatePolicy().unchanged("online", "offline")
    assert not StatePolicy().unchanged("online", {"v": 1})
    assert not StatePolicy().unchanged({"v": 1}, {"v": 1, "new": None})


def test_forgotten_topic_is_cleared_once_and_not_announced(outbox: Outbox) -> None:
    """The retained messages of a removed camera are cleared, also when it was removed while offline."""
    outbox.state(FRONT.state, {"v": 1})
    outbox.online()
    drain(outbox)
    outbox.offline()
    outbox.forget(FRONT.state)
    outbox.online()
    (cleared,) = drain(outbox)
    assert (cleared.topic, cleared.payload, cleared.retain) == (FRONT.state, b"", True)
    outbox.offline([cleared])
    outbox.online()
    assert [o.payload for o in drain(outbox)] == [b""], "not acknowledged, so cleared again"
    outbox.offline()
    outbox.online()
    assert drain(outbox) == []


def test_stream_is_skipped_while_offline(outbox: Outbox) -> None:
    """Detections without a broker are dropped and counted, never kept."""
    outbox.stream(FRONT.detections, {"n": 1}, 5.0)
    outbox.online()
    assert drain(outbox) == []
    assert outbox.dropped == {"detections": 1}


def test_stream_is_skipped_while_the_last_is_on_its_way(outbox: Outbox, clock: FakeClock) -> None:
    """A slow socket gets no second message of a stream before the first has left."""
    outbox.online()
    outbox.stream(FRONT.detections, {"n": 1}, 5.0)
    first = outbox.take()
    assert first is not None
    assert (first.qos, first.retain) == (0, False)
    clock.advance(1.0)
    outbox.stream(FRONT.detections, {"n": 2}, 5.0)
    assert outbox.take() is None
    outbox.done(first)
    clock.advance(1.0)
    outbox.stream(FRONT.detections, {"n": 3}, 5.0)
    assert told(outbox) == [(FRONT.detections, {"n": 3})]
    assert outbox.dropped == {"detections": 1}


def test_stream_keeps_to_its_rate(outbox: Outbox, clock: FakeClock) -> None:
    """Thirty frames a second give five messages a second; the others are paced, which is no loss."""
    outbox.online()
    sent = 0
    for number in range(300):
        outbox.stream(FRONT.detections, {"n": number}, 5.0)
        sent += len(drain(outbox))
        clock.advance(1 / 30)
    assert sent == pytest.approx(50, abs=2)
    assert outbox.dropped == {}
    assert outbox.drops["detections", Drop.PACED] == 300 - sent


def test_stream_of_rate_zero_is_off(outbox: Outbox) -> None:
    """A rate of 0 turns a stream off without counting anything."""
    outbox.online()
    outbox.stream(FRONT.detections, {"n": 1}, 0.0)
    assert drain(outbox) == []
    assert outbox.drops == {}


def test_events_are_numbered_per_topic(outbox: Outbox, clock: FakeClock) -> None:
    """Each topic counts its events from 1, so that a gap shows a loss; they leave in the order in which they came."""
    outbox.online()
    for topic in (FRONT.event, TOPICS.event, FRONT.event):
        outbox.event(topic, {"event_type": "x"})
        clock.advance(0.001)
    assert [(topic, document["seq"], document["replayed"]) for topic, document in told(outbox)] == [
        (FRONT.event, 1, False),
        (TOPICS.event, 1, False),
        (FRONT.event, 2, False),
    ]


def test_events_of_an_outage_are_replayed_marked_and_slowly(outbox: Outbox, clock: FakeClock) -> None:
    """After an outage events come in order, marked as replayed, at no more than 50 a second, before newer ones."""
    for _ in range(100):
        outbox.event(FRONT.event, {"event_type": "x"})
    outbox.online()
    outbox.event(FRONT.event, {"event_type": "x"})
    seen: list[Any] = []
    moments: list[float] = []
    while outbox.waiting[Kind.EVENT]:
        for _, document in told(outbox):
            seen.append((document["seq"], document["replayed"]))
            moments.append(clock.monotonic())
        clock.advance(outbox.wait_s() or 0.0)
    assert seen == [(seq, seq <= 100) for seq in range(1, 102)]
    assert moments[99] - moments[0] == pytest.approx(99 / 50, abs=0.05)


def test_unacknowledged_event_is_sent_again(outbox: Outbox, clock: FakeClock) -> None:
    """What the broker did not acknowledge before the connection broke comes again, first, marked as replayed."""
    outbox.online()
    for _ in range(3):
        outbox.event(FRONT.event, {"event_type": "x"})
    taken = [outbox.take() for _ in range(3)]
    unfinished = [outgoing for outgoing in taken[1:] if outgoing is not None]
    outbox.offline(unfinished)
    outbox.event(FRONT.event, {"event_type": "x"})
    outbox.online()
    seen = []
    for _ in range(3):
        seen += [(document["seq"], document["replayed"]) for _, document in told(outbox)]
        clock.advance(0.02)
    assert seen == [(2, True), (3, True), (4, True)]


def test_event_backlog_is_bounded_by_number_and_age(outbox: Outbox, clock: FakeClock) -> None:
    """Of more than 1000 events the oldest are given up, and those of ten minutes ago; both are counted."""
    for _ in range(1010):
        outbox.event(FRONT.event, {"event_type": "x"})
    assert outbox.waiting[Kind.EVENT] == 1000
    assert outbox.drops["event", Drop.OVERFLOW] == 10
    clock.advance(601.0)
    outbox.event(TOPICS.event, {"event_type": "y"})
    outbox.online()
    assert [topic for topic, _ in told(outbox)] == [TOPICS.event]
    assert outbox.dropped == {"event": 1010}


def test_node_events_are_throttled_and_do_not_hold_up_cameras(outbox: Outbox, clock: FakeClock) -> None:
    """The node's own events leave 20 at once and then 5 a second; a camera's event does not wait behind them."""
    outbox.online()
    for _ in range(30):
        outbox.event(TOPICS.event, {"event_type": "x"})
    outbox.event(FRONT.event, {"event_type": "x"})
    assert [topic for topic, _ in told(outbox)] == [TOPICS.event] * 20 + [FRONT.event]
    clock.advance(1.0)
    assert len(drain(outbox)) == 5


def test_reply_is_given_up_after_a_minute(outbox: Outbox, clock: FakeClock) -> None:
    """A reply that no broker took for a minute is dropped; a younger one is sent with its correlation data."""
    outbox.reply(ReplyTo("hailod/client/a"), {"n": 1})
    clock.advance(50.0)
    outbox.reply(ReplyTo("hailod/client/b", b"\x00\xff"), {"n": 2})
    clock.advance(11.0)
    outbox.online()
    (reply,) = drain(outbox)
    assert (reply.topic, reply.correlation, reply.qos, reply.retain) == ("hailod/client/b", b"\x00\xff", 1, False)
    assert outbox.dropped == {"reply": 1}


def test_replies_are_bounded(outbox: Outbox) -> None:
    """A flood of commands during an outage keeps no more than 64 replies."""
    for number in range(100):
        outbox.reply(ReplyTo("hailod/client/a"), {"n": number})
    assert outbox.waiting[Kind.REPLY] == 64
    assert outbox.dropped == {"reply": 36}


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"fps": float("nan")}, Drop.NOT_JSON),
        ({"fps": float("inf")}, Drop.NOT_JSON),
        ({"array": object()}, Drop.NOT_JSON),
        ({"text": "\ud800"}, Drop.NOT_JSON),
        ({"text": "x" * MAX_DOCUMENT}, Drop.TOO_LARGE),
    ],
)
def test_unsendable_document_is_refused_counted_and_logged_once(
    outbox: Outbox, clock: FakeClock, document: dict[str, object], reason: Drop
) -> None:
    """What is no JSON or too large never reaches the network and does not block what follows; one log line says so."""
    outbox.online()
    with capture_logs() as lines:
        for _ in range(3):
            outbox.state(TOPICS.info, document)
            outbox.stream(TOPICS.metrics, document, 10.0)
            assert told(outbox) == [(TOPICS.info, "")], "what the broker may still hold is cleared"
            assert drain(outbox) == []
            clock.advance(1.0)
            outbox.offline()
            outbox.online()
    assert outbox.drops["state", reason] >= 3
    assert outbox.drops["metrics", reason] == 3
    assert [line["topic"] for line in lines] == [TOPICS.info, TOPICS.metrics]
    outbox.stream(TOPICS.metrics, {"fps": 1.0}, 10.0)
    assert (TOPICS.metrics, {"fps": 1.0}) in told(outbox)


def test_packet_limit_of_the_broker_is_kept(outbox: Outbox) -> None:
    """A document that with its topic exceeds the broker's largest packet is not sent to it, and said by name; smaller
    ones go on."""
    with capture_logs() as lines:
        outbox.online(max_packet=200)
        for number in range(3):
            outbox.state(TOPICS.info, {"n": number, "text": "x" * 180})
            outbox.state(TOPICS.models, {"n": number, "text": "x" * 100})
            outbox.event(TOPICS.event, {"text": "x" * 180})
            assert (TOPICS.models, {"n": number, "text": "x" * 100}) in told(outbox)
    assert outbox.drops["state", Drop.TOO_LARGE] == 3
    assert outbox.drops["event", Drop.TOO_LARGE] == 3
    assert [line["topic"] for line in lines] == [TOPICS.info, TOPICS.event]
    assert outbox.oversized.keys() == {TOPICS.info, TOPICS.event}
    assert all(size > 200 for size in outbox.oversized.values())
    outbox.state(TOPICS.info, {"n": 4})
    assert (TOPICS.info, {"n": 4}) in told(outbox)
    assert outbox.oversized.keys() == {TOPICS.event}
    outbox.offline()
    outbox.online(max_packet=None)
    assert outbox.oversized == {}


def test_broker_holds_no_older_state_than_the_present_one(outbox: Outbox) -> None:
    """When a state grows too large for the broker what it holds of it is cleared, once; when it fits again, or another
    broker takes it, it is told."""
    broker: dict[str, object] = {}

    def tell() -> int:
        messages = told(outbox)
        broker.update(messages)
        return len(messages)

    small, large = {"n": 1}, {"n": 2, "text": "x" * 180}
    outbox.online(max_packet=200)
    outbox.state(TOPICS.health, small)
    tell()
    outbox.state(TOPICS.health, large)
    assert tell() == 1
    assert broker == {TOPICS.health: ""}
    assert outbox.oversized.keys() == {TOPICS.health}, "what clears it is no sign that it fits"
    outbox.state(TOPICS.health, {**large, "n": 3})
    assert tell() == 0
    outbox.state(TOPICS.health, small)
    assert tell() == 1
    assert broker == {TOPICS.health: small}
    outbox.state(TOPICS.health, large)
    assert outbox.take() is not None, "the clearing is on its way"
    outbox.offline()
    outbox.online(max_packet=200)
    outbox.offline()
    outbox.online()
    assert tell() == 1
    assert broker == {TOPICS.health: large}


def test_too_large_frames_among_others_are_one_complaint(outbox: Outbox, clock: FakeClock) -> None:
    """Frames of which some are too large for the broker are told as the largest of them, not with each anew."""
    outbox.online(max_packet=200)
    seen = []
    for size in (50, 200, 50, 190, 50, 250):
        outbox.stream(FRONT.detections, {"x": "x" * size}, 5.0)
        drain(outbox)
        clock.advance(1.0)
        seen.append(outbox.oversized.get(FRONT.detections, 0))
    first, last = seen[1], seen[-1]
    assert seen == [0, first, first, first, first, last]
    assert last == first + 50


def test_clearing_that_was_under_way_does_not_cost_the_state_that_came_after_it(outbox: Outbox) -> None:
    """A camera that was removed and added again while the connection broke is told as it is."""
    outbox.online()
    outbox.state(FRONT.state, {"n": 1})
    drain(outbox)
    outbox.forget(FRONT.state)
    clearing = outbox.take()
    assert clearing is not None
    outbox.state(FRONT.state, {"n": 2})
    outbox.offline([clearing])
    outbox.online()
    assert told(outbox) == [(FRONT.state, {"n": 2})]


def test_an_hour_without_a_broker(outbox: Outbox, clock: FakeClock) -> None:
    """An hour in which everything goes on costs no more memory than a minute: of each state the latest is kept, events
    of the last ten minutes up to a thousand, nothing of the streams. What was given up is counted by reason, and what
    was kept is told in order, with its own time, at most fifty a second, after the status."""
    outbox.state(TOPICS.status, "online")
    outbox.online()
    drain(outbox)
    outbox.offline()
    happened: list[float] = []
    for second in range(3600):
        for topic in (FRONT.state, TOPICS.health):
            outbox.state(topic, {"ts": clock.wall(), "n": second}, CAMERA_STATE)
        outbox.stream(FRONT.detections, {"n": second}, 5.0)
        outbox.stream(TOPICS.metrics, {"n": second}, 1.0)
        if second % 60 == 0:
            outbox.reply(ReplyTo("hailod/client/a"), {"n": second})
        # Two a second in the first half hour are more than a thousand in ten minutes, one a second is less.
        for number in range(2 if second < 1800 else 1):
            happened.append(clock.wall() + number / 10)
            outbox.event(FRONT.event, {"event_type": "x", "ts": happened[-1]})
        waiting = outbox.waiting
        assert waiting[Kind.EVENT] <= 1000
        assert waiting[Kind.STATE] <= 2
        assert (waiting[Kind.STREAM], waiting[Kind.REPLY] <= 2) == (0, True)
        clock.advance(1.0)
    outbox.online()
    announced: list[str] = []
    replayed: list[tuple[float, Any]] = []
    while outbox.waiting[Kind.EVENT] or outbox.waiting[Kind.STATE]:
        for topic, document in told(outbox):
            if topic == FRONT.event:
                replayed.append((clock.monotonic(), document))
            else:
                announced.append(topic)
                assert not replayed, "events come after the status"
        clock.advance(outbox.wait_s() or 0.0)
    kept = happened[-600:]
    drops = outbox.drops
    assert drops["detections", Drop.OFFLINE] == drops["metrics", Drop.OFFLINE] == 3600
    assert drops["event", Drop.OVERFLOW] > 0
    assert drops["event", Drop.EXPIRED] > 0
    assert drops["event", Drop.OVERFLOW] + drops["event", Drop.EXPIRED] == len(happened) - len(kept)
    assert drops["reply", Drop.EXPIRED] == 59
    assert outbox.dropped["event"] == len(happened) - len(kept)
    assert outbox.losses["event"] == {
        "expired": drops["event", Drop.EXPIRED],
        "overflow": drops["event", Drop.OVERFLOW],
    }
    assert announced[-1] == "hailod/client/a"
    assert announced[:-1] == [TOPICS.health, FRONT.state, TOPICS.status]
    assert [document["ts"] for _, document in replayed] == kept
    assert {document["replayed"] for _, document in replayed} == {True}
    assert [document["seq"] for _, document in replayed] == list(range(len(happened) - 599, len(happened) + 1))
    moments = [moment for moment, _ in replayed]
    assert all(later - earlier >= 0.9 for earlier, later in zip(moments, moments[50:], strict=False))


def test_times_of_a_clock_that_is_not_set_say_so(outbox: Outbox, clock: FakeClock) -> None:
    """Every kind of document with a `ts` that was written before the clock was set says so, also when it is sent
    afterwards; nothing else does, and unchanged documents are not told more often for it."""
    outbox.clock_synced = False
    outbox.event(FRONT.event, {"ts": 1.0})
    outbox.online()
    outbox.state(TOPICS.status, "online")
    outbox.state(TOPICS.info, {"v": 1, "clock_synced": False})
    outbox.state(TOPICS.settings, {"v": 1})
    outbox.reply(ReplyTo("hailod/client/a"), {"ts": 1.0})
    outbox.stream(TOPICS.metrics, {"ts": 1.0}, 1.0)
    outbox.state(FRONT.state, {"ts": 1.0, "n": 1}, CAMERA_STATE)
    outbox.clock_synced = True
    found = dict(told(outbox))
    unset = {topic for topic, document in found.items() if "clock_synced" in document}
    assert unset == {FRONT.event, TOPICS.info, "hailod/client/a", TOPICS.metrics, FRONT.state}

    outbox.clock_synced = False
    for seconds in range(20):
        clock.advance(1.0)
        outbox.state(FRONT.state, {"ts": 2.0 + seconds, "n": 1}, CAMERA_STATE)
        assert told(outbox) == []
    outbox.clock_synced = True
    outbox.state(FRONT.state, {"ts": 30.0, "n": 1}, CAMERA_STATE)
    assert told(outbox) == [(FRONT.state, {"ts": 30.0, "n": 1})], "that the clock is set now is news, once"
    clock.advance(1.0)
    outbox.state(FRONT.state, {"ts": 31.0, "n": 1}, CAMERA_STATE)
    outbox.event(FRONT.event, {"ts": 31.0})
    ((_, event),) = told(outbox)
    assert "clock_synced" not in event


def test_producers_wake_the_sender(outbox: Outbox) -> None:
    """Everything that can be sent wakes the MQTT thread; a stream that is skipped does not."""
    wakes: list[None] = []
    outbox.attach(lambda: wakes.append(None))
    outbox.stream(TOPICS.metrics, {"fps": 1}, 1.0)
    assert len(wakes) == 0
    outbox.state(TOPICS.info, {"v": 1})
    outbox.event(TOPICS.event, {"v": 1})
    outbox.reply(ReplyTo("hailod/client/a"), {"v": 1})
    outbox.forget(TOPICS.info)
    assert len(wakes) == 4


def test_state_is_settled_when_the_broker_has_it(outbox: Outbox) -> None:
    """The latest of a topic is settled once it is acknowledged; an older one that is acknowledged is not enough."""
    assert outbox.settled([TOPICS.info])
    outbox.state(TOPICS.info, {"v": 1})
    assert not outbox.settled([TOPICS.info])
    outbox.online()
    assert not outbox.settled([TOPICS.info])
    first = outbox.take()
    assert first is not None
    outbox.state(TOPICS.info, {"v": 2})
    second = outbox.take()
    assert second is not None
    outbox.done(first)
    assert not outbox.settled([TOPICS.health, TOPICS.info])
    outbox.done(second)
    assert outbox.settled([TOPICS.health, TOPICS.info])
    outbox.state(TOPICS.info, {"v": 2})
    assert outbox.settled([TOPICS.info])


def test_clearing_is_settled_when_the_broker_has_it(outbox: Outbox) -> None:
    """The same holds for a topic that is cleared, and for one that was on its way when the broker went."""
    outbox.online()
    outbox.state(TOPICS.info, {"v": 1})
    drain(outbox)
    outbox.forget(TOPICS.info)
    assert not outbox.settled([TOPICS.info])
    lost = outbox.take()
    assert lost is not None
    outbox.offline([lost])
    assert not outbox.settled([TOPICS.info])
    outbox.online()
    drain(outbox)
    assert outbox.settled([TOPICS.info])


def test_state_that_was_lost_is_not_settled(outbox: Outbox) -> None:
    """What was on its way when the broker went is settled after it was told again, not before."""
    outbox.online()
    outbox.state(TOPICS.info, {"v": 1})
    lost = outbox.take()
    assert lost is not None
    outbox.offline([lost])
    assert not outbox.settled([TOPICS.info])
    outbox.online()
    assert not outbox.settled([TOPICS.info])
    drain(outbox)
    assert outbox.settled([TOPICS.info])


def test_state_that_cannot_be_sent_is_waited_for_by_nobody(outbox: Outbox) -> None:
    """A document that is refused for its size is settled: it is not going to get any further."""
    outbox.online()
    outbox.state(TOPICS.info, {"v": "x" * MAX_DOCUMENT})
    drain(outbox)
    assert outbox.settled([TOPICS.info])
