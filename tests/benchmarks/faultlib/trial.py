"""One fault on a stage of its own: broker, relay, cameras, daemon; what was seen of it and what is wrong with that.

Times are monotonic seconds. When a fault is scripted into the simulated device nobody sees it begin: it is then taken
to have begun with the last detection before the first word about it, which makes figures too long, never too short.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, TypeVar

from tests.benchmarks.faultlib.checker import Checker, Message, leaked, retained_problems
from tests.benchmarks.faultlib.findings import Evidence, Findings
from tests.benchmarks.faultlib.node import Node, configuration
from tests.benchmarks.faultlib.patience import PATIENCE_S, wait_for
from tests.benchmarks.faultlib.proxy import Proxy
from tests.benchmarks.faultlib.recorder import Login, Recorder, retained_by
from tests.support.broker import Broker
from tests.support.daemon import BASE, NODE
from tests.support.interface import Interface
from tests.support.models import sees_two

SEES = {"person": 1, "car": 1}
# What opening a device and configuring a model take.
OPEN_S = 0.3
CONFIGURE_S = 0.05
STALL_TIMEOUT_S = 1.0
HARMLESS = frozenset({"simulated", "clock_unsynced"})
SYNTHETIC = 'source = "synthetic:?size=160x120&fps=20"\n'
TWO_CAMERAS: Mapping[str, str] = {"front": SYNTHETIC, "yard": SYNTHETIC}
ONE_MODEL = '[models.two]\npath = "two.sim.toml"\n'

Peer = TypeVar("Peer")
_serials = itertools.count(1)


class Trial:
    """The stage. A row calls `start`, then lets something happen, then `detected` and `recovered`."""

    def __init__(self, folder: Path, clips: Callable[[str], Path], undisturbed: Sequence[str] = ()) -> None:
        self.folder = folder
        self.clips = clips
        self.findings = Findings()
        self.online: dict[str, Mapping[str, int]] = {}
        self.others: list[str] = []
        # What health must say in the end; None: anything.
        self.ends: str | None = "ok"
        self.open_ends: frozenset[str] = frozenset()
        self.secrets: list[str] = []
        self.login: Login = None
        # Whether the broker takes every document, so that what it keeps can be judged, and losses be counted.
        self.tells_all = True
        # Whether the daemon can say how its cameras end; without a connection only its will is told.
        self.tells_end = True
        self._undisturbed = undisturbed
        self._stack = ExitStack()
        self._began: float | None = None
        self._mended: float | None = None
        self._evidence: Evidence | None = None
        self._codes: set[str] = set()
        self._before: dict[str, int] | None = None
        self._nodes: list[Node] = []
        self._tame = False
        self._prefix: Sequence[str] = ()
        self._ended = False
        self.started = 0.0

    def __enter__(self) -> Trial:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # -- the stage ---------------------------------------------------------------------------------------------------

    def start(
        self,
        cameras: Mapping[str, str] = TWO_CAMERAS,
        *,
        models: str = ONE_MODEL,
        faults: str = "",
        device: str = "",
        simulated: str = "",
        mqtt: str = "",
        head: str = "",
        others: Sequence[str] = (),
        broker: Broker | None = None,
        before: Callable[[], object] = lambda: None,
        ready: bool = True,
        relay: bool = True,
        tame: bool = False,
        prefix: Sequence[str] = (),
        real: bool = False,
    ) -> None:
        """Start it all; returns when every camera but `others` delivers, or at once without `ready`. `before` is called
        when all but the daemon is there."""
        self.online = {name: SEES for name in cameras if name not in others}
        self.others = list(others)
        self.checker = Checker(
            BASE, expects=self.online, secrets=self.secrets, clears=not self.tells_all, interface=Interface(BASE)
        )
        self.recorder = Recorder(self.checker)
        self._stack.callback(self.recorder.disconnect)
        self.broker = broker or Broker(self.folder)
        self._stack.callback(self.broker.stop)
        self.broker.start()
        self.recorder.connect(self.broker.port, self.login)
        self.proxy = self._stack.enter_context(Proxy(self.broker.port))
        (self.folder / "two.sim.toml").write_text(sees_two(96, 128))
        if faults:
            (self.folder / "faults.toml").write_text(faults)
            simulated = f'faults = "{self.folder / "faults.toml"}"\n{simulated}'
        self.serial = f"faults-{os.getpid()}-{next(_serials)}"
        simulator = (
            f'backend = "simulated"\nstall_timeout = {STALL_TIMEOUT_S}\nbackoff_max = 2.0\n{device}'
            f"[device.simulated]\nopen_s = {OPEN_S}\nconfigure_s = {CONFIGURE_S}\n"
            f'serial = "{self.serial}"\n{simulated}'
        )
        port = self.proxy.port if relay else self.broker.port
        self._text = configuration(
            self.folder, port, cameras, head=head, mqtt=mqtt, device=device if real else simulator, models=models
        )
        self._tame, self._prefix = tame, prefix
        before()
        self.launch()
        if ready:
            self.ready()

    def enter(self, context: AbstractContextManager[Peer]) -> Peer:
        """Have something on the stage until the trial ends."""
        return self._stack.enter_context(context)

    def launch(self) -> None:
        """Start the daemon, again after it was ended."""
        self.started = time.monotonic()
        self.node = self._stack.enter_context(Node(self.folder, self._text, tame=self._tame, prefix=self._prefix))
        self._nodes.append(self.node)

    def rival(self) -> Node:
        """Another daemon like this one, with a name of its own: for the same broker and the same device."""
        folder = self.folder / "rival"
        folder.mkdir()
        shutil.copy(self.folder / "two.sim.toml", folder)
        text = self._text.replace(f'node = "{NODE}"', f'node = "{NODE}-rival"').replace(
            f'"{self.folder / "state"}"', f'"{folder / "state"}"'
        )
        return self.enter(Node(folder, text))

    def ready(self, timeout: float = PATIENCE_S) -> None:
        """Wait until every camera that can deliver does."""

        def all_online() -> bool:
            assert self.node.alive, "the daemon ended: " + " | ".join(self.node.lines[-3:])
            return all(self.status(name) == "online" and self.frames(name, self.started) for name in self.online)

        wait_for(all_online, timeout=timeout, what=f"{', '.join(self.online)} deliver")

    # -- the fault ---------------------------------------------------------------------------------------------------

    def inject(self, action: Callable[[], object]) -> None:
        """Now the fault happens."""
        if self._undisturbed:
            self.baseline()
        self._began = time.monotonic()
        action()

    def mend(self, action: Callable[[], object]) -> None:
        """Now the cause of the fault is taken away: from here on the recovery is timed."""
        self._mended = time.monotonic()
        action()

    def baseline(self) -> None:
        """From here on the cameras that have nothing to do with the fault may lose nothing."""
        self._before = self._dropped(self.fresh_metrics())

    def from_start(self) -> None:
        """The fault was there when the daemon was started."""
        self._began = self.started

    def undisturbed_so_far(self) -> None:
        """Judge the other cameras now; what mends this fault may cost them something."""
        self._compare(self._before or {}, self._dropped(self.fresh_metrics()))
        self._undisturbed = ()

    def detected(self, *codes: str, timeout: float = PATIENCE_S) -> Evidence:
        """Wait for the first word about the fault by one of these codes: in health, in an event, in the log."""
        self._codes |= set(codes)
        wanted = frozenset(codes)
        since = self.started if self._began is None else self._began

        def heard() -> Evidence | None:
            return min(self._words(wanted, since), default=None)

        evidence = wait_for(heard, timeout=timeout, what=f"word of {' or '.join(codes)}")
        assert evidence is not None
        if self._evidence is None:
            self._evidence = evidence
            if self._began is None:
                before = [m.at for name in self.online for m in self.frames(name) if m.at < evidence.at]
                self._began = max(before, default=self.started)
            self.findings.detected = evidence.at - self._began
        return evidence

    def recovered(self, *cameras: str, timeout: float = PATIENCE_S) -> float:
        """Wait until each of `cameras` (all that can) delivers what it saw after the fault was found and, if it was for
        us to mend, mended; returns the seconds from there to the first such result."""
        evidence = self._evidence
        assert evidence is not None
        assert self._began is not None
        since = max(evidence.at, self._mended or 0.0)
        wall = time.time() - (time.monotonic() - since)

        def after(name: str) -> Message | None:
            return next((m for m in self.frames(name, since) if m.document["ts"] > wall), None)

        names = cameras or tuple(self.online)
        wait_for(lambda: all(map(after, names)), timeout=timeout, what=f"{', '.join(names)} deliver again")
        first = min(found.at for name in names if (found := after(name)) is not None)
        self.findings.recovered = first - (self._mended or self._began)
        return self.findings.recovered

    def over(self, *codes: str, timeout: float = PATIENCE_S) -> None:
        """Wait until health names none of these any more."""
        # Health in MQTT comes a moment after the log, where a condition may not yet have begun either.
        wait_for(
            lambda: not (self.reasons() | self.node.standing()) & set(codes),
            timeout=timeout,
            what=f"{' and '.join(codes)} is over",
        )
        if self.findings.recovered is None and self._began is not None:
            self.findings.recovered = time.monotonic() - (self._mended or self._began)

    def watch(self, seconds: float) -> None:
        """Let it go on for so long."""
        threading.Event().wait(seconds)
        assert self.node.alive, "the daemon ended"

    # -- what was heard ----------------------------------------------------------------------------------------------

    def status(self, camera: str) -> str | None:
        message = self.recorder.last(f"{BASE}/cam/{camera}/status")
        return message.payload.decode() if message else None

    def frames(self, camera: str, since: float = 0.0) -> list[Message]:
        return self.recorder.of(f"{BASE}/cam/{camera}/detections", since)

    def events(self, kind: str, camera: str | None = None) -> list[Mapping[str, Any]]:
        topic = f"{BASE}/event" if camera is None else f"{BASE}/cam/{camera}/event"
        return [m.document for m in self.recorder.of(topic) if m.document["event_type"] == kind]

    def reasons(self) -> set[str]:
        """The codes in the newest health."""
        message = self.recorder.last(f"{BASE}/health")
        # An empty one withdraws what was told before.
        return _codes(message) if message and message.payload else set()

    def healths(self, since: float = 0.0) -> list[Message]:
        """The health messages at or after `since`."""
        return [message for message in self.recorder.of(f"{BASE}/health", since) if message.payload]

    def health_says(self, code: str, *words: str) -> bool:
        """Whether a health message has told of `code` in these words."""
        told = [r for m in self.healths() for r in m.document["reasons"] if r["code"] == code]
        return any(all(word in json.dumps(reason, ensure_ascii=False) for word in words) for reason in told)

    def told_since(self) -> set[str]:
        """The codes that health has told of since the fault began."""
        since = self._began or self.started
        return {code for message in self.healths(since) for code in _codes(message)}

    def statuses_since(self, camera: str) -> list[str]:
        """The words of the camera's status since the fault began."""
        since = self._began or self.started
        return [message.payload.decode() for message in self.recorder.of(f"{BASE}/cam/{camera}/status", since)]

    def fresh_metrics(self) -> Mapping[str, Any]:
        """The next metrics that come."""
        since = time.monotonic()
        return wait_for(lambda: self.recorder.of(f"{BASE}/metrics", since), what="metrics")[-1].document

    def command(self, name: str, args: Mapping[str, object], timeout: float = PATIENCE_S) -> Mapping[str, Any]:
        """Give the node a command; returns its final reply."""
        identity = f"t{time.monotonic_ns()}"
        self.recorder.publish(f"{BASE}/cmd/{name}", json.dumps({"id": identity, "args": args}))

        def final() -> list[Mapping[str, Any]]:
            heard = [m.document for m in self.recorder.of(f"{BASE}/reply/{name}")]
            return [reply for reply in heard if reply["id"] == identity and reply["status"] != "accepted"]

        return wait_for(final, timeout=timeout, what=f"a reply to {name}")[0]

    @property
    def log(self) -> list[str]:
        """What the daemon has written so far, in all its lives."""
        return [line for node in self._nodes for line in node.lines]

    def complain(self, text: str) -> None:
        self.findings.problems.append(text)

    def check(self, holds: object, text: str) -> None:
        """Complain unless it holds."""
        if not holds:
            self.complain(text)

    # -- the end -----------------------------------------------------------------------------------------------------

    def end(self, *, kill: bool = False, beyond: Collection[int] = ()) -> None:
        """End the daemon here and now, whatever state it is in: by SIGTERM, or by SIGKILL. `beyond` are children that
        nobody can end."""
        self._ended = not kill
        took, problems = self.node.end(kill=kill, expected=-signal.SIGKILL if kill else 0, beyond=beyond)
        self.findings.stopped = took
        self.findings.problems += problems
        if not kill:
            self.findings.notes.append(f"ended after {took:.2f} s")

    def finish(self) -> Findings:
        """What every row must leave behind: health, retained documents, books and processes in order."""
        found = self.findings
        if self._ended:
            self.judge()
            return found
        self._settle()
        if self.tells_all:
            self._count()
            kept = retained_by(self.broker.port, self.login)
            found.problems += retained_problems(BASE, kept, online=self.online, others=self.others, state=self.ends)
        found.stopped, problems = self.node.end()
        found.problems += problems
        self.judge()
        return found

    def judge(self) -> None:
        """What can be said once the daemon has ended."""
        found = self.findings
        self.read()
        wait_for(lambda: self._word("status") == "offline", what="the node is told as offline")
        for name in (*self.online, *self.others) if self.tells_end else ():
            word = self.status(name)
            self.check(word in ("offline", "disabled"), f"camera {name} is {word} after the end")
        found.problems += self.checker.problems
        found.problems += self.checker.unfinished(self.open_ends)
        found.problems += leaked(self.log, self.secrets)
        found.said = self._said()
        self.check(not found.messages_lost, f"{found.messages_lost} events, replies or states lost")

    def read(self) -> None:
        """Note how much was read so far, and how much of it told of no objects."""
        self.findings.heard, self.findings.empty = self.checker.messages, self.checker.empty

    def _settle(self) -> None:
        def well() -> bool:
            message = self.recorder.last(f"{BASE}/health")
            good = self.ends is None or (message is not None and message.document["state"] == self.ends)
            return good and all(self.status(name) == "online" and self._fresh(name) for name in self.online)

        wait_for(well, what=f"health is {self.ends} and all cameras are online; now {self.reasons()}")

    def _fresh(self, camera: str) -> bool:
        """Whether the camera's counts are told as being of now; at most every half second they are told at all."""
        message = self.recorder.last(f"{BASE}/cam/{camera}/state")
        return message is not None and message.document["stale"] is None

    def _count(self) -> None:
        found, last = self.findings, self._dropped(self.fresh_metrics())
        before = self._before
        if before is None:
            since = self._began or self.started
            earlier = [m for m in self.recorder.of(f"{BASE}/metrics", self.started) if m.at <= since]
            before = self._dropped(earlier[-1].document) if earlier else {}
        found.frames_lost = sum(last.values()) - sum(before.values())
        self._compare(before, last)
        health = self.recorder.last(f"{BASE}/health")
        dropped = dict(health.document["mqtt"]["dropped"]) if health else {}
        found.messages_lost = sum(dropped.get(kind, 0) for kind in ("event", "reply", "state"))
        found.streams_dropped = sum(dropped.values()) - found.messages_lost

    def _compare(self, before: Mapping[str, int], last: Mapping[str, int]) -> None:
        """Did the cameras that have nothing to do with the fault lose a frame between these two?"""
        if self._undisturbed:
            self.findings.others_lost = sum(last[name] - before.get(name, 0) for name in self._undisturbed)
        for name in self._undisturbed:
            if lost := last[name] - before.get(name, 0):
                self.findings.missed.append(f"camera {name} lost {lost} frames")
            times = [m.at for m in self.frames(name, self._began or self.started)]
            gap = max((later - sooner for sooner, later in itertools.pairwise(times)), default=0.0)
            if gap > 1.0:
                self.findings.missed.append(f"camera {name} was silent for {gap:.1f} s")

    @staticmethod
    def _dropped(metrics: Mapping[str, Any]) -> dict[str, int]:
        return {name: int(rates["dropped_total"]) for name, rates in metrics["cameras"].items()}

    def _word(self, leaf: str) -> str | None:
        message = self.recorder.last(f"{BASE}/{leaf}")
        return message.payload.decode() if message else None

    def _words(self, codes: frozenset[str], since: float) -> list[Evidence]:
        """The first word of each kind about one of `codes` since then."""
        found = []
        if (logged := self.node.condition(codes, since)) is not None:
            found.append(Evidence(*logged))
        told = self._told(codes, since)
        found += told[:1]
        for topic in (f"{BASE}/event", *(f"{BASE}/cam/{name}/event" for name in (*self.online, *self.others))):
            for message in self.recorder.of(topic, since):
                if (kind := message.document["event_type"]) in codes:
                    found.append(Evidence(message.at, kind, "event"))
                    break
        return found

    def _told(self, codes: frozenset[str], since: float) -> list[Evidence]:
        return [
            Evidence(message.at, reason["code"], reason["text"])
            for message in self.healths(since)
            for reason in message.document["reasons"]
            if reason["code"] in codes
        ]

    def _said(self) -> str:
        """What health said of it, in MQTT if it stood there long enough to be told, else in the log."""
        if self._evidence is None:
            return self.findings.said
        since, codes = (self._began or self.started), frozenset(self._codes)
        for code, text in [(e.code, e.text) for e in self._told(codes, since)][:1]:
            return f"{code}: {text}"
        logged = self.node.condition(codes, since)
        return f"log: {logged[1]}: {logged[2]}" if logged else f"event: {self._evidence.code}"


def _codes(health: Message) -> set[str]:
    return {reason["code"] for reason in health.document["reasons"]}
