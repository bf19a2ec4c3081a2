"""SIGKILL at random moments: of a process that writes settings, and of the whole daemon while settings change.

    python -m tests.benchmarks.kills                      900 writers and 100 daemons, some six minutes
    python -m tests.benchmarks.kills --store 60 --daemon 3

Each time what is left is read with the loader that the daemon uses. A violation is a file that does not load, half a
change, a revision older than the last one that was told to be on the disk, and, of a daemon: an answered change that is
gone, a child or a half-written file that is left after the next start. A table is printed; any violation exits with 1.

SIGKILL shows what the program does; what a disk loses when its power fails is the business of fsync, which is called
and whose failure is a write that failed, but cannot be shown on a machine that stays up.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import random
import signal
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hailod.clock import SystemClock
from hailod.config.load import Loaded, load, with_overrides
from hailod.config.store import FILE, Edit, Overrides, Store
from hailod.control.saver import Saver, SaverEvent, StateSaved
from hailod.mqtt import discovery
from tests.support import leaks
from tests.support.broker import Broker, Observer
from tests.support.compiled import keep_compiled
from tests.support.daemon import BASE, SEES_TWO, Daemon
from tests.support.waiting import wait_for

CAMERAS = 12
# What a daemon keeps: what was set, and what Home Assistant was told.
KEPT = {FILE, discovery.FILE}
_ACKNOWLEDGED = struct.Struct("<q")
# The longest that a writer, or a daemon at work, is let live.
WRITER_S = 0.1
DAEMON_S = 1.5
# One start in so many is killed before it is at work.
EARLY = 4
START_S = 60.0


@dataclass
class Tally:
    """What happened, and what must not have."""

    counts: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    def expect(self, holds: bool, what: str) -> None:
        if not holds:
            self.violations.append(what)

    def table(self) -> Iterator[str]:
        for name, count in self.counts.items():
            yield f"  {name:<44} {count:>8}"
        yield f"  {'violations':<44} {len(self.violations):>8}"
        yield from (f"    {violation}" for violation in self.violations[:20])


# -- the store -------------------------------------------------------------------------------------------------------


def change(revision: int) -> dict[str, object]:
    """What revision `revision` sets: leaves of every camera and the model, each of which tells the revision."""
    fraction = round(0.1 + (revision % 7_000) * 0.0001, 4)
    values: dict[str, object] = {"model": ("one", "two")[revision % 2]}
    for number in range(CAMERAS):
        values[f"cameras.c{number}.threshold"] = fraction
        values[f"cameras.c{number}.max_fps"] = float(revision % 1_000 + 1)
    return values


def base(folder: Path) -> Loaded:
    """The files below what is set over MQTT."""
    cameras = "".join(f'[cameras.c{number}]\nsource = "synthetic:"\n' for number in range(CAMERAS))
    models = "".join(f'[models.{name}]\npath = "{name}.hef"\n' for name in ("one", "two"))
    file = folder / "hailod.toml"
    file.write_text(f'model = "one"\nstate_dir = "{folder}/state"\n{models}{cameras}')
    return load(file, {})


def write_for_ever(store: Store, overrides: Overrides, pipe: int) -> None:
    """Change the settings as fast as they can be saved, and tell each revision that is on the disk."""
    events: queue.SimpleQueue[SaverEvent] = queue.SimpleQueue()
    saver = Saver(store, overrides, SystemClock(), events.put)
    saver.start()
    revision = overrides.revision
    while True:
        revision += 1
        ticket = saver.keep(Edit(change(revision)), revision)
        while ticket is not None:
            event = events.get()
            if event.ticket >= ticket:
                assert isinstance(event, StateSaved), event
                break
        os.write(pipe, _ACKNOWLEDGED.pack(revision))


def kill_writers(folder: Path, rounds: int, rng: random.Random) -> Tally:
    """Kill a writer `rounds` times; the next one goes on where it was."""
    tally = Tally()
    files, store = base(folder), Store(folder / "state")
    known = 1
    for number in range(rounds):
        before = with_overrides(files, store).overrides
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            # Only a process without threads may be forked like this, and this one has none.
            os.close(reader)
            try:
                write_for_ever(store, before, writer)
            finally:
                os._exit(70)
        os.close(writer)
        time.sleep(rng.uniform(0.0, WRITER_S))
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        with os.fdopen(reader, "rb") as told:
            data = told.read()
        tally.expect(os.WIFSIGNALED(status), f"round {number}: the writer ended by itself")
        acknowledged = [revision for (revision,) in _ACKNOWLEDGED.iter_unpack(data)]
        known = max([known, *acknowledged])
        known = _check_store(number, files, store, known, tally)
        tally.counts["writers killed"] += 1
        tally.counts["changes told to be on the disk"] += len(acknowledged)
    store.prepare()
    tally.expect(set(os.listdir(store.directory)) <= {FILE}, f"left in the folder: {os.listdir(store.directory)}")
    return tally


def _check_store(number: int, files: Loaded, store: Store, known: int, tally: Tally) -> int:
    """See to what a killed writer left; returns the revision that is there."""
    loaded = with_overrides(files, store)
    tally.expect(not loaded.discarded, f"round {number}: does not load: {loaded.discarded[:1]}")
    found = loaded.overrides
    tally.expect(found.revision >= known, f"round {number}: revision {found.revision}, and {known} was told")
    tally.expect(found.revision <= known + 1, f"round {number}: revision {found.revision} after {known}")
    whole = change(found.revision) if found.revision > 1 else {}
    tally.expect(dict(found.values) == whole, f"round {number}: half a change of revision {found.revision}")
    names = os.listdir(store.directory) if store.directory.is_dir() else []
    tally.counts["half-written files found, then removed"] += len(set(names) - {FILE})
    tally.counts["killed after the rename, before it was told"] += found.revision == known + 1
    return found.revision


# -- the daemon ------------------------------------------------------------------------------------------------------

BODY = """
[models.two]
path = "two.sim.toml"
[models.other]
path = "other.sim.toml"
[cameras.front]
source = "synthetic:?size=160x120&fps=5"
[cameras.back]
source = "synthetic:?size=160x120&fps=5"
"""
HEAD = 'model = "two"\n'
State = dict[str, object]


@dataclass
class Wishes:
    """What was asked for: every state that the settings went through, and which of them was the last to be answered."""

    states: list[State]
    answered: int = 0

    @property
    def possible(self) -> list[State]:
        """What may be in effect after a kill: the last answered change, or what was asked for after it."""
        return self.states[self.answered :]


def kill_daemons(folder: Path, rounds: int, rng: random.Random) -> Tally:
    """Kill a daemon `rounds` times, while its settings are changed over a real broker, and see to each next start."""
    tally = Tally()
    for name in ("two", "other"):
        (folder / f"{name}.sim.toml").write_text(SEES_TWO)
    front = {"cameras.front.threshold": 0.5, "cameras.front.max_fps": None, "cameras.front.enabled": True}
    wishes = Wishes([{"model": "two", **front}])
    with Broker(folder) as broker:
        for number in range(rounds + 1):
            with Daemon(folder, broker, BODY, head=HEAD) as daemon:
                last = number == rounds
                if not last and rng.randrange(EARLY) == 0:
                    time.sleep(rng.uniform(0.0, DAEMON_S))
                    tally.counts["daemons killed while they started"] += 1
                else:
                    _live(number, broker, daemon, wishes, rng, tally)
                if last:
                    tally.expect(daemon.stop() == 0, "the last daemon did not end well")
                    continue
                left = daemon.kill()
            tally.counts["daemons killed"] += 1
            tally.expect(left == [], f"round {number}: children left: {left}")
    names = os.listdir(folder / "state")
    tally.expect(set(names) <= KEPT, f"left in the folder: {names}")
    return tally


def _live(number: int, broker: Broker, daemon: Daemon, wishes: Wishes, rng: random.Random, tally: Tally) -> None:
    """One daemon from its start on: is it clean, and then change what can be changed until its time has come."""
    with Observer(broker.port, f"{BASE}/#") as observer:
        wait_for(
            lambda: any(not seen.retain and seen.payload == b"online" for seen in observer.of(f"{BASE}/status")),
            what=f"round {number}: the daemon is online",
            timeout=START_S,
        )
        told = _told(observer)
        tally.expect(told in wishes.possible, f"round {number}: {told} is none of {wishes.possible}")
        wishes.states, wishes.answered = [told], 0
        tally.expect("setting left out" not in daemon.output, f"round {number}: settings were left out")
        names = os.listdir(daemon.state) if daemon.state.is_dir() else []
        tally.expect(set(names) <= KEPT, f"round {number}: left in the folder after the start: {names}")
        over = time.monotonic() + rng.uniform(0.0, DAEMON_S)
        for step in range(1_000_000):
            if time.monotonic() >= over or not _change(f"{number}-{step}", observer, wishes, rng, over, tally):
                return
            # Ten commands a second are obeyed.
            time.sleep(rng.uniform(0.0, 0.2))


def _change(identity: str, observer: Observer, wishes: Wishes, rng: random.Random, over: float, tally: Tally) -> bool:
    """Ask for one change, and wait for the answer or the end; says whether it was answered."""
    state = dict(wishes.states[-1])
    kind = rng.choice(["model", "cameras.front.threshold", "cameras.front.max_fps", "cameras.front.enabled"])
    key = kind.rpartition(".")[2]
    if kind == "model":
        state[kind] = "other" if state[kind] == "two" else "two"
        topic, payload = f"{BASE}/cmd/model.swap", json.dumps({"id": identity, "args": {"model": state[kind]}})
    elif key == "enabled":
        state[kind] = not state[kind]
        topic, payload = f"{BASE}/cam/front/set/{key}", "ON" if state[kind] else "OFF"
    else:
        state[kind] = round(rng.uniform(0.2, 0.9), 3) if key == "threshold" else round(rng.uniform(1.0, 9.0), 2)
        topic, payload = f"{BASE}/cam/front/set/{key}", str(state[kind])
    wishes.states.append(state)
    observer.publish(topic, payload)
    while time.monotonic() < over:
        if _told(observer) == state and (kind != "model" or _persisted(observer, identity)):
            wishes.answered = len(wishes.states) - 1
            tally.counts["changes answered"] += 1
            return True
        time.sleep(0.002)
    return False


def _told(observer: Observer) -> State:
    """The settings as the daemon that runs has told them."""
    node = [seen.json for seen in observer.of(f"{BASE}/settings") if not seen.retain]
    camera = [seen.json for seen in observer.of(f"{BASE}/cam/front/settings") if not seen.retain]
    if not node or not camera:
        return {}
    keys = ("threshold", "max_fps", "enabled")
    return {"model": node[-1]["model"], **{f"cameras.front.{key}": camera[-1][key] for key in keys}}


def _persisted(observer: Observer, identity: str) -> bool:
    replies: list[Any] = [seen.json for seen in observer.of(f"{BASE}/reply/model.swap")]
    return any(r["id"] == identity and r["status"] == "ok" and r["data"]["persisted"] for r in replies)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="SIGKILL writers of settings, and daemons, at random moments")
    parser.add_argument("--store", type=int, default=900, help="how many writers to kill")
    parser.add_argument("--daemon", type=int, default=100, help="how many daemons to kill")
    parser.add_argument("--seed", type=int, default=1, help="of the moments and the changes")
    options = parser.parse_args(arguments)
    keep_compiled()
    # Orphans come to us, to be seen and collected.
    leaks.become_reaper()
    violations = 0
    for title, rounds, kill in (("writers", options.store, kill_writers), ("daemons", options.daemon, kill_daemons)):
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="hailod-kills-") as folder:
            tally = kill(Path(folder), rounds, random.Random(f"{title} {options.seed}"))
        print(f"{title} (seed {options.seed}, {time.monotonic() - began:.0f} s)")
        print("\n".join(tally.table()), flush=True)
        violations += len(tally.violations)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
