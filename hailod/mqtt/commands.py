"""The control plane's language: from an inbound message to a command, and from its outcome to a reply. Pure.

    match parse(inbound, topics):
        case None:        not for us, silence
        case Refusal():   never ran; answer, and clear the topic if told so
        case Request():   run it unless `ReplyCache.claim` says that it was run before

Nothing of a message is believed: its size, depth, encoding, types, names and ranges are checked here; whether a camera
or model exists is for the control thread to say.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from hailod.clock import Clock
from hailod.config.model import CameraSettings, Name
from hailod.errors import CommandError
from hailod.mqtt import strict_json
from hailod.mqtt.bucket import TokenBucket
from hailod.mqtt.messages import Inbound, ReplyTo
from hailod.mqtt.payloads import VERSION, Payload
from hailod.mqtt.topics import Kind, Target, Topics

MAX_BYTES = 8192
MAX_DEPTH = 8
MAX_ID = 64
LONGEST_DEADLINE = 60.0

# Home Assistant's buttons send a constant payload; two presses are two commands.
_SHARED_IDS = frozenset({"ha-button"})
_MAX_RESPONSE_TOPIC = 256
_MAX_ALLOWED = 64
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_RANGE_ERRORS = frozenset({"greater_than", "greater_than_equal", "less_than", "less_than_equal", "finite_number"})


class _Checked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


_Model = TypeVar("_Model", bound=_Checked)


class Ping(_Checked):
    """`cmd/ping`: the reply holds `args` as they came."""

    args: JsonValue = None


class ModelSwap(_Checked):
    """`cmd/model.swap`: of one camera, or of the node's default."""

    model: Name
    camera: Name | None = None


class DeviceRestart(_Checked):
    """`cmd/device.restart`: `soft` makes a new configured model, `reset` a new host process."""

    mode: Literal["soft", "reset"] = "soft"
    force: bool = False


class DeviceRelease(_Checked):
    """`cmd/device.release`, and `N/set/device` OFF: lend the device to other programs for so many seconds."""

    for_s: Annotated[float, Field(ge=1.0, le=86_400.0, allow_inf_nan=False)] = 3600.0


class DeviceAcquire(_Checked):
    """`cmd/device.acquire`, and `N/set/device` ON: take the device back before its time."""


class SetCamera(_Checked):
    """`C/set/<key>`: one setting of one camera; `value` is of the setting's type and within its range."""

    camera: Name
    key: Literal["enabled", "threshold", "max_fps"]
    value: bool | float


class TakeSnapshot(_Checked):
    """`cmd/snapshot.take`: the next picture of a camera, once."""

    camera: Name


class CaptureProfile(_Checked):
    """`cmd/profile.capture`: the timings of every frame for so many seconds."""

    duration_s: Annotated[float, Field(ge=1.0, le=60.0, allow_inf_nan=False)] = 10.0


class SetPrivacy(_Checked):
    """`C/set/privacy` and `N/set/privacy`: nobody looks through one camera, or any."""

    on: bool
    camera: Name | None = None


Command: TypeAlias = (
    Ping
    | ModelSwap
    | DeviceRestart
    | DeviceRelease
    | DeviceAcquire
    | SetCamera
    | SetPrivacy
    | TakeSnapshot
    | CaptureProfile
)

_COMMANDS: dict[
    str,
    type[ModelSwap]
    | type[DeviceRestart]
    | type[DeviceRelease]
    | type[DeviceAcquire]
    | type[TakeSnapshot]
    | type[CaptureProfile],
] = {
    "model.swap": ModelSwap,
    "device.restart": DeviceRestart,
    "device.release": DeviceRelease,
    "device.acquire": DeviceAcquire,
    "snapshot.take": TakeSnapshot,
    "profile.capture": CaptureProfile,
}
_COMMAND_NAMES = ("ping", *_COMMANDS)
_NODE_KEYS = ("device", "privacy")
_CAMERA_KEYS: tuple[str, ...] = (*get_args(SetCamera.model_fields["key"].annotation), "privacy")


def _ranged(key: str) -> TypeAdapter[float]:
    """The range of a number as the configuration has it."""
    return TypeAdapter(Annotated[(float, *CameraSettings.model_fields[key].metadata)])


_CAMERA_NUMBERS = {"threshold": _ranged("threshold"), "max_fps": _ranged("max_fps")}


