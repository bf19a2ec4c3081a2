"""Reads many damaged HEFs and says what came of it: `python -m tests.benchmarks.fuzz_hef [--count N] [FILE.hef ...]`.

Each outcome has to be a Hef or a HefError, within limits of time and memory. Files given are damaged besides those of
the encoder. The exit code is 1 when a limit is broken; another exception ends the run with its traceback, and the file
that brought it about is kept.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

from hailod.models.hef.container import read_envelope
from tests.support.hef_mutations import MUTATIONS, Outcome, Seed, bombs, read, seeds

# What one file may take. Time is generous for a busy machine; memory is besides twice the file itself.
SECONDS = 5.0
MEMORY = 48 << 20
# Tracing memory is slow.
MEASURED_EVERY = 25


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000, help="damaged files to read (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the generator (default: %(default)s)")
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE.hef", help="real files to damage besides")
    args = parser.parse_args()
    tally = Tally()
    for name, data in bombs():
        tally.add(name, data, read(data))
        outcome = read(data, measured=True)
        tally.add(name, data, outcome)
        print(f"{name:<26} {len(data):>9} bytes: {outcome.peak or 0:>11} bytes at most; {_said(outcome)}")
    generator = random.Random(args.seed)
    everything = seeds() + [_real(path) for path in args.files]
    # Whatever the machine does meanwhile, the same files come in the same order.
    for number in range(args.count):
        seed = generator.choice(everything)
        mutation = generator.choice(MUTATIONS)
        data = mutation(seed, generator)
        try:
            outcome = read(data, measured=number % MEASURED_EVERY == 0)
        except Exception:
            kept = Path(tempfile.gettempdir(), f"fuzz-{args.seed}-{number}.hef")
            kept.write_bytes(data)
            print(f"{mutation.__name__} of {seed.name}: kept as {kept}", file=sys.stderr)
            raise
        tally.add(mutation.__name__, data, outcome)
    tally.report()
    return 1 if tally.broken else 0


class Tally:
    """What came of all files."""

    def __init__(self) -> None:
        self.results: Counter[str] = Counter()
        self.by_kind: Counter[str] = Counter()
        self.slowest = (0.0, "")
        self.largest = (0, "")
        self.total = 0.0
        self.measured = 0
        self.broken: list[str] = []

    def add(self, kind: str, data: bytes, outcome: Outcome) -> None:
        self.results[type(outcome.result).__name__] += 1
        self.by_kind[kind] += 1
        if outcome.peak is None:
            # Times with memory traced are not the reader's.
            self.total += outcome.seconds
            self.slowest = max(self.slowest, (outcome.seconds, kind))
            if outcome.seconds > SECONDS:
                self.broken.append(f"{kind}: {outcome.seconds:.1f} s")
        else:
            self.measured += 1
            beyond = outcome.peak - 2 * len(data)
            self.largest = max(self.largest, (beyond, kind))
            if beyond > MEMORY:
                self.broken.append(f"{kind}: {outcome.peak} bytes for a file of {len(data)}")

    def report(self) -> None:
        count = self.results.total()
        print(f"{count} files read, {self.measured} of them with memory traced; other outcomes: none")
        for name, seen in self.results.most_common():
            print(f"  {name:<16} {seen:>7}  {seen / count:6.1%}")
        for name, seen in self.by_kind.most_common(len(MUTATIONS)):
            print(f"  {name:<22} {seen:>7}")
        mean = self.total / max(count - self.measured, 1)
        print(f"mean {mean * 1e3:.2f} ms, slowest {self.slowest[0]:.2f} s ({self.slowest[1]}), limit {SECONDS} s")
        print(f"memory beyond twice the file: {self.largest[0]} bytes ({self.largest[1]}), limit {MEMORY}")
        for complaint in self.broken:
            print(f"BROKEN: {complaint}")


def _real(path: Path) -> Seed:
    envelope = read_envelope(path)
    return Seed(path.name, envelope.description, envelope.version)


def _said(outcome: Outcome) -> str:
    return str(outcome.result)[:90] if isinstance(outcome.result, Exception) else "read"


if __name__ == "__main__":
    sys.exit(main())
