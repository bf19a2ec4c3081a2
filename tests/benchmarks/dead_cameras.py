"""What dead cameras cost: five that live beside forty-five that are refused, silent or cannot be resolved.

    python -m tests.benchmarks.dead_cameras [--seconds 30] [--dead 45] [--live 5]

Runs the real `Cameras` with its real workers and a tick like the control thread's: first the live ones alone, then all.
Prints the CPU of this process in per cent of one core, how many threads there were over time, attempts per second, and
the frames of the live ones. The unresolvable ones ask a name server that never answers, so that their threads hang.
"""

from __future__ import annotations

import argparse
import logging
import os
import queue
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import structlog
from pydantic import SecretStr

from hailod.clock import Clock, SystemClock
from hailod.config.model import CameraSettings, ModelSettings, Settings
from hailod.control.cameras import Cameras
from hailod.control.events import Events
from hailod.control.loop import TICK_S
from hailod.mailbox import Mailboxes
from hailod.mqtt.outbox import Outbox
from hailod.mqtt.topics import Topics
from hailod.pipeline.camera import CameraWorker
from hailod.pipeline.camera_state import CameraState
from hailod.pipeline.publisher import Publisher
from hailod.pipeline.stats import Stats
from hailod.sources import create_source
from hailod.sources.base import Source
from tests.benchmarks.machine import Steal
from tests.support.broken_peers import NameServer, silent_server

LIVE = "synthetic:?size=320x240&fps=25"


@dataclass(frozen=True)
class Run:
    """What was seen: `threads` of cameras once a second, `attempts` by second, frames by live camera."""

    seconds: float
    cpu_pct: float
    threads: list[int]
    attempts: list[int]
    frames: dict[str, int]


def unused_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def dead(count: int) -> Iterator[tuple[dict[str, str], NameServer]]:
    """The sources of `count` dead cameras, a third of each kind, and the name server that the last kind asks."""
    with silent_server() as silent, NameServer() as names:
        kinds = {
            "refused": f"rtsp://127.0.0.1:{unused_port()}/cam",
            "silent": f"rtsp://127.0.0.1:{silent}/cam",
            "lost": "rtsp://camera.example/cam",
        }
        listed = list(kinds.items())
        yield {f"{listed[n % 3][0]}-{n}": listed[n % 3][1] for n in range(count)}, names
        # Let those go that hang.
        names.answer(known=False)


def run(sources: Mapping[str, str], names: NameServer | None, seconds: float, **fields: object) -> Run:
    """Keep cameras on these sources for so long. `fields` are settings of the cameras."""
    clock = SystemClock()
    topics = Topics("bench")
    outbox, mailboxes = Outbox(topics, clock), Mailboxes(clock)
    states: queue.SimpleQueue[CameraState] = queue.SimpleQueue()
    lock = threading.Lock()
    tried = 0

    def factory(name: str, settings: CameraSettings, of: Clock) -> Source:
        nonlocal tried
        with lock:
            tried += not name.startswith("live")
        if names is not None:
            names.use()
        return create_source(name, settings, of)

    cameras = Cameras(
        topics=topics,
        clock=clock,
        outbox=outbox,
        mailboxes=mailboxes,
        publisher=Publisher(outbox, topics, clock, Stats(clock.monotonic())),
        events=Events(topics, clock, outbox, "0000"),
        on_state=states.put,
        factory=partial(CameraWorker, source_factory=factory),
    )
    wanted = {
        name: CameraSettings.model_validate({"source": SecretStr(text), **fields}) for name, text in sources.items()
    }
    for name in sources:
        mailboxes.route(name, ["model"])
    cpu, begun = time.process_time(), time.monotonic()
    cameras.apply(Settings(node="bench", models={"model": ModelSettings(path="model.hef")}, cameras=wanted))
    threads, attempts, before, pause = [], [], 0, threading.Event()
    while (elapsed := time.monotonic() - begun) < seconds:
        while not states.empty():
            cameras.handle(states.get())
        cameras.tick(10.0)
        if elapsed >= len(threads):
            threads.append(camera_threads())
            attempts.append(tried - before)
            before = tried
        pause.wait(TICK_S)
    cpu = time.process_time() - cpu
    books = mailboxes.snapshot().cameras
    frames = {name: books[name].captured for name in sources if name.startswith("live")}
    if names is not None:
        names.answer(known=False)
    cameras.stop(15.0)
    mailboxes.close()
    return Run(elapsed, 100 * cpu / elapsed, threads, attempts, frames)


def camera_threads() -> int:
    return sum(thread.name.startswith("camera-") for thread in threading.enumerate())


def live(count: int) -> dict[str, str]:
    return {f"live-{number}": LIVE for number in range(count)}


def report(title: str, one: Run) -> None:
    print(f"{title}: {one.cpu_pct:.1f} % of a core over {one.seconds:.0f} s")
    print(f"  camera threads each second: {' '.join(map(str, one.threads))}")
    print(f"  attempts each second:       {' '.join(map(str, one.attempts))}")
    rates = [frames / one.seconds for frames in one.frames.values()]
    print(f"  live cameras: {' '.join(f'{rate:.2f}' for rate in rates)} frames a second each")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--dead", type=int, default=45)
    parser.add_argument("--live", type=int, default=5)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    steal = Steal.now()
    report(f"{options.live} live alone", run(live(options.live), None, options.seconds))
    with dead(options.dead) as (sources, names):
        report(f"{options.live} live, {options.dead} dead", run(live(options.live) | sources, names, options.seconds))
    print(f"on {os.cpu_count()} cores, {steal.percent_until_now():.1f} % stolen")


if __name__ == "__main__":
    main()
