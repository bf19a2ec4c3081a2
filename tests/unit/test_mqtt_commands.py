"""Commands: what is run, what is refused and how, and what is answered."""

from __future__ import annotations

import json

import pytest

from hailod.clock import FakeClock
from hailod.errors import CommandError
from hailod.mqtt import commands
from hailod.mqtt.commands import (
    COMMANDS,
    NODE_SCALARS,
    DeviceAcquire,
    DeviceRelease,
    DeviceRestart,
    ModelSwap,
    Ping,
    Refusal,
    Request,
    SetCamera,
    SetNode,
)
from hailod.mqtt.messages import Inbound, ReplyTo
from hailod.mqtt.topics import Topics

TOPICS = Topics("pi")


def inbound(topic: str, payload: bytes | str, **more: object) -> Inbound:
    raw = payload.encode() if isinstance(payload, str) else payload
    values: dict[str, object] = {"retain": False, "received": 1000.0, **more}
    return Inbound(f"hailod/pi/{topic}", raw, **values)  # type: ignore[arg-type]


def run(topic: str, payload: bytes | str, **more: object) -> Request:
    parsed = commands.parse(inbound(topic, payload, **more), TOPICS)
    assert isinstance(parsed, Request), parsed
    return parsed


def refused(topic: str, payload: bytes | str, **more: object) -> Refusal:
    parsed = commands.parse(inbound(topic, payload, **more), TOPICS)
    assert isinstance(parsed, Refusal), parsed
    return parsed


def test_commands_are_read() -> None:
    """The commands of the interface arrive as what they mean."""
    assert run("cmd/ping", '{"args":{"a":[1,"x"]}}').command == Ping(args={"a": [1, "x"]})
    assert run("cmd/model.swap", '{"args":{"model":"yolov8m"}}').command == ModelSwap(model="yolov8m")
    swap = run("cmd/model.swap", '{"args":{"model":"yolov8m","camera":"front"}}').command
    assert swap == ModelSwap(model="yolov8m", camera="front")
    assert run("cmd/device.restart", "{}").command == DeviceRestart(mode="soft", force=False)
    restart = run("cmd/device.restart", '{"args":{"mode":"reset","force":true}}').command
    assert restart == DeviceRestart(mode="reset", force=True)


@pytest.mark.parametrize(
    ("args", "for_s"), [(None, 3600.0), ({}, 3600.0), ({"for_s": 1}, 1.0), ({"for_s": 86400}, 86400.0)]
)
def test_release_has_a_time(args: object, for_s: float) -> None:
    """The device is lent for an hour unless another time is given."""
    assert run("cmd/device.release", json.dumps({"args": args})).command == DeviceRelease(for_s=for_s)


@pytest.mark.parametrize(
    ("name", "args", "code"),
    [
        ("device.release", {"for_s": 0.5}, "out_of_range"),
        ("device.release", {"for_s": 86401}, "out_of_range"),
        ("device.release", {"for_s": "600"}, "bad_args"),
        ("device.release", {"for": 600}, "bad_args"),
        ("device.acquire", {"for_s": 600}, "bad_args"),
    ],
)
def test_time_of_a_loan_is_bounded(name: str, args: object, code: str) -> None:
    """A loan lasts a second at least and a day at most, and its end takes no arguments."""
    assert refused(f"cmd/{name}", json.dumps({"args": args})).error.code == code


@pytest.mark.parametrize(
    ("payload", "command"), [("OFF", DeviceRelease()), ("ON", DeviceAcquire()), (" off\n", DeviceRelease())]
)
def test_device_is_a_switch(payload: str, command: object) -> None:
    """OFF lends the device for the usual time and ON takes it back, so that a switch needs one topic."""
    request = run("set/device", payload)
    assert (request.command, request.origin.name, request.origin.reply_to) == (command, "set/device", None)


def test_switch_takes_on_and_off_alone() -> None:
    """Any other word names the two that are allowed, and any other key those that there are."""
    assert refused("set/device", "maybe").error.allowed == ("ON", "OFF")
    assert refused("set/colour", "ON").error.allowed == tuple(NODE_SCALARS)


