"""The processes of a demo: started on a tether, out of the terminal's reach, their last lines kept."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

import hailod
from hailod.clock import Clock
from hailod.errors import HailodError
from hailod.worker import Worker

_LAST_LINES = 200
_LINE_BYTES = 2000
_SHOWN_LINES = 12
# What would make the daemon of a demo something else, or have it report to somebody else's systemd.
_FOREIGN = ("HAILOD_", "WATCHDOG_", "NOTIFY_SOCKET", "CREDENTIALS_DIRECTORY", "JOURNAL_STREAM", "LISTEN_")


class DemoError(HailodError):
    """The demo cannot start or go on; the message says why and what to do."""


class Child:
    """One process. Start it on the main thread: the tether breaks when the thread that started it ends.

    A session of its own keeps Ctrl-C from it, so that the demo ends its processes in the right order.
    """

    def __init__(self, title: str, command: Sequence[str], directory: Path, clock: Clock) -> None:
        self.title = title
        self.lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._command = command
        self._directory = directory
        self._drain = Worker(f"{title} output", self._read, clock, daemon=True)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; raises DemoError when that cannot be done."""
        tether = (sys.executable, "-m", "hailod.demo.tether", str(os.getpid()))
        try:
            self._process = subprocess.Popen(  # noqa: S603 -- commands are ours
                [*tether, *self._command],
                cwd=self._directory,
                env=_environment(os.environ, self._directory),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise DemoError(f"the {self.title} cannot be started: {error.strerror}") from None
        self._drain.start()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def started(self) -> bool:
        """Whether it was started and not yet stopped, dead or alive."""
        return self._process is not None

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def death(self) -> DemoError:
        """Why the demo cannot go on without it, with its last lines."""
        code = self._process.wait() if self._process is not None else None
        self._drain.join(1.0)
        last = "\n".join(f"    {line}" for line in list(self.lines)[-_SHOWN_LINES:])
        return DemoError(f"the {self.title} ended (exit code {code}), and said:\n{last or '    nothing'}")

    def stop(self, deadline_s: float) -> bool:
        """Ask it to end, wait for that, kill it otherwise; says whether it ended by itself. Idempotent."""
        process, self._process = self._process, None
        if process is None:
            return True
        process.terminate()
        try:
            process.wait(deadline_s)
            return True
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return False
        finally:
            self._drain.join(1.0)
            assert process.stdout is not None
            process.stdout.close()

    def _read(self, _: Worker) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        stream = self._process.stdout
        while line := stream.readline(_LINE_BYTES):
            self.lines.append(line.decode(errors="replace").rstrip())


def _environment(env: Mapping[str, str], directory: Path) -> dict[str, str]:
    """The user's environment without what is meant for another hailod; temporary files go into `directory`."""
    kept = {key: value for key, value in env.items() if not key.startswith(_FOREIGN)}
    # The children begin in another folder, from where a clone that is not installed would not be found.
    home = str(Path(hailod.__file__).parent.parent)
    path = os.pathsep.join([home, *filter(None, [env.get("PYTHONPATH")])])
    return kept | {"PYTHONPATH": path, "TMPDIR": str(directory), "PYTHONUNBUFFERED": "1"}
