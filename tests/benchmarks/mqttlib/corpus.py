"""Valid commands, and what is done to them to make them hostile.

The names of commands and the keys that may be set are those that the parser itself gives in its refusals, so that new
ones are attacked as soon as they exist.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from hailod.mqtt import commands
from hailod.mqtt.messages import Inbound
from hailod.mqtt.topics import HOME_ASSISTANT_STATUS, Topics

# The interface's closed list.
CODES = frozenset(
    {
        "bad_json",
        "bad_args",
        "unknown_command",
        "unknown_camera",
        "model_not_found",
        "model_incompatible",
        "out_of_range",
        "revision_conflict",
        "busy",
        "rate_limited",
        "expired",
        "too_large",
        "retained_ignored",
        "forbidden",
        "device_unavailable",
        "timeout",
        "internal",
    }
)
MEGABYTE = b" " * (1 << 20)


@dataclass(frozen=True, slots=True)
class Hostile:
    """A message on its way to the node. `by` names the mutations that made it."""

    topic: str
    payload: bytes
    by: str = "valid"
    retain: bool = False
    response_topic: str | None = None
    correlation: bytes | None = None
    expiry: int | None = None

    def inbound(self, received: float, most: int) -> Inbound:
        """As the MQTT session hands it over: never more than `most` bytes."""
        return Inbound(
            self.topic,
            self.payload[:most],
            self.retain,
            received,
            self.response_topic,
            self.correlation,
            None if self.expiry is None else float(self.expiry),
        )


@dataclass(frozen=True, slots=True)
class Names:
    """What there is on the node under attack."""

    topics: Topics
    cameras: Sequence[str]
    models: Sequence[str]


def known(names: Names) -> tuple[list[str], list[str], list[str]]:
    """The commands, the node's keys and the cameras' keys that the parser knows."""
    topics = names.topics

    def allowed(topic: str) -> list[str]:
        parsed = commands.parse(Inbound(topic, b"{}", False, 0.0), topics)
        assert isinstance(parsed, commands.Refusal)
        assert parsed.error.allowed, topic
        return [str(name) for name in parsed.error.allowed]

    return (
        allowed(f"{topics.base}/cmd/no.such.command"),
        allowed(topics.set("no-such-key")),
        allowed(f"{topics.camera(names.cameras[0]).base}/set/no-such-key"),
    )


def valid(names: Names) -> list[Hostile]:
    """What is mutated: every command with arguments as the interface has them, and every key with likely values."""
    topics, camera, model = names.topics, names.cameras[0], names.models[-1]
    arguments: dict[str, list[object]] = {
        "ping": [None, {"echo": [1, 2.5, "ä"]}],
        "model.swap": [{"model": model}, {"model": model, "camera": camera}],
        "settings.set": [
            {"cameras": {camera: {"threshold": 0.6, "max_fps": 9}}},
            {"node": {"log_level": "info", "model": model}, "models": {model: {"batch_size": 2}}},
        ],
        "settings.reset": [None, {"path": f"cameras.{camera}.threshold"}],
        "device.release": [{"for_s": 60.0}],
        "device.restart": [{"mode": "soft", "force": True}],
        "camera.add": [{"camera": "extra", "source": "rtsp://user:secret@192.0.2.1/stream?token=t"}],
        "camera.remove": [{"camera": camera}],
        "camera.enable": [{"camera": camera}],
        "camera.disable": [{"camera": camera}],
        "camera.restart": [{"camera": camera}],
        "snapshot.take": [{"camera": camera}],
        "model.add": [
            {"name": "extra", "path": "extra.hef"},
            {"name": "extra", "url": "https://models.example/extra.hef", "sha256": "0" * 64},
        ],
        "model.remove": [{"name": model}],
        "profile.capture": [{"duration_s": 1.0}],
    }
    found, node_keys, camera_keys = known(names)
    seeds = []
    for name in found:
        for args in arguments.get(name, [None, {"camera": camera}]):
            envelope = {"id": "a1", "args": args, "timeout_s": 5.0, "if_revision": 1, "persist": True}
            seeds.append(Hostile(f"{topics.base}/cmd/{name}", json.dumps(envelope).encode()))
            seeds.append(Hostile(f"{topics.base}/cmd/{name}", json.dumps({"args": args, "dry_run": True}).encode()))
    scalars = ("ON", "OFF", "0.5", "10", "info", model)
    seeds += [Hostile(topics.set(key), value.encode()) for key in node_keys for value in scalars]
    seeds += [
        Hostile(f"{topics.camera(name).base}/set/{key}", value.encode())
        for name in names.cameras
        for key in camera_keys
        for value in scalars
    ]
    seeds += [Hostile(HOME_ASSISTANT_STATUS, value) for value in (b"online", b"offline")]
    return seeds


Mutation = Callable[[Hostile, random.Random], Hostile]

_TRAVERSAL = (
    "../../../../etc/passwd",
    "/etc/shadow",
    "..",
    ".",
    "file:///etc/passwd",
    "....//....//etc/hailod/hailod.toml",
    "%2e%2e%2fhailod.toml",
    "models/../../state/overrides.json",
    "~root",
    "C:\\windows\\win.ini",
    "a.hef\x00.toml",
)
_INJECTED = (
    "+",
    "#",
    "a/b",
    "/",
    "",
    "a/+/b",
    "$SYS/broker",
    "a\x00b",
    "a\nb",
    "\u202eb",
    "a b",
    "client",
    "é",
    "a" * 300,
)
_ELSEWHERE = (
    "homeassistant/device/evil/config",
    "homeassistant/status",
    "hailod/other/cmd/device.restart",
    "hailod/other/reply/ping",
    "hailod/client",
    "hailod/client/",
    "hailod/{node}/cmd/ping",
    "hailod/{node}/status",
    "hailod/{node}/reply/",
    "hailod/{node}/replyx/ping",
    "$SYS/broker/version",
    "$share/group/hailod/client/x",
    "hailod/client/" + "y" * 400,
    "zigbee2mqtt/bridge/request/restart",
    "frigate/events",
    " hailod/client/x",
)
_WILD = ("hailod/client/#", "hailod/client/+/x", "#", "hailod/client/\x00", "hailod/client/a\nb")
_ODD: tuple[object, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1.5,
    "",
    "x",
    [],
    {},
    [[]],
    {"a": {}},
    2**63,
    -(2**63),
    1e308,
    "1",
    "ON",
)
_NUMBERS = (
    "1e999",
    "-1e999",
    "1e308",
    "1" + "0" * 400,
    "1" * 5000,
    "-0",
    "0.0000000001",
    "9" * 19,
    "1e-400",
    "00",
    "+1",
    ".5",
)
_CONSTANTS = ("NaN", "Infinity", "-Infinity", "nan", "inf", "undefined", "None")


def _bad_utf8(message: Hostile, rng: random.Random) -> Hostile:
    at = rng.randrange(len(message.payload) + 1)
    junk = rng.choice((b"\xff\xfe", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\x80", b"\xe2\x82"))
    return replace(message, payload=message.payload[:at] + junk + message.payload[at:])


def _flipped(message: Hostile, rng: random.Random) -> Hostile:
    data = bytearray(message.payload or b"x")
    for _ in range(rng.randint(1, 4)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return replace(message, payload=bytes(data))


def _cut(message: Hostile, rng: random.Random) -> Hostile:
    return replace(message, payload=message.payload[: rng.randrange(len(message.payload) + 1)])


def _spliced(message: Hostile, rng: random.Random) -> Hostile:
    at, size = rng.randrange(len(message.payload) + 1), rng.randint(1, 12)
    return replace(message, payload=message.payload[:at] + rng.randbytes(size) + message.payload[at:])


def _nested(message: Hostile, rng: random.Random) -> Hostile:
    depth = rng.choice((7, 8, 9, 50, 1000, 3900))
    left, right = rng.choice((("[", "]"), ('{"a":', "}")))
    body = left * min(depth, 4000 // len(left)) + "1" + right * min(depth, 4000 // len(left))
    return replace(message, payload=f'{{"id":"n","args":{body}}}'.encode())


def _leaf(message: Hostile, rng: random.Random, text: str) -> Hostile:
    """One value anywhere in the document becomes `text`, written as it is; a scalar is it."""
    try:
        document = json.loads(message.payload)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or not document:
        return replace(message, payload=text.encode(errors="surrogatepass"))
    places = list(_places(document))
    container, key = rng.choice(places)
    container[key] = "@here@"
    payload = json.dumps(document).replace('"@here@"', text)
    return replace(message, payload=payload.encode(errors="surrogatepass"))


def _places(value: object) -> list[tuple[dict, object]]:  # type: ignore[type-arg]
    found = []
    if isinstance(value, dict):
        for key, inner in value.items():
            found += [(value, key), *_places(inner)]
    return found


def _number(message: Hostile, rng: random.Random) -> Hostile:
    return _leaf(message, rng, rng.choice(_NUMBERS))


def _not_finite(message: Hostile, rng: random.Random) -> Hostile:
    return _leaf(message, rng, rng.choice(_CONSTANTS))


def _wrong_type(message: Hostile, rng: random.Random) -> Hostile:
    return _leaf(message, rng, json.dumps(rng.choice(_ODD)))


def _traversal(message: Hostile, rng: random.Random) -> Hostile:
    return _leaf(message, rng, json.dumps(rng.choice(_TRAVERSAL)))


def _injected(message: Hostile, rng: random.Random) -> Hostile:
    return _leaf(message, rng, json.dumps(rng.choice(_INJECTED)))


def _surrogate(message: Hostile, rng: random.Random) -> Hostile:
    return _leaf(message, rng, rng.choice(('"\\ud800"', '"\\udfff\\ud800"', '"\\u0000"', '"\\ud83d\\ude00"', '"\\x"')))


def _growing(message: Hostile, rng: random.Random) -> Hostile:
    """Short to say, long to repeat."""
    value = rng.choice(("1e15", "1e-5", '"\\u0001"', "1E9"))
    count = rng.randint(100, 8100 // (len(value) + 1))
    return replace(message, payload=f'{{"args":[{",".join([value] * count)}]}}'.encode())


def _duplicate(message: Hostile, rng: random.Random) -> Hostile:
    key = rng.choice(("id", "args", "persist", "dry_run", "x"))
    return replace(message, payload=f'{{"{key}":1,"{key}":2,'.encode() + message.payload.lstrip(b"{ "))


def _extra(message: Hostile, rng: random.Random) -> Hostile:
    key = rng.choice(("__proto__", "__class__", "v", "", "a" * 500, "args\x00", "\u202e", "source", "password"))
    return replace(message, payload=f"{{{json.dumps(key)}:1,".encode() + message.payload.lstrip(b"{ "))


def _no_object(message: Hostile, rng: random.Random) -> Hostile:
    return replace(
        message, payload=rng.choice((b"[]", b'""', b"1", b"null", b"true", b"{", b"}", b"{}", b" ", b"\x00"))
    )


def _oversize(message: Hostile, rng: random.Random) -> Hostile:
    size = rng.choices((8192, 8193, 9000, 20_000, 60_000, 1 << 20), (4, 6, 4, 2, 1, 0.2))[0]
    return replace(message, payload=message.payload + MEGABYTE[: max(size - len(message.payload), 0)])


def _long_id(message: Hostile, rng: random.Random) -> Hostile:
    identity = rng.choice(("i" * 64, "i" * 65, "i" * 4000, "é" * 64, "\x00" * 64, "", "ha-button", "same"))
    return replace(message, payload=json.dumps({"id": identity, "args": {"model": "x"}}).encode())


def _elsewhere(message: Hostile, rng: random.Random) -> Hostile:
    node = message.topic.split("/")[1:2] or ["x"]
    return replace(message, response_topic=rng.choice(_ELSEWHERE).format(node=node[0]))


def _wild(message: Hostile, rng: random.Random) -> Hostile:
    return replace(message, response_topic=rng.choice(_WILD))


def _correlation(message: Hostile, rng: random.Random) -> Hostile:
    return replace(message, correlation=rng.randbytes(rng.choice((0, 1, 64, 1000, 16_000, 60_000))))


def _retained(message: Hostile, _rng: random.Random) -> Hostile:
    return replace(message, retain=True)


def _empty(message: Hostile, _rng: random.Random) -> Hostile:
    return replace(message, payload=b"")


def _expired(message: Hostile, rng: random.Random) -> Hostile:
    return replace(message, expiry=rng.choice((0, 1, 2**32 - 1)))


def _renamed(message: Hostile, rng: random.Random) -> Hostile:
    """Another name in the last level of the topic, or in the camera's."""
    levels = message.topic.split("/")
    place = 3 if len(levels) > 4 and rng.random() < 0.5 else -1
    plain = ("unknown", "..", ".", "$SYS", "PING", "ping ", "model.swap.", "é", "x" * 64, "x" * 65, "x" * 2000, "a-b_c")
    levels[place] = rng.choice(plain)
    return replace(message, topic="/".join(levels))


