"""`profile.capture`: where the time of every frame goes, for some seconds, as a file in the state folder."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np

from hailod.clock import Clock
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
    try:
        with suppress(FileExistsError):
            directory.mkdir(0o750)
        _replace(directory, path.name, data)
    except OSError as error:
        return told(f"{path} cannot be written: {os.strerror(error.errno or errno.EIO)}")
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


def _replace(directory: Path, name: str, data: bytes) -> None:
    """Put a file there as a whole; then only the last KEPT are left, and nothing of a writer that was killed."""
    folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        for left in os.listdir(folder):
            if left.startswith(_TEMPORARY):
                os.unlink(left, dir_fd=folder)
        temporary = f"{_TEMPORARY}{os.getpid()}"
        try:
            _write_synced(partial(os.open, dir_fd=folder), temporary, data)
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=folder)
            raise
        os.fsync(folder)
        ours = [entry for entry in os.listdir(folder) if entry.startswith(_PREFIX) and entry.endswith(".json")]
        aged = sorted((os.stat(entry, dir_fd=folder, follow_symlinks=False).st_mtime_ns, entry) for entry in ours)
        for _, old in aged[:-KEPT]:
            os.unlink(old, dir_fd=folder)
    finally:
        os.close(folder)


def _write_synced(open_: Callable[..., int], name: str, data: bytes) -> None:
    file = open_(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
    with open(file, "wb") as stream:
        # Whatever the daemon's mask is: its group may read a profile, nobody else.
        os.fchmod(stream.fileno(), 0o640)
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