def test_privacy_is_a_switch_of_camera_and_node() -> None:
    """ON and OFF are taken for one camera and for the node, and nothing else is."""
    assert run("set/privacy", "ON").command == SetNode(key="privacy", value=True)
    assert run("cam/front/set/privacy", " off").command == SetCamera(camera="front", key="privacy", value=False)
    assert refused("cam/front/set/privacy", "perhaps").error.code == "bad_args"


def test_envelope_is_read() -> None:
    """Id, deadline, revision, persistence and dry run come with the request."""
    request = run("cmd/ping", '{"id":"a1","timeout_s":5,"if_revision":7,"persist":false,"dry_run":true}')
    assert request.origin.id == "a1"
    assert request.deadline == 1005.0
    assert (request.if_revision, request.persist, request.dry_run) == (7, False, True)


@pytest.mark.parametrize(
    ("timeout", "expiry", "seconds"), [(None, None, 60.0), (30, None, 30.0), (30, 5, 5.0), (None, 300, 60.0)]
)
def test_deadline_is_the_earliest(timeout: float | None, expiry: float | None, seconds: float) -> None:
    """A command is stale after its own time-out, its message's expiry or a minute, whichever is first."""
    payload = json.dumps({} if timeout is None else {"timeout_s": timeout})
    assert run("cmd/ping", payload, expiry=expiry).deadline == 1000.0 + seconds


@pytest.mark.parametrize(
    ("key", "payload", "value"),
    [
        ("enabled", "ON", True),
        ("enabled", "off", False),
        ("enabled", "true", True),
        ("enabled", " 0\n", False),
        ("threshold", "0.45", 0.45),
        ("threshold", "5e-1", 0.5),
        ("max_fps", "15", 15.0),
    ],
)
def test_scalars_are_read(key: str, payload: str, value: object) -> None:
    """A camera's settings are set by plain ON, OFF and numbers."""
    request = run(f"cam/front/set/{key}", payload)
    assert request.command == SetCamera(camera="front", key=key, value=value)  # type: ignore[arg-type]
    assert request.origin.reply_to is None
    assert (request.origin.name, request.origin.camera) == (f"set/{key}", "front")


@pytest.mark.parametrize(
    ("key", "payload", "code"),
    [
        ("enabled", "maybe", "bad_args"),
        ("enabled", b"\xff\xfe", "bad_args"),
        ("threshold", "0.96", "out_of_range"),
        ("threshold", "0.01", "out_of_range"),
        ("threshold", "nan", "bad_args"),
        ("threshold", "inf", "bad_args"),
        ("threshold", "1e999", "out_of_range"),
        ("threshold", "0x1", "bad_args"),
        ("threshold", "1_0", "bad_args"),
        ("threshold", "\u0661", "bad_args"),
        ("max_fps", "0", "out_of_range"),
        ("max_fps", "-3", "out_of_range"),
        ("max_fps", "15 fps", "bad_args"),
        ("max_fps", "1" * 9000, "too_large"),
        ("color", "red", "unknown_command"),
    ],
)
def test_bad_scalars_are_refused_by_code(key: str, payload: bytes | str, code: str) -> None:
    """A value that cannot be is refused with a code and the key, whatever it is made of."""
    error = refused(f"cam/front/set/{key}", payload).error
    assert error.code == code
    assert code == "too_large" or error.field == key


