"""What holds for any traffic."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from hailod.clock import FakeClock
from hailod.mqtt import commands
from hailod.mqtt.lanes import Drop, Kind
from hailod.mqtt.messages import Inbound, ReplyTo
from hailod.mqtt.outbox import CAMERA_STATE, ON_CHANGE, Outbox, Outgoing, encode
from hailod.mqtt.topics import Topics

TOPICS = Topics("pi")
TOPIC_TEXT = st.sampled_from(
    [
        "hailod/pi/cmd/ping",
        "hailod/pi/cmd/model.swap",
        "hailod/pi/cmd/device.restart",
        "hailod/pi/cam/front/set/enabled",
        "hailod/pi/cam/front/set/threshold",
        "hailod/pi/cam/front/set/max_fps",
        "hailod/pi/set/model",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
ENVELOPES = st.dictionaries(
    st.sampled_from(["id", "args", "timeout_s", "if_revision", "persist", "dry_run"]) | st.text(), VALUES, max_size=6
).map(lambda document: json.dumps(document).encode())


@settings(max_examples=300)
@given(
    topic=TOPIC_TEXT | st.text().map(lambda text: f"hailod/pi/cmd/{text}"),
    payload=st.binary(max_size=9000) | ENVELOPES,
    retain=st.booleans(),
    response_topic=st.none() | st.text() | st.text().map(lambda text: f"hailod/client/{text}"),
    correlation=st.none() | st.binary(max_size=64),
)
def test_any_message_gets_a_coded_reply_or_silence(
    topic: str, payload: bytes, retain: bool, response_topic: str | None, correlation: bytes | None
) -> None:
    """Whatever comes in, it is a command, a refusal with a code and a reply that can be sent, or nobody's; no error."""
    message = Inbound(topic, payload, retain, 0.0, response_topic, correlation)
    parsed = commands.parse(message, TOPICS)
    if parsed is None:
        return
    if isinstance(parsed, commands.Refusal):
        reply = commands.error(parsed.origin, parsed.error, FakeClock())
        assert parsed.error.code in {"bad_json", "bad_args", "unknown_command", "out_of_range", "too_large"} | {
            "retained_ignored"
        }
        assert len(encode(reply)) < 4096
    else:
        assert not retain
        assert len(payload) <= commands.MAX_BYTES
        encode(commands.ok(parsed.origin, None, FakeClock()))
    to = parsed.origin.reply_to
    if to is not None:
        assert to.topic.startswith(("hailod/pi/reply/", "hailod/client/"))
        assert not set(to.topic) & set("+#\0")


STEPS = st.lists(
    st.sampled_from(["state", "camera", "stream", "event", "reply", "forget", "take", "ack", "online", "offline"])
    | st.floats(min_value=0.01, max_value=700.0),
    max_size=120,
)


@settings(max_examples=200)
@given(steps=STEPS)
def test_no_event_is_lost_uncounted_and_the_last_state_wins(steps: list[str | float]) -> None:
    """Whatever happens, each event is acknowledged or counted as dropped, in order per topic, and once all is calm the
    broker holds the latest state."""
    clock = FakeClock()
    outbox = Outbox(TOPICS, clock)
    online = False
    flight: list[Outgoing] = []
    broker: dict[str, bytes] = {}
    acknowledged: list[int] = []
    latest: dict[str, bytes] = {}
    events = 0

    def deliver(outgoing: Outgoing) -> None:
        outbox.done(outgoing)
        if outgoing.retain:
            broker[outgoing.topic] = outgoing.payload
        if outgoing.message.kind is Kind.EVENT:
            acknowledged.append(json.loads(outgoing.payload)["seq"])

    for number, step in enumerate(steps):
        match step:
            case "state" | "camera":
                topic, policy = (
                    (TOPICS.settings, ON_CHANGE) if step == "state" else (TOPICS.camera("a").state, CAMERA_STATE)
                )
                outbox.state(topic, {"n": number}, policy)
                latest[topic] = encode({"n": number})
            case "forget":
                outbox.forget(TOPICS.settings)
                latest[TOPICS.settings] = b""
            case "stream":
                outbox.stream(TOPICS.metrics, {"n": number}, 1.0)
            case "event":
                outbox.event(TOPICS.camera("a").event, {"n": number})
                events += 1
            case "reply":
                outbox.reply(ReplyTo("hailod/client/x"), {"n": number})
            case "take":
                outgoing = outbox.take(room=len(flight) < 3)
                if outgoing is not None:
                    assert online
                    flight.append(outgoing)
            case "ack" if flight:
                deliver(flight.pop(0))
            case "online" if not online:
                outbox.online()
                online = True
            case "offline" if online:
                outbox.offline(flight)
                flight.clear()
                online = False
            case float():
                clock.advance(step)
    for outgoing in flight:
        deliver(outgoing)
    if not online:
        outbox.online()
    while (wait := outbox.wait_s()) is not None:
        clock.advance(wait)
        while (outgoing := outbox.take()) is not None:
            deliver(outgoing)
    dropped = sum(count for (kind, _), count in outbox.drops.items() if kind == "event")
    assert len(acknowledged) + dropped == events
    assert acknowledged == sorted(acknowledged)
    assert broker == latest
    assert outbox.drops.get(("state", Drop.OVERFLOW), 0) == 0
