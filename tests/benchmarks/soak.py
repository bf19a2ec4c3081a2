"""Millions of frames and hundreds of faults through one engine: does anything grow, and does every frame have an end?

    python -m tests.benchmarks.soak [--frames 2000000] [--faults 500] [--seed 1] [--json FILE] [--plot FILE.png]

This process is the daemon without its cameras and its broker: mailboxes, dispatcher, results thread, publisher and
outbox, and a real device host on the simulated device. Frames are references to one tiny picture; a thread in the
broker's place takes what is published, and is away for a part of the time. Faults come by job number out of a script of
the simulated device, and by signal. At each of a number of pauses, when nothing is under way, everything is counted.

Exit code 1 when something grew, when the books do not balance, or when the work stood still.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from hailod import logs
from tests.benchmarks.machine import Steal
from tests.benchmarks.soaklib.faults import Plan
from tests.benchmarks.soaklib.growth import judge
from tests.benchmarks.soaklib.rig import Rig
from tests.benchmarks.soaklib.sample import Sample, sample
from tests.support.compiled import keep_compiled

WARM_UP = 0.2
PAUSES = 60
STILL_S = 60.0


def soak(frames: int, plan: Plan, folder: Path, *, pauses: int = PAUSES, quiet: bool = False) -> dict[str, object]:
    """Run it; what is returned is what was found."""
    began = time.monotonic()
    samples: list[Sample] = []
    with Rig(folder, plan) as rig:
        for number in range(1, pauses + 1):
            rig.feed(frames * number // pauses - rig.offered, still=STILL_S)
            rig.settle(STILL_S)
            samples.append(sample(time.monotonic() - began, rig))
            if not quiet:
                print(f"{line(samples[-1], rig, plan)}", flush=True)
    seconds = time.monotonic() - began
    books = rig.books()
    verdicts = judge(samples[int(len(samples) * WARM_UP) :])
    problems = [f"{verdict.name} grew: {verdict}" for verdict in verdicts if verdict.grew]
    problems += books.problems + rig.problems
    if plan.injected < plan.count:
        problems.append(f"only {plan.injected} of {plan.count} faults were injected")
    return {
        "frames": rig.offered,
        "seconds": round(seconds, 1),
        "frames_per_second": round(rig.offered / seconds, 1),
        "faults": dict(plan.told()),
        "injected": plan.injected,
        "recoveries": dict(rig.recoveries),
        "ended": dict(books.ended),
        "in_flight": books.in_flight,
        "messages": {str(kind): count for kind, count in rig.taken.items()},
        "dropped": {f"{kind} {reason}": count for (kind, reason), count in sorted(rig.outbox.drops.items())},
        "growth": [verdict.document() for verdict in verdicts],
        "problems": problems,
        "samples": [one.document() for one in samples],
    }


def line(one: Sample, rig: Rig, plan: Plan) -> str:
    return (
        f"{one.at:7.0f} s {rig.offered:9d} frames {plan.injected:4d} faults  RSS {one.rss_mb:6.1f} MB "
        f"PSS {one.pss_mb:6.1f} + {one.host_pss_mb:5.1f} MB  {one.threads} threads {one.descriptors} fds "
        f"{one.children} children {one.mappings} mappings  {one.free_slots}/{one.slots} slots  outbox {one.outbox}"
    )


def told(found: dict[str, object]) -> list[str]:
    """The closing lines."""
    lines = [
        f"{found['frames']} frames in {found['seconds']} s ({found['frames_per_second']} a second)",
        f"{found['injected']} faults: {found['faults']}",
        f"recoveries: {found['recoveries']}",
        f"ended: {found['ended']}, in flight {found['in_flight']}",
        f"messages taken: {found['messages']}; given up: {found['dropped']}",
    ]
    for growth in found["growth"]:  # type: ignore[attr-defined]
        lines.append(f"  {growth['name']:<14} {growth['text']}")
    lines += [f"! {problem}" for problem in found["problems"]]  # type: ignore[attr-defined]
    lines.append("something is wrong" if found["problems"] else "nothing leaked, every frame has its end")
    return lines


def plot(samples: Sequence[dict[str, float]], path: Path) -> None:
    """Each figure over time, one above the other."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    names = [name for name in samples[0] if name != "at"]
    figure, axes = pyplot.subplots(len(names), 1, sharex=True, figsize=(9, 1.5 * len(names)))
    for name, axis in zip(names, axes, strict=True):
        axis.plot([one["at"] for one in samples], [one[name] for one in samples], marker=".", linewidth=0.8)
        axis.set_ylabel(name, rotation=0, ha="right")
        axis.set_ylim(bottom=0)
    axes[-1].set_xlabel("seconds")
    figure.tight_layout()
    figure.savefig(path, dpi=100)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=2_000_000)
    parser.add_argument("--faults", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pauses", type=int, default=PAUSES, help="how often everything is counted")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was found")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the figures over time")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    keep_compiled()
    if options.plot is not None and importlib.util.find_spec("matplotlib") is None:
        print("--plot needs matplotlib: pip install 'hailod[plots]'", file=sys.stderr)
        return 2
    # A fault is a warning in the log; of hundreds nobody wants to read.
    logs.configure("error")
    steal = Steal.now()
    plan = Plan(options.faults, options.frames, random.Random(options.seed))
    with tempfile.TemporaryDirectory(prefix="hailod-soak-") as folder:
        found = soak(options.frames, plan, Path(folder), pauses=options.pauses)
    print("\n".join(told(found)))
    print(f"{steal.percent_until_now():.1f} % of the machine was stolen")
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    if options.plot is not None:
        plot(found["samples"], options.plot)  # type: ignore[arg-type]
    return 1 if found["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
