"""Logging: one pipeline for our own lines, those of libraries and uncaught exceptions, and no secret gets through it.

On a terminal: `21:04:11 info      camera online  camera=front`. Under systemd: journal entries with the same text, the
priority, and each key as a field `HAILOD_CAMERA=front`; without python3-systemd, lines with `<priority>` before them.
"""

from __future__ import annotations

import itertools
import logging
import os
import re
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, Protocol, TextIO

import structlog

from hailod.redact import SecretFilter

EventDict = MutableMapping[str, Any]
Level = Literal["debug", "info", "warning", "error"]

MAX_VALUE = 2_000
MAX_TRACEBACK = 16_000
MAX_REPEATING = 1_024
MAX_TAPPED = 100

# syslog(3)
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
# Other names that structlog has for these.
_ALIASES = {"warn": "warning", "exception": "error", "fatal": "critical"}
_COLOURS = {"debug": "\x1b[2m", "warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[1;31m"}
_PLAIN_VALUE = re.compile(r"[^\s\"'=\\\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]+")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]")

log = structlog.get_logger(__name__)

_tally: Counter[str] = Counter()


def tally() -> dict[str, int]:
    """What has happened since the start: `uncaught` exceptions that nobody expected, and `lines_lost` of the log, which
    could not be written because the disk is full or nobody reads."""
    return {key: _tally[key] for key in ("uncaught", "lines_lost")}


class Repeats:
    """First failure loud, the same again quiet, until it is over.

        getattr(log, repeats.log_failure("front"))("camera lost", camera="front")

    At most MAX_REPEATING keys are remembered, the latest ones.
    """

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def log_failure(self, key: str) -> Literal["warning", "debug"]:
        """The level for a failure of `key`: "warning" at first, "debug" while it repeats."""
        seen = self._counts.pop(key, 0)
        self._counts[key] = seen + 1
        if len(self._counts) > MAX_REPEATING:
            del self._counts[next(iter(self._counts))]
        return "debug" if seen else "warning"

    def reset(self, key: str) -> int:
        """`key` works again; returns how often it failed."""
        return self._counts.pop(key, 0)


@dataclass(frozen=True, slots=True)
class Line:
    """One finished line: `wall` is Unix seconds, text and fields are free of secrets and control characters."""

    wall: float
    level: str
    text: str
    fields: Mapping[str, str]


class Tap:
    """A second reader of the log, who comes when it has time: nobody who logs ever waits for it. Thread-safe.

    It gets what is at least `level` and comes from none of the modules whose name begins with one of `without`. At most
    MAX_TAPPED lines wait; of more the oldest go.
    """

    def __init__(self, level: Level, without: tuple[str, ...] = ()) -> None:
        self._least = getattr(logging, level.upper())
        self._without = without
        # Counting and appending are atomic each: a lock could be held by the thread that a line interrupts.
        self._numbers = itertools.count(1)
        self._lines: deque[tuple[int, Line]] = deque(maxlen=MAX_TAPPED)
        self._read = 0
        self._newest = 0

    def hear(self, line: Line, origin: str) -> None:
        """One line of the log, logged by the module `origin`."""
        if getattr(logging, line.level.upper()) >= self._least and not origin.startswith(self._without):
            self._lines.append((next(self._numbers), line))

    def read(self) -> list[Line]:
        """The lines since the last time, the oldest first. For one thread, as is `lost`."""
        found = []
        while self._lines:
            number, line = self._lines.popleft()
            self._newest = max(self._newest, number)
            found.append(line)
        self._read += len(found)
        return found

    @property
    def lost(self) -> int:
        """How many lines went unread until the last `read`."""
        return self._newest - self._read


_tap: Tap | None = None


def tap(reader: Tap | None) -> None:
    """From now on `reader` gets the lines too; None: nobody does."""
    global _tap  # noqa: PLW0603 -- there is one log of the process
    _tap = reader


class Sink(Protocol):
    """Where finished lines go: `text` is the one-liner, `fields` its keys, `trace` a traceback or empty."""

    def write(self, level: str, text: str, fields: Mapping[str, str], trace: str) -> None: ...


class TerminalSink:
    """One readable line with the local time; in colour on a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._colours = _COLOURS if stream.isatty() and not os.environ.get("NO_COLOR") else {}
        self._time = "%H:%M:%S" if stream.isatty() else "%Y-%m-%dT%H:%M:%S%z"

    def write(self, level: str, text: str, fields: Mapping[str, str], trace: str) -> None:
        colour = self._colours.get(level, "")
        time = datetime.now().astimezone().strftime(self._time)
        line = f"{time} {colour}{level:<9}{text}{colour and chr(27) + '[0m'}"
        _print(self._stream, f"{line}\n{trace}" if trace else line)


class PrefixSink:
    """Lines as systemd reads them from standard error: `<4>text`, every line of a traceback with its own prefix."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, level: str, text: str, fields: Mapping[str, str], trace: str) -> None:
        prefix = f"<{_PRIORITIES[level]}>"
        _print(self._stream, "\n".join(prefix + line for line in (text, *trace.splitlines())))


