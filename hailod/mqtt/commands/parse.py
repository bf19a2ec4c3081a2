"""From an inbound message to a command that may be run, or to why it is not."""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Annotated, Any, TypeVar

from pydantic import Field, JsonValue, ValidationError

from hailod.errors import CommandError
from hailod.mqtt import strict_json
from hailod.mqtt.commands.scalars import explain
from hailod.mqtt.commands.table import CAMERA_SCALARS, COMMANDS, NODE_SCALARS, Args, Command, Ping
from hailod.mqtt.messages import Inbound, ReplyTo
from hailod.mqtt.topics import Kind, Target, Topics

MAX_BYTES = 8192
MAX_DEPTH = 8
MAX_ID = 64
LONGEST_DEADLINE = 60.0

_MAX_RESPONSE_TOPIC = 256
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

_Model = TypeVar("_Model", bound=Args)


class Envelope(Args):
    """A whole request on `cmd/...`, whatever the command."""

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
        envelope = _check(Envelope, document)
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
        # Short numbers may be long to write (1e15), and what does not fit into a document would be no answer.
        if len(json.dumps(args, ensure_ascii=False).encode()) > MAX_BYTES:
            raise CommandError("too_large", f"the echo would have more than {MAX_BYTES} bytes", field="args")
        return Ping(args=args)
    spec = COMMANDS.get(name)
    if spec is None:
        raise CommandError("unknown_command", f"no command '{name}'", allowed=tuple(COMMANDS))
    return _check(spec.args, {} if args is None else args, "args")


def _setting(target: Target, payload: bytes) -> Command:
    key = target.name
    table = NODE_SCALARS if target.camera is None else CAMERA_SCALARS
    scalar = table.get(key)
    if scalar is None:
        raise CommandError("unknown_command", f"nothing to set as '{key}'", field=key, allowed=tuple(table))
    try:
        return scalar.command(key, target.camera, scalar.read(payload, key))
    except ValidationError as fault:
        raise explain(fault, "") from None


def _check(model: type[_Model], values: object, field: str = "") -> _Model:
    try:
        return model.model_validate(values)
    except ValidationError as fault:
        raise explain(fault, field) from None
