"""Logging: readable lines, journal fields, and no secret in any of them."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import structlog

from hailod.logs import (
    MAX_REPEATING,
    JournalSink,
    PrefixSink,
    Repeats,
    SecretFilter,
    TerminalSink,
    configure,
    set_level,
    tally,
)
from tests.support.log import restored

PASSWORD = "geheim/42"


class Lines:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, str, dict[str, str], str]] = []

    def write(self, level: str, text: str, fields: Mapping[str, str], trace: str) -> None:
        self.entries.append((level, text, dict(fields), trace))

    @property
    def everything(self) -> str:
        return json.dumps(self.entries)


@pytest.fixture
def lines() -> Iterator[Lines]:
    """A process whose log goes to a list, as it was before when the test ends."""
    with restored():
        sink = Lines()
        secrets = configure("info", sink=sink)
        secrets.add(PASSWORD)
        yield sink


def log() -> structlog.typing.FilteringBoundLogger:
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger("test")
    return logger


class TestPipeline:
    def test_text_and_fields(self, lines: Lines) -> None:
        """A line is its text and its keys, readable and apart."""
        log().info("camera online", camera="front", fps=14.8, reason="was away", nothing=None)
        (entry,) = lines.entries
        assert entry[:2] == ("info", 'camera online  camera=front fps=14.8 reason="was away" nothing=None')
        assert entry[2] == {"camera": "front", "fps": "14.8", "reason": "was away", "nothing": "None"}

    def test_level_is_live(self, lines: Lines) -> None:
        """The level changes for loggers that exist already, ours and those of libraries."""
        ours, theirs = log().bind(camera="a"), logging.getLogger("library")
        ours.debug("1")
        theirs.debug("1")
        set_level("debug")
        ours.debug("2")
        theirs.debug("2")
        set_level("error")
        ours.warning("3")
        theirs.warning("3")
        assert [entry[1] for entry in lines.entries] == ["2  camera=a", "2  logger=library"]

    def test_libraries_come_through(self, lines: Lines) -> None:
        """What libraries log with the standard module looks like our own lines, whatever it holds."""
        # pytest's own handlers refuse what cannot be rendered; the one under test does not.
        root = logging.getLogger()
        root.handlers[:] = [handler for handler in root.handlers if type(handler).__module__ == "hailod.logs"]
        logging.getLogger("paho").warning("code %d of 100%%", 7)
        logging.getLogger("paho").warning("broken %d", "x")
        assert [entry[1] for entry in lines.entries] == [
            "code 7 of 100%  logger=paho",
            "a library's log record could not be rendered  logger=paho",
        ]

    def test_traceback(self, lines: Lines) -> None:
        """An exception brings its traceback."""
        try:
            raise LookupError("gone")
        except LookupError:
            log().exception("worker failed", worker="w")
        (entry,) = lines.entries
        assert entry[:2] == ("error", "worker failed  worker=w")
        assert entry[3].startswith("Traceback")
        assert entry[3].endswith("LookupError: gone")

    def test_uncaught_exceptions(self, lines: Lines) -> None:
        """An exception that ends a thread or the process is a log line; Ctrl-C is not."""
        before = tally()["uncaught"]
        thread = threading.Thread(target=lambda: int("x"), name="camera-front")
        thread.start()
        thread.join()
        sys.excepthook(ValueError, ValueError("y"), None)
        sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
        assert [entry[:2] for entry in lines.entries] == [
            ("critical", "uncaught exception in a thread  thread=camera-front"),
            ("critical", "uncaught exception"),
        ]
        assert "invalid literal" in lines.entries[0][3]
        assert tally()["uncaught"] == before + 2

    def test_no_line_forges_another(self, lines: Lines) -> None:
        """Control characters in what cameras and brokers say are escaped: one event stays one line."""
        log().info("a\nb", value="x\n<0>forged\x1b[31m", other="\u202eevil")
        text = lines.entries[0][1]
        assert text.isprintable()
        assert "\\x1b[31m" in text

    def test_bounded(self, lines: Lines) -> None:
        """No value and no traceback makes a line of arbitrary length; both ends are kept."""
        log().info("x", value="<" + "a" * 100_000 + ">")
        text = lines.entries[0][1]
        assert len(text) < 3_000
        assert text.startswith('x  value="<')
        assert text.endswith('>"')


class TestSecrets:
    def test_everywhere(self, lines: Lines) -> None:
        """A known secret is masked in text, values, nested values, tracebacks and lines of libraries."""
        url = f"rtsp://user:{PASSWORD}@host/x"
        log().info(f"opening {url}", url=url, options={"p": [PASSWORD]}, error=OSError(url), raw="geheim%2F42")
        logging.getLogger("av").warning("cannot open %s", url)
        try:
            try:
                raise OSError(url)
            except OSError as error:
                raise RuntimeError(PASSWORD) from error
        except RuntimeError:
            log().exception("failed")
            logging.getLogger("av").exception("failed")
        sys.excepthook(OSError, OSError(url), None)
        thread = threading.Thread(target=lambda: [][len(url)], name=url)
        thread.start()
        thread.join()
        assert len(lines.entries) == 6
        assert "geheim" not in lines.everything
        assert "rtsp://***@host/x" in lines.everything

    def test_unknown_password_in_a_url(self) -> None:
        """The user-info of a URL is masked even when nobody said that it is a secret."""
        assert SecretFilter().scrub("at http://u:p@ss/w@h:80/x and rtsp://h/y") == "at http://***@h:80/x and rtsp://h/y"

    @pytest.mark.parametrize("part", ["a", "://", "@", "a://", "a://b@", " "])
    def test_hostile_text_takes_no_longer(self, part: str) -> None:
        """A long text made to hold up a search is scrubbed like any other; quadratic time would be hours."""
        secrets = SecretFilter()
        secrets.add(PASSWORD)
        assert PASSWORD not in secrets.scrub(part * 1_000_000 + PASSWORD)

    def test_short_secret_leaves_words_whole(self) -> None:
        """A password of one letter is masked where it stands alone, and the log stays readable."""
        secrets = SecretFilter()
        secrets.add("a")
        assert secrets.scrub("camera password a") == "camera password ***"

    def test_longest_first(self) -> None:
        """Of two secrets of which one begins the other, no rest is left."""
        secrets = SecretFilter()
        secrets.add("geheim")
        secrets.add("geheim123")
        secrets.add("  ")
        assert secrets.scrub("x geheim123 geheim  y") == "x *** ***  y"


class TestSinks:
    def test_plain_stream(self) -> None:
        """A file gets the date, the level, the text, and no colour."""
        stream = io.StringIO()
        TerminalSink(stream).write("warning", "text  a=1", {"a": "1"}, "Traceback\n  x")
        first, *rest = stream.getvalue().splitlines()
        assert first.endswith(" warning  text  a=1")
        assert first.startswith("2")
        assert rest == ["Traceback", "  x"]

    def test_priority_prefixes(self) -> None:
        """Every line that systemd reads begins with its priority, those of a traceback too."""
        stream = io.StringIO()
        PrefixSink(stream).write("error", "text", {}, "Traceback\n  x")
        assert stream.getvalue() == "<3>text\n<3>Traceback\n<3>  x\n"

    def test_journal_fields(self) -> None:
        """The journal gets the text, the priority, and each key as a field with a name that it accepts."""
        sent: list[tuple[str, ...]] = []
        JournalSink(lambda *fields: sent.append(fields), Lines()).write(
            "debug", "t", {"camera": "a", "bad-key": "b"}, ""
        )
        assert sent == [("MESSAGE=t", "PRIORITY=7", "SYSLOG_IDENTIFIER=hailod", "HAILOD_CAMERA=a", "HAILOD_BAD_KEY=b")]

    def test_journal_that_is_away(self) -> None:
        """When journald cannot be reached the line goes to standard error."""

        def refuse(*fields: str) -> None:
            raise ConnectionRefusedError

        fallback = Lines()
        JournalSink(refuse, fallback).write("info", "t", {}, "")
        assert [entry[1] for entry in fallback.entries] == ["t"]

    def test_reader_that_has_gone(self) -> None:
        """A closed pipe ends no thread."""
        stream = io.StringIO()
        sink = TerminalSink(stream)
        stream.close()
        sink.write("info", "t", {}, "")
        assert stream.closed

    @pytest.mark.parametrize("journal", [True, False])
    def test_chosen_by_what_stderr_is(self, tmp_path: Path, journal: bool) -> None:
        """A process whose standard error is the journal's writes for the journal; one that was redirected does not."""
        script = (
            "import sys; sys.modules['systemd'] = None\n"
            "from hailod import logs; logs.configure('info')\n"
            "import structlog; structlog.get_logger().warning('up')\n"
            "raise SystemError('rtsp://u:geheim@h/')"
        )
        output = tmp_path / "stderr"
        with output.open("w") as stream:
            status = os.fstat(stream.fileno())
            inode = status.st_ino if journal else status.st_ino + 1
            env = os.environ | {"JOURNAL_STREAM": f"{status.st_dev}:{inode}"}
            subprocess.run([sys.executable, "-c", script], stderr=stream, env=env, check=False, timeout=30)
        text = output.read_text()
        assert text.startswith("<4>up\n<2>uncaught exception\n<2>Traceback") == journal
        assert "SystemError: rtsp://***@h/" in text
        assert "geheim" not in text


class TestRepeats:
    def test_first_loud_then_quiet(self) -> None:
        """The first failure is a warning, the same again is not, until it worked in between."""
        repeats = Repeats()
        assert [repeats.log_failure("a") for _ in range(3)] == ["warning", "debug", "debug"]
        assert repeats.log_failure("b") == "warning"
        assert repeats.reset("a") == 3
        assert repeats.reset("a") == 0
        assert repeats.log_failure("a") == "warning"

    def test_bounded(self) -> None:
        """Memory stays bounded whatever fails; what failed last is remembered."""
        repeats = Repeats()
        for number in range(MAX_REPEATING + 1):
            repeats.log_failure(str(number))
        assert repeats.log_failure(str(MAX_REPEATING)) == "debug"
        assert repeats.log_failure("0") == "warning"