@pytest.mark.parametrize(
    ("payload", "code", "field"),
    [
        ("not json", "bad_json", None),
        ("[]", "bad_json", None),
        ('{"id":"a","id":"b"}', "bad_json", None),
        ('{"args":{"x":NaN}}', "bad_json", None),
        ('{"args":-Infinity}', "bad_json", None),
        ('{"args":1e999}', "bad_json", None),
        ('{"args":' + "9" * 5000 + "}", "bad_json", None),
        ('{"args":"\\ud800"}', "bad_json", None),
        (b'{"args":"\xff"}', "bad_json", None),
        ('{"args":' + "[" * 8 + "]" * 8 + "}", "bad_json", None),
        ("[" * 8000, "bad_json", None),
        ('{"args":{"x":' * 900 + "1" + "}}" * 900, "too_large", None),
        ('{"args":[' + "1e15," * 1500 + "1]}", "too_large", "args"),
        ('{"timeout":5}', "bad_args", "timeout"),
        ('{"id":7}', "bad_args", "id"),
        ('{"id":"' + "x" * 65 + '"}', "bad_args", "id"),
        ('{"timeout_s":0}', "out_of_range", "timeout_s"),
        ('{"timeout_s":"5"}', "bad_args", "timeout_s"),
        ('{"dry_run":1}', "bad_args", "dry_run"),
        ('{"if_revision":-1}', "out_of_range", "if_revision"),
    ],
)
def test_bad_envelopes_are_refused_by_code(payload: bytes | str, code: str, field: str | None) -> None:
    """A broken, doubtful or misspelt command is refused as a whole, with the code and the field."""
    error = refused("cmd/ping", payload).error
    assert (error.code, error.field) == (code, field)


@pytest.mark.parametrize(
    ("command", "args", "field"),
    [
        ("model.swap", {}, "args.model"),
        ("model.swap", {"model": "../../etc/passwd"}, "args.model"),
        ("model.swap", {"model": "m", "camera": 1}, "args.camera"),
        ("model.swap", {"model": "m", "extra": 1}, "args.extra"),
        ("model.swap", [], "args"),
        ("device.restart", {"mode": "hard"}, "args.mode"),
        ("device.restart", {"force": "yes"}, "args.force"),
    ],
)
def test_bad_arguments_are_refused_by_field(command: str, args: object, field: str) -> None:
    """The error names the argument that is wrong."""
    error = refused(f"cmd/{command}", json.dumps({"args": args})).error
    assert (error.code, error.field) == ("bad_args", field)


def test_unknown_command_names_the_known_ones() -> None:
    """A command that does not exist is answered with those that do."""
    refusal = refused("cmd/reboot", '{"id":"x"}')
    assert refusal.error.code == "unknown_command"
    assert refusal.error.allowed == tuple(COMMANDS)
    assert refusal.origin.id == "x"


def test_retained_message_is_refused_and_to_be_cleared() -> None:
    """A retained command never runs, and the broker is to forget it."""
    for topic, payload in (("cmd/model.swap", '{"id":"7"}'), ("cam/front/set/enabled", "OFF"), ("cmd/ping", "junk")):
        refusal = refused(topic, payload, retain=True)
        assert refusal.error.code == "retained_ignored"
        assert refusal.clear
        assert refusal.origin.topic == f"hailod/pi/{topic}"
    assert refused("cmd/ping", '{"id":"7"}', retain=True).origin.id == "7"


def test_silence_by_rule() -> None:
    """An empty payload, which clears a topic, and topics of nobody get no answer."""
    assert commands.parse(inbound("cmd/ping", b""), TOPICS) is None
    assert commands.parse(inbound("cmd/ping", b"", retain=True), TOPICS) is None
    assert commands.parse(inbound("cmd/PING", "{}"), TOPICS) is None
    assert commands.parse(Inbound("homeassistant/status", b"online", False, 0.0), TOPICS) is None


@pytest.mark.parametrize(
    ("wish", "topic"),
    [
        (None, "hailod/pi/reply/ping"),
        ("hailod/client/me", "hailod/client/me"),
        ("hailod/pi/reply/x/y", "hailod/pi/reply/x/y"),
        ("homeassistant/device/x/config", "hailod/pi/reply/ping"),
        ("hailod/pi/status", "hailod/pi/reply/ping"),
        ("hailod/client/", "hailod/pi/reply/ping"),
        ("hailod/client/#", "hailod/pi/reply/ping"),
        ("hailod/client/+/x", "hailod/pi/reply/ping"),
        ("hailod/client/a\x00", "hailod/pi/reply/ping"),
        ("hailod/client/" + "x" * 300, "hailod/pi/reply/ping"),
    ],
)
def test_reply_goes_only_where_replies_may_go(wish: str | None, topic: str) -> None:
    """A Response Topic outside the allowed prefixes, or one that is no topic, is not used."""
    request = run("cmd/ping", "{}", response_topic=wish, correlation=b"\x01")
    assert request.origin.reply_to == ReplyTo(topic, b"\x01")


