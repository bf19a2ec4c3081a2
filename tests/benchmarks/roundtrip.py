"""How long a command takes: `python -m tests.benchmarks.roundtrip [--count 200] [--rounds 3] [--json FILE]`.

From the moment a client publishes to the moment it has the answer, through a real mosquitto and the real daemon:
`ping`; `set/threshold` until the settings document with the new value comes; `settings.get` where there is one. At rest
(one camera at one frame a second), and under full load (eight cameras at 30 FPS, more than the device takes); with
mosquitto's `set_tcp_nodelay` off, as it comes, and on. Commands are sent slower than the 10 a second that are allowed.
Every one must be answered, under load too: exit code 1 when one is not.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from hailod.mqtt.topics import Topics
from tests.benchmarks.machine import Steal
from tests.benchmarks.mqttlib.corpus import Names, known
from tests.benchmarks.mqttlib.figures import load, percentile
from tests.benchmarks.mqttlib.stage import Heard, Stage
from tests.support.daemon import BASE, NODE
from tests.support.models import sees_two

PAUSE_S = 0.105
PATIENCE_S = 10.0
MODEL = '[models.two]\npath = "two.sim.toml"\nbatch_size = 4\n'
# 8 ms a frame: 125 a second, of 240 that come.
FRAME_MS = 8.0
CONDITIONS = {"idle": {"cam1": 1}, "loaded": {f"cam{number}": 30 for number in range(1, 9)}}


@dataclass(slots=True)
class Figures:
    """One command in one condition: milliseconds of all that were answered."""

    command: str
    condition: str
    nodelay: bool
    round: int
    answered: int
    unanswered: int
    p50: float
    p99: float
    longest: float
    fps: float
    offered_fps: float


@dataclass(frozen=True, slots=True)
class Question:
    """What is sent, and how its answer is known."""

    topic: str
    payload: str
    answers: Callable[[Heard], bool]


def questions(camera: str) -> dict[str, Callable[[int], Question]]:
    """What is measured; each call of one makes another question."""

    def command(name: str) -> Callable[[int], Question]:
        def ask(number: int) -> Question:
            identity = f"{name}-{number}-{time.monotonic_ns()}"
            topic = f"{BASE}/reply/{name}"
            return Question(
                f"{BASE}/cmd/{name}",
                json.dumps({"id": identity}),
                lambda heard: heard.topic == topic and heard.document["id"] == identity,
            )

        return ask

    def threshold(number: int) -> Question:
        value = 0.5 + 0.1 * (number % 2)
        topic = f"{BASE}/cam/{camera}/settings"
        return Question(
            f"{BASE}/cam/{camera}/set/threshold",
            f"{value:.1f}",
            lambda heard: heard.topic == topic and abs(heard.document["threshold"] - value) < 1e-6,
        )

    found = {"ping": command("ping"), "set/threshold": threshold}
    commands, _, _ = known(Names(Topics(NODE), (camera,), ()))
    if "settings.get" in commands:
        found["settings.get"] = command("settings.get")
    return found


def stage(folder: Path, condition: str, *, nodelay: bool) -> Stage:
    """A daemon in this condition."""
    cameras = {name: f'source = "synthetic:?size=320x240&fps={fps}"\n' for name, fps in CONDITIONS[condition].items()}
    return Stage(
        folder,
        cameras=cameras,
        models={"two.sim.toml": sees_two(96, 128, frame_ms=FRAME_MS)},
        body=MODEL,
        broker=[f"set_tcp_nodelay {str(nodelay).lower()}"],
        hears=(f"{BASE}/reply/+", f"{BASE}/cam/+/settings", f"{BASE}/cam/+/status", f"{BASE}/metrics"),
    )


def measure(standing: Stage, condition: str, *, nodelay: bool, count: int, round_: int) -> list[Figures]:
    """All commands on a stage that stands."""
    ear, pause = standing.ear, threading.Event()
    found = []
    standing.metrics(1)
    for name, ask in questions(standing.cameras[0]).items():
        times: list[float] = []
        unanswered = 0
        began = time.monotonic()
        for number in range(count):
            pause.wait(PAUSE_S)
            # Begun with a value that is not in effect.
            question = ask(number + 1)
            sent = time.monotonic()
            ear.publish(question.topic, question.payload)
            answer = ear.first(question.answers, sent, PATIENCE_S)
            if answer is None:
                unanswered += 1
            else:
                times.append((answer.at - sent) * 1000)
        metrics = [heard.document for heard in ear.since(began, f"{BASE}/metrics")] or standing.metrics(1)
        ear.forget_but()
        fps = statistics.median(m["fps"] or 0.0 for m in metrics)
        figures = (percentile(times, 0.5), percentile(times, 0.99), max(times, default=float("nan")), fps)
        offered = float(sum(CONDITIONS[condition].values()))
        found.append(Figures(name, condition, nodelay, round_, len(times), unanswered, *figures, offered))
    return found


def run(count: int, rounds: int) -> list[Figures]:
    """Every condition in every round, so that what else the machine does meets them all."""
    found = []
    for round_, nodelay, condition in itertools.product(range(1, rounds + 1), (False, True), CONDITIONS):
        with (
            tempfile.TemporaryDirectory(prefix="hailod-roundtrip-") as folder,
            stage(Path(folder), condition, nodelay=nodelay) as standing,
        ):
            found += measure(standing, condition, nodelay=nodelay, count=count, round_=round_)
            standing.daemon.stop()
    return found


def lines(found: Sequence[Figures]) -> list[str]:
    """The table: medians over the rounds, and what load makes of them."""
    heads = ("idle p50", "p99", "max", "loaded p50", "p99", "max", "p50 x", "p99 x")
    heading = "".join(f"{head:>11}" for head in heads)
    told = [f"{'command':<16}{'nodelay':<9}{heading}   ms; FPS under load of those offered"]
    for name, nodelay in dict.fromkeys((figures.command, figures.nodelay) for figures in found):
        of = {
            condition: [f for f in found if (f.command, f.nodelay, f.condition) == (name, nodelay, condition)]
            for condition in CONDITIONS
        }
        idle, loaded = (_medians(of[condition]) for condition in ("idle", "loaded"))
        fps = statistics.median(f.fps for f in of["loaded"])
        ratios = (loaded[0] / idle[0], loaded[1] / idle[1])
        row = "".join(f"{value:>11.2f}" for value in (*idle, *loaded, *ratios))
        offered = of["loaded"][0].offered_fps
        told.append(f"{name:<16}{'on' if nodelay else 'off':<9}{row}   {fps:.0f} of {offered:.0f}")
    return told


def _medians(figures: Sequence[Figures]) -> tuple[float, float, float]:
    return (
        statistics.median(f.p50 for f in figures),
        statistics.median(f.p99 for f in figures),
        max(f.longest for f in figures),
    )


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200, help="of each command in each condition (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of all conditions, interleaved (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was found")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    steal = Steal.now()
    found = run(options.count, options.rounds)
    print(f"{options.count} of each command, {options.rounds} rounds: medians of the rounds, the longest of all")
    print("\n".join(lines(found)))
    unanswered = sum(figures.unanswered for figures in found)
    print(f"unanswered within {PATIENCE_S:g} s: {unanswered} of {sum(f.answered for f in found) + unanswered}")
    print(f"{load()}; {steal.percent_until_now():.1f} % of the machine was stolen")
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(figures) for figures in found], indent=1) + "\n")
    return 1 if unanswered or not found else 0


if __name__ == "__main__":
    sys.exit(main())