class _Envelope(_Checked):
    id: Annotated[str, Field(max_length=MAX_ID)] | None = None
    args: JsonValue = None
    timeout_s: Annotated[float, Field(gt=0.0, le=LONGEST_DEADLINE, allow_inf_nan=False)] | None = None
    if_revision: Annotated[int, Field(ge=0)] | None = None
    persist: bool = True
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request came from and where its answer goes.

    `name` is the command, or `set/<key>`; `reply_to` is None for a `set/...`, which is answered by a new settings
    document or the event `command_failed`. `digest` tells repetitions from other requests of the same id.
    """

    name: str
    topic: str
    received: float
    reply_to: ReplyTo | None
    id: str | None = None
    camera: str | None = None
    digest: bytes = b""


@dataclass(frozen=True, slots=True)
class Request:
    """A command that may be run. `deadline` is monotonic: a request that starts after it has `expired`."""

    origin: Origin
    command: Command
    deadline: float
    if_revision: int | None = None
    persist: bool = True
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """A message that is answered and never run. `clear`: the broker retains it, clear `origin.topic`."""

    origin: Origin
    error: CommandError
    clear: bool = False


def parse(inbound: Inbound, topics: Topics) -> Request | Refusal | None:
    """What an inbound message asks for; None for what gets no answer: foreign topics, and the empty payload, which is
    how a retained message is cleared."""
    target = topics.parse(inbound.topic)
    if target is None or target.kind is Kind.HOME_ASSISTANT or not inbound.payload:
        return None
    origin = _origin(inbound, target, topics)
    if inbound.retain:
        with suppress(CommandError):
            origin = _identified(origin, _load(inbound.payload[:MAX_BYTES]))
        text = "retained messages are not run: publish without the retain flag"
        return Refusal(origin, CommandError("retained_ignored", text), clear=True)
    try:
        if len(inbound.payload) > MAX_BYTES:
            raise CommandError("too_large", f"a command has at most {MAX_BYTES} bytes")
        if target.kind is not Kind.COMMAND:
            return Request(origin, _setting(target, inbound.payload), _deadline(inbound, None))
        document = _load(inbound.payload)
        origin = _identified(origin, document)
        envelope = _check(_Envelope, document)
        return Request(
            origin,
            _command(target.name, envelope.args),
            _deadline(inbound, envelope.timeout_s),
            if_revision=envelope.if_revision,
            persist=envelope.persist,
            dry_run=envelope.dry_run,
        )
    except CommandError as error:
        return Refusal(origin, error)


def accepted(origin: Origin, job: str, clock: Clock) -> Payload:
    """The first of two replies, for what takes longer than half a second."""
    return {**_head(origin, "accepted"), "job": job, "ts": round(clock.wall(), 3)}


def ok(origin: Origin, data: object, clock: Clock) -> Payload:
    """The reply to a command that was carried out."""
    return {**_head(origin, "ok"), "data": data, **_times(origin, clock)}


def error(origin: Origin, refused: CommandError, clock: Clock) -> Payload:
    """The reply to a command that was not."""
    return {**_head(origin, "error"), "error": _describe(refused), **_times(origin, clock)}


def failure(origin: Origin, refused: CommandError) -> Payload:
    """The details of the event `command_failed`: all that a failed `set/...` is answered with beside the unchanged
    settings."""
    return {"cmd": origin.name, "camera": origin.camera, **_describe(refused)}


class RateLimit:
    """How fast commands may come: 10 a second, 16 at once."""

    def __init__(self, clock: Clock, rate: float = 10.0, burst: float = 16.0) -> None:
        self._clock = clock
        self._bucket = TokenBucket(rate, burst)

    def check(self) -> None:
        """Raises CommandError `rate_limited`."""
        if not self._bucket.take(self._clock.monotonic()):
            raise CommandError("rate_limited", "too many commands: at most 10 a second", retryable=True)


class ReplyCache:
    """Makes commands idempotent: of those with an id, the last 256 and ten minutes are known with their replies."""

    def __init__(self, clock: Clock, *, size: int = 256, ttl: float = 600.0) -> None:
        self._clock = clock
        self._size = size
        self._ttl = ttl
        self._replies: OrderedDict[tuple[str, str, bytes], tuple[float, Payload | None]] = OrderedDict()

    def claim(self, origin: Origin) -> bool:
        """Whether the request is new; True obliges to run it and to `store` its reply."""
        key = self._key(origin)
        if key is None:
            return True
        self._expire()
        if key in self._replies:
            return False
        self._replies[key] = (self._clock.monotonic(), None)
        return True

    def store(self, origin: Origin, reply: Payload) -> None:
        """Remember the final reply."""
        key = self._key(origin)
        if key is not None:
            self._replies[key] = (self._clock.monotonic(), reply)
            self._replies.move_to_end(key)
            self._expire()

    def release(self, origin: Origin) -> None:
        """The request was not run after all: the same one is new when it comes again."""
        key = self._key(origin)
        if key is not None:
            self._replies.pop(key, None)

    def stored(self, origin: Origin) -> Payload | None:
        """The reply to a request that `claim` called known; None while the first one still runs."""
        key = self._key(origin)
        return None if key is None else self._replies.get(key, (0.0, None))[1]

    def _expire(self) -> None:
        oldest = self._clock.monotonic() - self._ttl
        while self._replies and (len(self._replies) > self._size or next(iter(self._replies.values()))[0] < oldest):
            self._replies.popitem(last=False)

    @staticmethod
    def _key(origin: Origin) -> tuple[str, str, bytes] | None:
        if origin.id is None or origin.id in _SHARED_IDS:
            return None
        return origin.name, origin.id, origin.digest


def _origin(inbound: Inbound, target: Target, topics: Topics) -> Origin:
    if target.kind is not Kind.COMMAND:
        return Origin(f"set/{target.name}", inbound.topic, inbound.received, None, camera=target.camera)
    wish = inbound.response_topic
    topic = wish if wish is not None and _may_reply(wish, topics) else topics.reply(target.name)
    return Origin(target.name, inbound.topic, inbound.received, ReplyTo(topic, inbound.correlation))


def _may_reply(topic: str, topics: Topics) -> bool:
    """Otherwise anyone who may send `ping` could have us publish anywhere."""
    return (
        len(topic) <= _MAX_RESPONSE_TOPIC
        and any(topic.startswith(prefix) and topic != prefix for prefix in topics.response_prefixes)
        and not any(wildcard in topic for wildcard in "+#")
        and _UNPRINTABLE.search(topic) is None
    )


def _identified(origin: Origin, document: dict[str, Any]) -> Origin:
    """The origin with its id, as soon as it is known, so that an error names it too."""
    given = document.get("id")
    if not isinstance(given, str) or len(given) > MAX_ID:
        return origin
    content = json.dumps(document, sort_keys=True).encode()
    return replace(origin, id=given, digest=hashlib.blake2b(content, digest_size=16).digest())


def _deadline(inbound: Inbound, timeout_s: float | None) -> float:
    limits = (LONGEST_DEADLINE, timeout_s, inbound.expiry)
    return inbound.received + min(limit for limit in limits if limit is not None)


def _load(payload: bytes) -> dict[str, Any]:
    try:
        return strict_json.load_object(payload, max_depth=MAX_DEPTH)
    except ValueError as fault:
        raise CommandError("bad_json", str(fault)) from None


def _command(name: str, args: JsonValue) -> Command:
    if name == "ping":
        return Ping(args=args)
    kind = _COMMANDS.get(name)
    if kind is None:
        raise CommandError("unknown_command", f"no command '{name}'", allowed=_COMMAND_NAMES)
    return _check(kind, {} if args is None else args, "args")


def _setting(target: Target, payload: bytes) -> Command:
    key = target.name
    allowed = _NODE_KEYS if target.camera is None else _CAMERA_KEYS
    if key not in allowed:
        raise CommandError("unknown_command", f"nothing to set as '{key}'", field=key, allowed=allowed)
    if key == "privacy":
        return SetPrivacy(on=_switch(payload, key), camera=target.camera)
    if target.camera is None:
        return DeviceAcquire() if _switch(payload, key) else DeviceRelease()
    value = _switch(payload, key) if key == "enabled" else _number(payload, key)
    return _check(SetCamera, {"camera": target.camera, "key": key, "value": value})


_SWITCH = {"on": True, "true": True, "1": True, "off": False, "false": False, "0": False}


def _switch(payload: bytes, key: str) -> bool:
    value = _SWITCH.get(_text(payload, key).lower())
    if value is None:
        raise CommandError("bad_args", "expected ON or OFF", field=key, allowed=("ON", "OFF"))
    return value


_DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)


def _number(payload: bytes, key: str) -> float:
    text = _text(payload, key)
    if not _DECIMAL.fullmatch(text):
        raise CommandError("bad_args", "expected a number", field=key)
    try:
        return _CAMERA_NUMBERS[key].validate_python(float(text))
    except ValidationError as fault:
        raise _explain(fault, key) from None


def _text(payload: bytes, key: str) -> str:
    """A scalar as text; what is longer than any scalar is none."""
    try:
        return payload[:64].decode("ascii").strip()
    except UnicodeDecodeError:
        raise CommandError("bad_args", "expected plain text", field=key) from None


def _check(model: type[_Model], values: object, field: str = "") -> _Model:
    try:
        return model.model_validate(values)
    except ValidationError as fault:
        raise _explain(fault, field) from None


def _explain(fault: ValidationError, field: str) -> CommandError:
    """The first of pydantic's complaints in our terms; never with the value that was sent."""
    first = fault.errors(include_url=False, include_input=False)[0]
    code = "out_of_range" if first["type"] in _RANGE_ERRORS else "bad_args"
    path = ".".join(part for part in (field, *(str(part)[:MAX_ID] for part in first["loc"][:1])) if part)
    return CommandError(code, first["msg"][:200], field=path or None)


def _head(origin: Origin, status: str) -> Payload:
    return {"v": VERSION, "id": origin.id, "cmd": origin.name, "status": status}


def _times(origin: Origin, clock: Clock) -> Payload:
    took = max(0.0, clock.monotonic() - origin.received)
    return {"took_ms": round(took * 1000), "ts": round(clock.wall(), 3)}


def _describe(refused: CommandError) -> Payload:
    described: Payload = {"code": refused.code, "message": str(refused), "retryable": refused.retryable}
    if refused.field is not None:
        described["field"] = refused.field
    if refused.allowed is not None:
        described["allowed"] = list(refused.allowed[:_MAX_ALLOWED])
    return described
