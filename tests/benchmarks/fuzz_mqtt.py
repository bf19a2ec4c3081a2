"""Sends hostile messages to everything that listens, and says what came of it.

    python -m tests.benchmarks.fuzz_mqtt [--messages 100000] [--wire 20000] [--seconds 10] [--seed 1] [--json FILE]

`--messages` go straight to the parser and the command queue, whose clock is turned by hand, so that the limit of 10
commands a second holds none of them back. `--wire` more go through a real mosquitto to the real daemon with a simulated
device and two cameras at work: half of them with each answer awaited, of these `--paced` slower than 10 a second; the
other half as a flood, as fast as the broker takes them and for at least `--seconds`.

All are mutations of valid commands. One that is still valid is made to ask for nothing (`dry_run`, or a revision that
there is not), or is left out. Each must be answered with a code of the interface's list, or met with silence where that
is the rule; nothing may change, no process may end, nothing may be said on topics of others, and memory is bounded.
Exit code 1 when one of these does not hold. That inference goes on as before is measured for `--seconds` each: without
a flood, with the same flood for a node that there is not (what it costs the machine), and with the flood; it is judged
by the latter two unless `--no-bounds` is given.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

import structlog

from hailod.control.inbox import MAX_INBOUND, Inbox
from hailod.mqtt.session import MAX_PAYLOAD
from tests.benchmarks.machine import Steal
from tests.benchmarks.mqttlib import inprocess, wire
from tests.benchmarks.mqttlib.corpus import stream
from tests.benchmarks.mqttlib.figures import load

# What the daemon may have more of afterwards, and meanwhile.
GROWTH_MB = 16.0
PEAK_MB = 48.0
LEAST_FPS = 0.9


def inbox_bound(seed: int) -> list[str]:
    """What is wrong with the inbox when nobody reads it."""
    inbox, draw = Inbox(), stream(inprocess.NAMES, seed, broker=False)
    for _ in range(1000):
        inbox.put_inbound(draw().inbound(0.0, MAX_PAYLOAD))
    waiting = 0
    while inbox.get(0.0) is not None:
        waiting += 1
    holds = waiting == MAX_INBOUND and inbox.dropped == 1000 - MAX_INBOUND
    return [] if holds else [f"of 1000 messages {waiting} wait in the inbox, {inbox.dropped} were counted as dropped"]


def judge(siege: wire.Siege, *, bounds: bool) -> list[str]:
    """What is wrong beside what was found on the way."""
    problems = []
    grown, peak = siege.rss_after - siege.rss_before, siege.rss_peak - siege.rss_before
    if grown > GROWTH_MB:
        problems.append(f"the daemon grew by {grown:.1f} MB, at most {GROWTH_MB:g} are right")
    if peak > PEAK_MB:
        problems.append(f"the daemon took {peak:.1f} MB more meanwhile, at most {PEAK_MB:g} are right")
    if bounds and siege.beside and siege.flood and siege.flood.fps < LEAST_FPS * siege.beside.fps:
        problems.append(f"{siege.flood.fps:.1f} frames a second in the flood, {siege.beside.fps:.1f} beside it")
    return problems


def table(answers: Counter[str]) -> list[str]:
    """How often each answer came."""
    total = max(answers.total(), 1)
    return [f"  {name:<44} {count:>8}  {count / total:6.1%}" for name, count in answers.most_common() if count]


def told(siege: wire.Siege) -> list[str]:
    """The figures of the real daemon."""
    sent = siege.accounted + siege.flooded
    calm, beside, flood = siege.calm, siege.beside, siege.flood
    rate = siege.flooded / max(siege.flood_s, 1e-9)
    guarded = f"{siege.guarded} that were still valid were made to ask for nothing, {siege.withheld} left out"
    lines = [
        f"to the daemon: {sent} messages through mosquitto; {guarded}",
        f"{siege.accounted} with each answer awaited:",
        *table(siege.answers),
        f"flood: {siege.flooded} messages in {siege.flood_s:.1f} s, {rate:.0f} a second",
        f"the daemon said {siege.replies_in_flood} messages of all kinds meanwhile",
    ]
    if calm and beside and flood:
        lines.append(f"{'':<12}{'calm':>10}{'beside':>10}{'flood':>10}{'/ calm':>9}{'/ beside':>9}   medians by second")
        for name, of in (("FPS", "fps"), ("p99 ms", "p99_ms")):
            without, near, there = (getattr(window, of) for window in (calm, beside, flood))
            ratios = f"{there / max(without, 1e-9):>9.2f}{there / max(near, 1e-9):>9.2f}"
            lines.append(f"{name:<12}{without:>10.1f}{near:>10.1f}{there:>10.1f}{ratios}")
        lines.append("beside: the same flood, through the same broker, for a node that there is not")
    memory = f"{siege.rss_before:.1f} MB before, {siege.rss_peak:.1f} at most, {siege.rss_after:.1f} after"
    return [
        *lines,
        f"after it a ping is carried out within {siege.answers_after_s:.2f} s",
        f"after it an event of importance is told within {siege.event_after_s:.2f} s",
        f"retained commands left at the broker: {siege.left_retained}",
        f"memory of the daemon: {memory}; {siege.log_lines} lines in its log",
    ]


def document(found: inprocess.Tally | wire.Siege) -> dict[str, object]:
    """For machines."""
    values = {name: getattr(found, name) for name in (known.name for known in fields(found))}
    return {
        name: dict(value) if isinstance(value, Counter) else asdict(value) if isinstance(value, wire.Window) else value
        for name, value in values.items()
    }


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=100_000, help="straight to the command queue (%(default)s)")
    parser.add_argument("--wire", type=int, default=20_000, help="through a broker to the daemon (%(default)s)")
    parser.add_argument("--paced", type=int, default=200, help="of them slower than the rate limit (%(default)s)")
    parser.add_argument("--seconds", type=int, default=10, help="of measurement without and in the flood (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the generator (%(default)s)")
    parser.add_argument("--no-bounds", action="store_true", help="tell how inference goes on, do not judge it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was found")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    # What is logged is looked at on the real daemon.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    steal = Steal.now()
    tally = inprocess.attack(options.messages, options.seed)
    tally.problems += inbox_bound(options.seed)
    print(
        f"in the process: {tally.messages} messages in {tally.seconds:.1f} s, memory {tally.rss_before:.1f} -> "
        f"{tally.rss_after:.1f} MB"
    )
    print("\n".join(table(tally.answers)))
    if tally.rss_after - tally.rss_before > GROWTH_MB:
        tally.problems.append(f"the process grew by {tally.rss_after - tally.rss_before:.1f} MB")
    half = options.wire // 2
    siege = wire.besiege(options.paced, half, options.wire - half, options.seed, seconds=options.seconds)
    siege.problems += judge(siege, bounds=not options.no_bounds)
    print("\n".join(told(siege)))
    print(f"{load()}; {steal.percent_until_now():.1f} % of the machine was stolen")
    problems = [*tally.problems, *siege.problems]
    for problem in problems:
        print(f"VIOLATION: {problem}")
    if options.json is not None:
        found = {"in_process": document(tally), "daemon": document(siege), "problems": problems}
        options.json.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    print("no violation" if not problems else f"{len(problems)} violations")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
