"""From the outcome of a command to its reply."""

from __future__ import annotations

from hailod.clock import Clock
from hailod.errors import CommandError
from hailod.mqtt.commands.parse import Origin
from hailod.mqtt.payloads import VERSION, Payload

_MAX_ALLOWED = 64


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


def progress(origin: Origin, job: str, state: str, step: str, clock: Clock) -> Payload:
    """`N/job/<id>`: how far a command is that was accepted. `state` is `running`, `ok` or `error`, `step` what is being
    done."""
    elapsed = round(max(0.0, clock.monotonic() - origin.received), 1)
    head: Payload = {"v": VERSION, "job": job, "id": origin.id, "cmd": origin.name, "state": state, "step": step}
    return {**head, "elapsed_s": elapsed, "ts": round(clock.wall(), 3)}


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