def _crossed(message: Hostile, rng: random.Random) -> Hostile:
    """A payload where another is expected."""
    payload = rng.choice(
        (b"ON", b"0.5", b'{"args":{}}', b'{"id":"x"}', b"online", b"PRESS", b'"ON"', b"1,5", b"0x10", b"1_0")
    )
    return replace(message, payload=payload)


def _spaced(message: Hostile, rng: random.Random) -> Hostile:
    junk = rng.choice((b" ", b"\n\t", b"\xef\xbb\xbf", b"\x00", b"\xc2\xa0", b"\x0b"))
    return replace(message, payload=rng.choice((junk + message.payload, message.payload + junk)))


# As the broker can carry them.
MUTATIONS: tuple[Mutation, ...] = (
    _bad_utf8,
    _flipped,
    _cut,
    _spliced,
    _nested,
    _number,
    _not_finite,
    _wrong_type,
    _traversal,
    _injected,
    _surrogate,
    _growing,
    _duplicate,
    _extra,
    _no_object,
    _oversize,
    _long_id,
    _elsewhere,
    _correlation,
    _retained,
    _empty,
    _expired,
    _renamed,
    _crossed,
    _spaced,
)


def _bad_topic(message: Hostile, rng: random.Random) -> Hostile:
    """What no broker passes on."""
    junk = rng.choice(("+", "#", "/", "\x00", "a/b", "$SYS", "", "\ud800"))
    return replace(message, topic=rng.choice((f"{message.topic}{junk}", f"{junk}{message.topic}", junk)))


# What a broker refuses is tried where there is none.
BEYOND_BROKERS: tuple[Mutation, ...] = (_bad_topic, _wild)


def stream(names: Names, seed: int, *, broker: bool) -> Callable[[], Hostile]:
    """An endless supply of hostile messages, the same for the same seed. `broker`: only what one carries."""
    rng = random.Random(seed)
    seeds = valid(names)
    # By topic first: keys with many likely values are attacked no more than others.
    by_topic: dict[str, list[Hostile]] = {}
    for message in seeds:
        by_topic.setdefault(message.topic, []).append(message)
    topics = list(by_topic)
    mutations = MUTATIONS if broker else (*MUTATIONS, *BEYOND_BROKERS)

    def draw() -> Hostile:
        message = rng.choice(by_topic[rng.choice(topics)])
        chosen = rng.sample(mutations, rng.choices((1, 2, 3), (7, 2, 1))[0])
        for mutation in chosen:
            message = mutation(message, rng)
        return replace(message, by=chosen[-1].__name__.strip("_"))

    return draw
