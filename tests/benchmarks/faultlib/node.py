"""The daemon of one trial: a real `hailod run` whose every line is kept with the time of its arrival."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from tests.benchmarks.faultlib.patience import wait_for
from tests.support.daemon import NODE, Daemon

STOP_LIMIT_S = 5.0
ACCOUNTED = "frames accounted for"
_CODE = re.compile(r"health condition( over)? +.*\bcode=(\w+)")
_TEXT = re.compile(r'\btext=("(?:[^"\\]|\\.)*"|\S+)')


class Node(Daemon):
    """`hailod run` with the configuration `text` in `directory`.

    `tame`: without root's right to write where nobody may. `prefix` is a command that becomes the daemon by exec.
    """

    def __init__(self, directory: Path, text: str, *, tame: bool = False, prefix: Sequence[str] = ()) -> None:
        super().__init__(directory, Nowhere(), "", prefix=prefix)  # type: ignore[arg-type]
        self.path.write_text(text)
        self.heard: list[tuple[float, str]] = []
        self._tame = tame

    def __enter__(self) -> Node:
        command = [sys.executable, "-m", "hailod", "run", "--config", str(self.path)]
        command = [*self._prefix, *command]
        if self._tame and os.geteuid() == 0:
            setpriv = shutil.which("setpriv")
            assert setpriv is not None, "setpriv (util-linux) is needed to be less than root"
            command = [setpriv, "--bounding-set", "-dac_override,-dac_read_search,-fowner", *command]
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONWARNINGS": "default"},
        )
        self._reader = threading.Thread(target=self._read, name="daemon output")
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self._collect()

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def condition(self, codes: frozenset[str], since: float) -> tuple[float, str, str] | None:
        """When the log first told of one of these conditions of health: time, code, text."""
        for at, line in list(self.heard):
            found = _CODE.search(line) if at >= since else None
            if found is not None and not found[1] and found[2] in codes:
                text = _TEXT.search(line)
                return at, found[2], text[1].strip('"') if text else ""
        return None

    def standing(self) -> set[str]:
        """The conditions of health that stand, as the log tells of their coming and going; one code may stand for
        several cameras or models."""
        counts: Counter[str] = Counter()
        for _, line in list(self.heard):
            if found := _CODE.search(line):
                counts[found[2]] += -1 if found[1] else 1
        return {code for code, count in counts.items() if count > 0}

    def logged(self, text: str, since: float = 0.0) -> bool:
        return any(text in line for at, line in list(self.heard) if at >= since)

    def end(self, *, kill: bool = False, expected: int = 0, beyond: Collection[int] = ()) -> tuple[float, list[str]]:
        """SIGTERM (or SIGKILL), and what is wrong with how it ended; also how long it took. `beyond` are children that
        nobody can end."""
        problems = []
        children = psutil.Process(self.process.pid).children(recursive=True)
        began = time.monotonic()
        self.process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        try:
            code = self.wait(20.0)
        except subprocess.TimeoutExpired:
            return time.monotonic() - began, ["still running 20 s after SIGTERM"]
        took = time.monotonic() - began
        if took > STOP_LIMIT_S:
            problems.append(f"took {took:.1f} s to end")
        if code != expected:
            problems.append(f"exit code {code}")
        problems += [f"child {child.pid} is left" for child in children if child.pid not in beyond and not _gone(child)]
        if not kill and not self.logged(ACCOUNTED):
            problems.append("its log does not say that all frames are accounted for")
        if any(line.startswith("Traceback") for line in self.lines):
            problems.append("a traceback in its log")
        return took, problems

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            text = line.rstrip("\n")
            self.heard.append((time.monotonic(), text))
            self.lines.append(text)


def configuration(
    folder: Path, port: int, cameras: Mapping[str, str], *, head: str, mqtt: str, device: str, models: str
) -> str:
    """The daemon's configuration file. All but `folder` and `port` are parts of it: `head` stands at the top, `mqtt`
    and `device` in their tables, `models` and `cameras` are tables."""
    return (
        f'schema = 1\nnode = "{NODE}"\nstate_dir = "{folder / "state"}"\n{head}'
        f'[mqtt]\nhost = "127.0.0.1"\nport = {port}\nmetrics_interval = 1.0\ndetections_max_hz = 30\n{mqtt}'
        f"[device]\n{device}[pipeline]\nstale_after = 2.0\n{models}"
    ) + "".join(f"[cameras.{name}]\n{table}" for name, table in cameras.items())


class Nowhere:
    """In the place of a broker: where it listens is in the text."""

    port = 0


def _gone(child: psutil.Process) -> bool:
    """Whether it ends by itself. Once its parent is dead it may be ours (`leaks.become_reaper`), and is collected."""

    def over() -> bool:
        try:
            dead = child.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True
        if dead:
            with suppress(ChildProcessError):
                os.waitpid(child.pid, os.WNOHANG)
        return dead

    try:
        wait_for(over, timeout=3.0, what="a child's end")
    except AssertionError:
        child.kill()
        return False
    return True
