"""The daemon as its users run it: a real child process with a configuration file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import psutil

from tests.support.broker import Broker, Observer
from tests.support.interface import Interface
from tests.support.models import sees_two
from tests.support.waiting import wait_for

NODE = "test-node"
BASE = f"hailod/{NODE}"
FRONT = f"{BASE}/cam/front"

SEES_TWO = sees_two(96, 128)


class Daemon:
    """`hailod run` on a configuration written for it; everything it prints is kept, and what was seen of it is held
    to the interface at the end.

    `prefix` is a command that becomes the daemon by exec.
    """

    def __init__(
        self,
        directory: Path,
        broker: Broker,
        body: str,
        *,
        device: str | None = None,
        head: str = "",
        mqtt: str = "",
        prefix: Sequence[str] = (),
    ) -> None:
        self.directory = directory
        self.path = directory / "hailod.toml"
        self.state = directory / "state"
        simulated = (
            f'[device]\nbackend = "simulated"\n[device.simulated]\nconfigure_s = 0.05\nserial = "{os.getpid()}"\n'
        )
        head += f'schema = 1\nnode = "{NODE}"\nstate_dir = "{self.state}"\n'
        head += f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\nmetrics_interval = 1.0\n'
        self.path.write_text(head + mqtt + (simulated if device is None else device) + body)
        self.lines: list[str] = []
        self._port = broker.port
        self._prefix = prefix
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def __enter__(self) -> Daemon:
        self._process = subprocess.Popen(
            [*self._prefix, sys.executable, "-m", "hailod", "run", "--config", str(self.path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONWARNINGS": "default"},
        )
        self._reader = threading.Thread(target=self._read, name="daemon output")
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self._collect()
        if kind is not None:
            print("\n".join(self.lines[-60:]))
        else:
            self._check_interface()

    @property
    def process(self) -> subprocess.Popen[str]:
        assert self._process is not None
        return self._process

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    @property
    def host(self) -> int:
        """The process id of the device host; waits for it to run."""
        return wait_for(self._host, what="a device host runs")

    def hosts(self) -> list[int]:
        """Process ids of the device hosts that live now."""
        children = psutil.Process(self.process.pid).children()
        return [c.pid for c in children if c.status() != psutil.STATUS_ZOMBIE and "hailod.device.host" in c.cmdline()]

    def stop(self, timeout: float = 15.0) -> int:
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait(timeout)

    def kill(self, patience: float = 30.0) -> list[str]:
        """SIGKILL; returns the children that did not end by themselves thereafter, with what they do.

        One that is still being loaded looks for its parent only when it has been.
        """
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        self.wait()
        left = psutil.wait_procs(children, patience)[1]
        return [f"{child.pid} ({child.status()}) {' '.join(child.cmdline())}" for child in left if child.is_running()]

    def wait(self, timeout: float = 15.0) -> int:
        """Wait for its end; returns the exit code."""
        code = self.process.wait(timeout)
        self._collect()
        return code

    def _check_interface(self) -> None:
        """Every message that anybody saw of the node kept to the interface."""
        for observer in Observer.of_broker(self._port):
            rules = Interface(BASE, as_published=observer.as_published)
            for seen in list(observer.seen):
                rules.take(seen.topic, seen.payload, qos=seen.qos, retain=seen.retain)
            assert not rules.problems, "\n".join(["the node did not keep to its interface:", *rules.problems])

    def _host(self) -> int | None:
        hosts = self.hosts()
        return hosts[0] if hosts else None

    def _collect(self) -> None:
        self.process.wait(15)
        assert self._reader is not None
        self._reader.join(15)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
