"""Where a demo takes place: the daemon, its broker and a watcher, started, watched and ended together.

Used by the main thread alone. All files are in a folder that the caller made and removes.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import resource
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import hailod.models
from hailod.clock import Clock
from hailod.demo import broker, narrator
from hailod.demo.broker import HOST, Broker
from hailod.demo.child import Child, DemoError
from hailod.demo.narrator import Line, Narrator, Tone
from hailod.demo.porch import Porch
from hailod.mqtt.topics import Topics
from hailod.mqtt.watcher import Watcher

NODE: Final = "demo"
MODELS: Final = ("fast", "accurate")
READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 4.0
_TURN_S = 0.1
_FAULTS = "faults.toml"
# A third camera, for demos in which one goes away.
_PORCH = """\
[cameras.porch]
source = "http://{host}:{port}/picture.jpg"
poll_interval = 0.5
backoff_initial = 0.2
backoff_max = 1.0
"""
_ACCOUNTED = "frames accounted for"

_CONFIG = """\
schema = 1
node = {node}
model = "fast"
state_dir = {state}
[mqtt]
host = "{host}"
port = {port}
protocol = "{protocol}"
metrics_interval = 4.0
[device]
backend = "simulated"
[device.simulated]
serial = "demo-{pid}"
faults = {faults}
[models.fast]
path = {fast}
[models.accurate]
path = {accurate}
[cameras.driveway]
source = "synthetic:driveway?seed=5&fps=12"
[cameras.street]
source = "synthetic:street?seed=4&fps=12&night=1"
"""


class Over(Exception):
    """The demo's time is up, or somebody ended it."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to watch the demo."""

    host: str
    port: int
    topics: Topics