def test_replies_are_the_contracts() -> None:
    """The three replies have the form of the interface, with how long it took."""
    clock = FakeClock(monotonic=1000.842, wall=1795289112.5)
    origin = run("cmd/model.swap", '{"id":"a1b2","args":{"model":"yolov8m"}}').origin
    head = {"v": 1, "id": "a1b2", "cmd": "model.swap"}
    assert commands.accepted(origin, "j-91", clock) == {
        **head,
        "status": "accepted",
        "job": "j-91",
        "ts": 1795289112.5,
    }
    assert commands.ok(origin, {"model": "yolov8m"}, clock) == {
        **head,
        "status": "ok",
        "data": {"model": "yolov8m"},
        "took_ms": 842,
        "ts": 1795289112.5,
    }
    error = CommandError("model_not_found", "no model 'yolov9'", field="args.model", allowed=["yolov8s"])
    assert commands.error(origin, error, clock) == {
        **head,
        "status": "error",
        "error": {
            "code": "model_not_found",
            "message": "no model 'yolov9'",
            "retryable": False,
            "field": "args.model",
            "allowed": ["yolov8s"],
        },
        "took_ms": 842,
        "ts": 1795289112.5,
    }


def test_failed_setting_is_an_event() -> None:
    """What `command_failed` tells of a refused `set/...`: code, field and camera."""
    refusal = refused("cam/front/set/threshold", "2")
    event = commands.failure(refusal.origin, refusal.error)
    assert (event["cmd"], event["camera"], event["code"], event["field"]) == (
        "set/threshold",
        "front",
        "out_of_range",
        "threshold",
    )


def test_same_id_runs_once_and_gets_the_same_reply() -> None:
    """A repeated command is not run again; it gets the stored reply once there is one."""
    clock = FakeClock()
    cache = commands.ReplyCache(clock)
    origin = run("cmd/ping", '{"id":"a"}').origin
    assert cache.claim(origin)
    assert not cache.claim(origin)
    assert cache.stored(origin) is None
    reply = commands.ok(origin, None, clock)
    cache.store(origin, reply)
    assert not cache.claim(origin)
    assert cache.stored(origin) == reply
    clock.advance(601.0)
    assert cache.claim(origin)


def test_different_commands_of_one_id_are_different() -> None:
    """An id used for something else, no id, and Home Assistant's button are never taken for a repetition."""
    cache = commands.ReplyCache(FakeClock())
    assert cache.claim(run("cmd/ping", '{"id":"a"}').origin)
    assert cache.claim(run("cmd/ping", '{"id":"a","args":1}').origin)
    assert cache.claim(run("cmd/device.restart", '{"id":"a"}').origin)
    for payload in ("{}", '{"id":"ha-button"}'):
        origin = run("cmd/device.restart", payload).origin
        assert cache.claim(origin)
        assert cache.claim(origin)


def test_reply_cache_is_bounded() -> None:
    """No more than 256 replies are kept."""
    clock = FakeClock()
    cache = commands.ReplyCache(clock)
    origins = [run("cmd/ping", json.dumps({"id": str(n)})).origin for n in range(300)]
    for origin in origins:
        cache.claim(origin)
        cache.store(origin, {})
    assert cache.stored(origins[0]) is None
    assert cache.stored(origins[43]) is None
    assert cache.stored(origins[44]) == {}


def test_commands_are_rate_limited() -> None:
    """More than 10 commands a second are refused as `rate_limited`, which may be tried again."""
    clock = FakeClock()
    limit = commands.RateLimit(clock)
    for _ in range(16):
        limit.check()
    with pytest.raises(CommandError) as caught:
        limit.check()
    assert (caught.value.code, caught.value.retryable) == ("rate_limited", True)
    clock.advance(0.1)
    limit.check()