class JournalSink:
    """Native journal entries. `sendv` is python3-systemd's; what it refuses goes to `fallback`."""

    def __init__(self, sendv: Callable[..., object], fallback: Sink) -> None:
        self._sendv = sendv
        self._fallback = fallback

    def write(self, level: str, text: str, fields: Mapping[str, str], trace: str) -> None:
        entry = {
            "MESSAGE": f"{text}\n{trace}" if trace else text,
            "PRIORITY": str(_PRIORITIES[level]),
            "SYSLOG_IDENTIFIER": "hailod",
        }
        # The journal silently drops a field whose name is not of this form.
        entry |= {"HAILOD_" + re.sub(r"[^A-Z0-9_]", "_", key.upper())[:57]: value for key, value in fields.items()}
        try:
            self._sendv(*(f"{key}={value}" for key, value in entry.items()))
        except OSError:
            self._fallback.write(level, text, fields, trace)


def configure(level: Level = "info", secrets: SecretFilter | None = None, *, sink: Sink | None = None) -> SecretFilter:
    """Send every log line of this process to `sink`, chosen by what standard error is connected to when not given.

    Returns the filter through which all of them pass. To be called before anything runs that knows a secret.
    """
    secrets = secrets or SecretFilter()
    structlog.configure(
        processors=[
            _drop_below_level,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            _Emit(sink or _choose_sink(sys.stderr, os.environ), secrets),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=_Named,
        # Loggers of modules outlive a configuration; those of tests and of the daemon must not mix.
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_Bridge()]
    set_level(level)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread
    sys.unraisablehook = _unraisable
    return secrets


def set_level(level: Level) -> None:
    """Let through what is at least `level`, from now on, for our own lines and those of libraries."""
    logging.getLogger().setLevel(level.upper())


class _Named(structlog.ReturnLogger):
    """The end of the pipeline for one module, which is remembered by its name."""

    def __init__(self, name: str = "") -> None:
        self.name = name


class _Emit:
    """The last processor: text, fields and traceback, scrubbed, to the sink."""

    def __init__(self, sink: Sink, secrets: SecretFilter) -> None:
        self._sink = sink
        self._secrets = secrets

    def __call__(self, logger: object, method: str, event: EventDict) -> str:
        level: str = event.pop("level")
        level = _ALIASES.get(level, level)
        trace = self._clean(event.pop("exception", ""), MAX_TRACEBACK)
        text = self._clean(event.pop("event", ""), MAX_VALUE).replace("\n", "\\n")
        fields = {key: self._clean(value, MAX_VALUE) for key, value in event.items()}
        pairs = (f"{key}={_quoted(value)}" for key, value in fields.items())
        self._sink.write(level, "  ".join((text, " ".join(pairs))).rstrip(), fields, trace)
        reader = _tap
        if reader is not None:
            # A library's line says in its fields where it comes from.
            reader.hear(Line(time.time(), level, text, fields), getattr(logger, "name", "") or fields.get("logger", ""))
        return ""

    def _clean(self, value: object, limit: int) -> str:
        text = self._secrets.scrub(value if isinstance(value, str) else str(value))
        if len(text) > limit:
            # The end of a traceback says what happened, its beginning where.
            text = f"{text[: limit // 2]} ... {text[-limit // 2 :]}"
        return _CONTROL.sub(lambda match: repr(match[0])[1:-1], text)


class _Bridge(logging.Handler):
    """Carries what libraries log with the standard module into the pipeline."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
        except (TypeError, ValueError, LookupError, AttributeError):
            text = "a library's log record could not be rendered"
        method = record.levelname.lower() if record.levelname.lower() in _PRIORITIES else "info"
        getattr(structlog.get_logger(), method)("%s", text, logger=record.name, exc_info=record.exc_info)


def _drop_below_level(logger: object, method: str, event: EventDict) -> EventDict:
    if getattr(logging, _ALIASES.get(method, method).upper()) < logging.getLogger().level:
        raise structlog.DropEvent
    return event


def _choose_sink(stream: TextIO, env: Mapping[str, str]) -> Sink:
    if not _is_journal(stream, env):
        return TerminalSink(stream)
    try:
        from systemd.journal import sendv  # noqa: PLC0415 -- optional, and only of use under systemd
    except ImportError:
        return PrefixSink(stream)
    return JournalSink(sendv, PrefixSink(stream))


def _is_journal(stream: TextIO, env: Mapping[str, str]) -> bool:
    """Whether `stream` is the journal's: JOURNAL_STREAM is inherited, even by those who redirect their output."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return env.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _print(stream: TextIO, text: str) -> None:
    try:
        stream.write(text + "\n")
        stream.flush()
    except (OSError, ValueError):
        # The disk is full, or nobody reads any more; there is no place left to say so.
        _tally["lines_lost"] += 1


def _quoted(value: str) -> str:
    if _PLAIN_VALUE.fullmatch(value):
        return value
    escaped = value.replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        _tally["uncaught"] += 1
        log.critical("uncaught exception", exc_info=(kind, error, trace))


def _uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    name = args.thread.name if args.thread is not None else "?"
    error = args.exc_value or args.exc_type()
    _tally["uncaught"] += 1
    log.critical("uncaught exception in a thread", thread=name, exc_info=(args.exc_type, error, args.exc_traceback))


def _unraisable(args: sys.UnraisableHookArgs) -> None:
    error = args.exc_value or args.exc_type()
    _tally["uncaught"] += 1
    log.error("exception nobody could catch", where=args.err_msg, exc_info=(args.exc_type, error, args.exc_traceback))
