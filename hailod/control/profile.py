"""`profile.capture`: where the time of every frame goes, for some seconds, as a file in the state folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np

from hailod.clock import Clock
from hailod.config.store import StateFile, StoreError
from hailod.control.beside import Answer
from hailod.control.events import Events
from hailod.control.transactions import Desk, Refused, Succeeded
from hailod.errors import CommandError
from hailod.mqtt.commands import CaptureProfile, Request
from hailod.pipeline.stats import PARTS, Recording, Stats

FOLDER = "profiles"
KEPT = 10
_PREFIX = "profile-"
_TEMPORARY = ".profile."
_COLUMNS = ("camera", "captured_s", *(f"{part}_ms" for part in PARTS))

Percentiles = dict[str, float]


@dataclass(frozen=True, slots=True)
class ProfileWritten:
    """The file is there, or `problem` says why not; `summary` has percentiles in milliseconds by part."""

    path: Path
    frames: int
    left_out: int
    summary: Mapping[str, Percentiles]
    problem: str = ""


@dataclass(slots=True, eq=False)
class _UnderWay:
    answer: Answer
    directory: Path
    node: str
    duration: float
    began: float
    wall: float
    writing: bool = False


class Profile:
    """One recording at a time."""

    def __init__(
        self, *, clock: Clock, stats: Stats, events: Events, ask: Callable[[Callable[[], ProfileWritten]], bool]
    ) -> None:
        """`ask` has something run on a thread of its own, and what comes out told to `hear`."""
        self._clock = clock
        self._stats = stats
        self._events = events
        self._ask = ask
        self._under_way: _UnderWay | None = None

    def begin(self, request: Request, desk: Desk, answer: Answer) -> None:
        command = request.command
        assert isinstance(command, CaptureProfile), "nothing else is sent here"
        if self._under_way is not None:
            raise CommandError("busy", "a profile is being captured already", retryable=True)
        if request.dry_run:
            answer.give(Succeeded({"duration_s": command.duration_s, "dry_run": True}))
            return
        settings, now = desk.settings, self._clock.monotonic()
        directory = settings.state_dir / FOLDER
        self._under_way = _UnderWay(answer, directory, settings.node, command.duration_s, now, self._clock.wall())
        self._stats.record()
        answer.accept()

    def hear(self, event: object) -> None:
        under_way = self._under_way
        if not isinstance(event, ProfileWritten) or under_way is None:
            return
        self._under_way = None
        if event.problem:
            under_way.answer.give(Refused("internal", event.problem))
            return
        facts = {"path": str(event.path), "frames": event.frames, "duration_s": under_way.duration}
        under_way.answer.give(Succeeded({**facts, "left_out": event.left_out, "summary": dict(event.summary)}))
        self._events.node("profile_ready", **facts)

    def tick(self, now: float) -> None:
        under_way = self._under_way
        if under_way is None or under_way.writing or now < under_way.began + under_way.duration:
            return
        under_way.writing = True
        write = partial(
            write_profile,
            under_way.directory,
            self._stats.recorded(),
            node=under_way.node,
            began=under_way.began,
            wall=under_way.wall,
            duration=under_way.duration,
        )
        if not self._ask(write):
            self._under_way = None
            under_way.answer.give(Refused("busy", "too much is being written already", retryable=True))


def write_profile(
    directory: Path, recording: Recording, *, node: str, began: float, wall: float, duration: float
) -> ProfileWritten:
    """Write the recording that began at `began` (monotonic) and `wall` (Unix seconds), whole or not at all, and remove
    all but the last ones."""
    stamp = datetime.fromtimestamp(wall, UTC).strftime("%Y%m%dT%H%M%S")
    path = directory / f"{_PREFIX}{stamp}-{int(began * 1000)}.json"
    summary = _percentiles([parts for _, _, parts in recording.frames])
    document = {
        "v": 1,
        "node": node,
        "started_at": datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds"),
        "duration_s": duration,
        "left_out": recording.left_out,
        "summary": summary,
        "cameras": {
            name: {"frames": sum(camera == name for camera, _, _ in recording.frames), "summary": _of(recording, name)}
            for name in sorted({camera for camera, _, _ in recording.frames})
        },
        "columns": _COLUMNS,
        "frames": [
            (camera, round(captured - began, 6), *(round(part * 1000, 3) for part in parts))
            for camera, captured, parts in recording.frames
        ],
    }
    told = partial(ProfileWritten, path, len(recording.frames), recording.left_out, summary)
    data = json.dumps(document, allow_nan=False, separators=(",", ":")).encode()
    # Its group may read a profile, nobody else.
    file = StateFile(directory, path.name, mode=0o640, temporary=_TEMPORARY)
    try:
        file.prepare()
        file.replace(data)
        _prune(directory)
    except StoreError as error:
        return told(str(error))
    except OSError as error:
        return told(f"{directory}: older profiles cannot be removed: {error.strerror}")
    return told()


def _of(recording: Recording, name: str) -> dict[str, Percentiles]:
    return _percentiles([parts for camera, _, parts in recording.frames if camera == name])


def _percentiles(samples: Sequence[tuple[float, ...]]) -> dict[str, Percentiles]:
    if not samples:
        return {}
    table = np.percentile(samples, (50, 95, 99), axis=0).T * 1000
    return {
        part: {name: round(float(value), 3) for name, value in zip(("p50", "p95", "p99"), row, strict=True)}
        for part, row in zip(PARTS, table, strict=True)
    }


def _prune(directory: Path) -> None:
    """Leave only the last KEPT."""
    ours = [path for path in directory.iterdir() if path.name.startswith(_PREFIX) and path.name.endswith(".json")]
    aged = sorted((path.lstat().st_mtime_ns, path) for path in ours)
    for _, old in aged[:-KEPT]:
        old.unlink()