class Stage:
    """A running demo. A script tells it what to do; whatever is published meanwhile is told by `say`.

    Every method that waits raises `Over` when the demo shall end, and DemoError when a process of it has died.
    """

    def __init__(
        self,
        directory: Path,
        say: Callable[[Line], None],
        clock: Clock,
        *,
        kind: broker.Kind,
        seconds: float | None = None,
        porch: bool = False,
    ) -> None:
        self.topics = Topics(NODE)
        self._directory = directory
        self._say = say
        self._clock = clock
        self._seconds = seconds
        self._interrupted = False
        self._narrator = Narrator(self.topics)
        self._ids = itertools.count(1)
        self._broker = Broker(kind, directory, clock, self._pause)
        self._broker_wanted = True
        self._daemon = Child("daemon", _daemon_command(directory), directory, clock)
        self._porch = Porch(directory, clock) if porch else None
        self._watcher: Watcher | None = None
        self._began = clock.monotonic()
        self._curtain: float | None = None
        self._cpu_before = _cpu_s()

    # -- for those who run it ----------------------------------------------------------------------------------------

    def start(self) -> Address:
        """Start everything, and return once the daemon is connected and has published its first detections."""
        if importlib.util.find_spec("onnxruntime") is None:
            raise DemoError(
                "the simulated device needs onnxruntime: pip install onnxruntime, or "
                "apt-get install python3-onnxruntime"
            )
        models = _models()
        self._broker.start()
        config = _config(self._directory, self._broker.port, self._broker.kind.protocol, models)
        self.script("")
        if self._porch is not None:
            self._porch.start()
            self._porch_listens(self._porch)
            config += _PORCH.format(host=HOST, port=self._porch.port)
        (self._directory / "hailod.toml").write_text(config, encoding="utf-8")
        self._watcher = Watcher(HOST, self._broker.port, f"{self.topics.base}/#")
        self._watcher.start()
        self._daemon.start()
        self._await(lambda: self.heard.online and self.heard.detections > 0, READY_TIMEOUT_S, "the first detections")
        if self._seconds is not None:
            self._curtain = self._clock.monotonic() + self._seconds
        return Address(HOST, self._broker.port, self.topics)

    def interrupt(self) -> None:
        """Have whatever waits raise `Over`; may be called by a signal handler."""
        self._interrupted = True

    def stop(self) -> list[Line]:
        """End everything that was started, in reverse order; returns the summary."""
        began, seconds = self._began, self._clock.monotonic() - self._began
        orderly = self._daemon.stop(STOP_TIMEOUT_S)
        if self._watcher is not None:
            self._watcher.stop()
        if self._porch is not None:
            self._porch.stop()
        self._broker.stop()
        # The daemon's own closing line, written when no frame is on its way any more.
        balanced = orderly and any(_ACCOUNTED in line for line in self._daemon.lines)
        cpu = (_cpu_s() - self._cpu_before) / max(self._clock.monotonic() - began, 0.1)
        return narrator.summary(self.heard, seconds=seconds, balanced=balanced, cpu_pct=100 * cpu)

    # -- for scripts -------------------------------------------------------------------------------------------------

    @property
    def heard(self) -> narrator.Heard:
        """What the node has told so far."""
        return self._narrator.heard

    def say(self, text: str) -> None:
        """Tell people what happens next."""
        self._say(Line(f"{self._elapsed:6.1f} s  {text}", Tone.PLAIN))

    def watch(self, seconds: float) -> None:
        """Let the demo go on for so long."""
        until = self._clock.monotonic() + seconds
        while (left := until - self._clock.monotonic()) > 0:
            self._turn(min(left, _TURN_S))

    def until(self, condition: Callable[[], bool], timeout: float, what: str) -> float:
        """Let the demo go on until `condition` holds; returns the seconds that took. DemoError after `timeout`."""
        return self._await(condition, timeout, what)

    def command(self, name: str, args: dict[str, object]) -> bool:
        """Give the node a command over MQTT, and wait for its reply, which is told like any other message; says
        whether it was obeyed."""
        identity = f"demo-{next(self._ids)}"
        document = json.dumps({"id": identity, "args": args})
        assert self._watcher is not None
        if not self._watcher.publish(f"{self.topics.base}/cmd/{name}", document):
            raise DemoError("the demo has lost its connection to the broker")
        self._await(lambda: identity in self.heard.replies, READY_TIMEOUT_S, f"a reply to {name}")
        return identity not in self.heard.refused

    def script(self, faults: str) -> None:
        """What the simulated device does wrong, as a script of faults, from the next start of a device host on."""
        path = self._directory / _FAULTS
        fresh = path.with_suffix(".new")
        fresh.write_text(faults, encoding="utf-8")
        fresh.replace(path)

    def stop_camera(self) -> None:
        """Take the camera `porch` away."""
        assert self._porch is not None
        self._porch.stop()

    def start_camera(self) -> None:
        """Bring the camera `porch` back."""
        assert self._porch is not None
        self._porch.start()

    @property
    def daemon_pid(self) -> int:
        """The process id of the daemon."""
        return self._daemon.pid

    def stop_broker(self) -> None:
        """Take the broker away."""
        self._broker_wanted = False
        self._broker.stop()

    def start_broker(self) -> None:
        """Bring the broker back."""
        self._broker.start()
        self._broker_wanted = True

    # -- inside ------------------------------------------------------------------------------------------------------

    @property
    def _elapsed(self) -> float:
        return self._clock.monotonic() - self._began

    def _await(self, condition: Callable[[], bool], timeout: float, what: str) -> float:
        began = self._clock.monotonic()
        while not condition():
            if self._clock.monotonic() - began > timeout:
                last = "\n".join(f"    {line}" for line in list(self._daemon.lines)[-10:])
                raise DemoError(f"{what} did not come within {timeout:.0f} s; the daemon's last lines:\n{last}")
            self._turn(_TURN_S)
        return self._clock.monotonic() - began

    def _porch_listens(self, camera: Porch) -> None:
        """Wait for the camera, so that it is there when the daemon first looks."""
        give_up = self._clock.monotonic() + READY_TIMEOUT_S
        while not camera.listens():
            if not camera.alive or self._clock.monotonic() > give_up:
                raise camera.death()
            self._pause(0.05)

    def _turn(self, timeout: float) -> None:
        """Tell the next message; raise when there is a reason to end."""
        assert self._watcher is not None
        message = self._watcher.next(timeout)
        if message is not None:
            for line in self._narrator.hear(message.topic, message.payload, self._elapsed):
                self._say(line)
        self._check()

    def _check(self) -> None:
        if self._interrupted or (self._curtain is not None and self._clock.monotonic() >= self._curtain):
            raise Over
        if self._daemon.started and not self._daemon.alive:
            raise self._daemon.death()
        if self._broker_wanted and self._broker.started and not self._broker.alive:
            raise self._broker.death()

    def _pause(self, seconds: float) -> None:
        """Wait for the broker, which may not be there to tell anything."""
        if self._watcher is not None:
            self._turn(seconds)
            return
        threading.Event().wait(seconds)
        self._check()


def _daemon_command(directory: Path) -> list[str]:
    return [sys.executable, "-m", "hailod", "run", "--config", str(directory / "hailod.toml")]


def _models() -> dict[str, Path]:
    folder = Path(hailod.models.__file__).parent / "demo"
    models = {name: folder / f"demo_{name}.onnx" for name in MODELS}
    if missing := [str(path) for path in models.values() if not path.is_file()]:
        raise DemoError(f"the demo's detectors are missing: {', '.join(missing)}; install hailod again")
    return models


def _config(directory: Path, port: int, protocol: str, models: dict[str, Path]) -> str:
    # A JSON string is a TOML string, whatever is in the path.
    quoted = {name: json.dumps(str(path)) for name, path in models.items()}
    state, faults = (json.dumps(str(directory / name)) for name in ("state", _FAULTS))
    return _CONFIG.format(
        node=json.dumps(NODE),
        state=state,
        faults=faults,
        host=HOST,
        port=port,
        protocol=protocol,
        pid=os.getpid(),
        **quoted,
    )


def _cpu_s() -> float:
    """CPU seconds of this process and of all below it that have ended."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)
