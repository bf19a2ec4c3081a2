"""The fault matrix: everything that breaks, on the real daemon, and what it makes of it.

    python -m tests.benchmarks.faults [--short] [--only WORD] [--list] [--jobs 2] [--json FILE]

Each row starts a daemon (`hailod run`) with a simulated device, a mosquitto and, where it is about cameras, an RTSP
server; lets one thing go wrong; and prints when that was detected and over, what was lost, and what health said. Every
message of the run is read by a checker (`faultlib.checker`), which above all looks for a scene that is told as empty
though the model sees the same objects in every frame. Whatever the row is about, books must balance, sequence numbers
have no gap, the broker keep what is so, and SIGTERM end everything within 5 s.

Rows that measure something run alone; a figure over its bound is measured once more, because other work on the machine
spoils it, and the row says so. A row that this machine or user does not allow is SKIP, and said again at the end. Below
the table stand the figures that are promised: the worst of all rows that measured each.

Exit code 1 when a row failed, 2 when something that is needed is not installed.
"""

from __future__ import annotations

import argparse
import functools
import json
import re
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.benchmarks.faultlib.findings import Findings, Unable
from tests.benchmarks.faultlib.row import Row
from tests.benchmarks.faultlib.rows_broker import broker
from tests.benchmarks.faultlib.rows_camera import camera
from tests.benchmarks.faultlib.rows_daemon import daemon, lend
from tests.benchmarks.faultlib.rows_device import HUNG_S, NEW_HOST_S, SAME_HOST_S, device
from tests.benchmarks.faultlib.rows_outputs import outputs
from tests.benchmarks.faultlib.trial import STALL_TIMEOUT_S, Trial
from tests.benchmarks.machine import Steal
from tests.support import leaks, rtsp
from tests.support.broker import mosquitto_path
from tests.support.compiled import keep_compiled

ROWS: tuple[Row, ...] = (*device.rows, *outputs.rows, *camera.rows, *broker.rows, *daemon.rows, *lend.rows)
SAID_WIDTH = 74
NAME_WIDTH = 64
HEADER = (
    f"{'fault':<{NAME_WIDTH}}{'detected':>9}{'recovered':>10}{'frames':>8}{'messages':>9}{'took':>6}  "
    f"{'what health said':<{SAID_WIDTH}}"
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A row and what came of it; `unheeded` are figures over their bounds, where those are not judged."""

    row: Row
    findings: Findings
    attempts: int
    seconds: float
    unheeded: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.findings.problems

    @property
    def result(self) -> str:
        """In a word."""
        return "FAIL" if not self.passed else "SKIP" if self.findings.unable else "pass"


class Shelf:
    """Video clips, each made when it is first asked for: once, whoever asks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()

    def clip(self, name: str) -> Path:
        """`25`, `1`, `120`, `25@320x240`: frames that carry their number, so many a second, of that size."""
        with self._lock:
            path = self._folder / f"clip-{name}.mp4"
            if not path.exists():
                rate, _, size = name.partition("@")
                fps = int(rate)
                width, height = map(int, size.split("x")) if size else (rtsp.WIDTH, rtsp.HEIGHT)
                frames, gop = max(2 * fps, 4), max(fps // 2, 1)
                rtsp.make_clip(path, frames=frames, fps=fps, gop=gop, size=(width, height))
            return path


def attempt(row: Row, shelf: Shelf, logs: Path | None = None) -> Findings:
    """Play a row once; the daemon's log goes into the folder `logs`."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="hailod-faults-", ignore_cleanup_errors=True) as folder:
        trial = Trial(Path(folder), shelf.clip, row.undisturbed)
        try:
            with trial:
                try:
                    row.play(trial)
                    found = trial.finish()
                except Unable as error:
                    found = Findings(unable=str(error))
                except Exception as error:  # noqa: BLE001 - a row that cannot go on has failed, and the others go on
                    found = trial.findings
                    found.problems.append(_told(error))
                    found.problems += getattr(getattr(trial, "checker", None), "problems", [])
                    found.notes += trial.log[-12:]
                    if hasattr(trial, "checker"):
                        trial.read()
        except Exception as error:  # noqa: BLE001 - so has one that cannot be cleared away
            found.problems.append(f"clearing away: {_told(error)}")
        if logs is not None:
            name = re.sub(r"[^a-z0-9]+", "-", f"{row.about} {row.name}".lower()).strip("-")
            (logs / f"{name}.log").write_text("\n".join(trial.log) + "\n")
    found.seconds = time.monotonic() - began
    for name, figure, bound in (("detected", found.detected, row.detect), ("recovered", found.recovered, row.recover)):
        if figure is not None and bound is not None and figure > bound:
            found.missed.append(f"{name} after {figure:.2f} s, not {bound:g} s")
    return found


def judge(row: Row, play: Callable[[Row], Findings], *, bounds: bool) -> Verdict:
    """Play a row, once more if only a figure that depends on the machine is amiss."""
    began = time.monotonic()
    attempts = 1
    found = play(row)
    if bounds and found.missed and not found.problems:
        attempts = 2
        found = play(row)
    unheeded: tuple[str, ...] = ()
    if bounds:
        found.problems += found.missed
    else:
        unheeded = tuple(found.missed)
    return Verdict(row, found, attempts, time.monotonic() - began, unheeded)


def run(rows: Sequence[Row], *, jobs: int, bounds: bool, logs: Path | None = None) -> list[Verdict]:
    """Play the rows, those side by side that measure nothing; prints each as it ends."""
    with tempfile.TemporaryDirectory(prefix="hailod-clips-") as folder:
        together = sorted((row for row in rows if not (row.measures and bounds)), key=lambda row: not row.slow)
        alone = [row for row in rows if row.measures and bounds]
        once = functools.partial(attempt, shelf=Shelf(Path(folder)), logs=logs)
        play = functools.partial(_play, once=once, bounds=bounds)
        print(HEADER, flush=True)
        with ThreadPoolExecutor(jobs) as pool:
            verdicts = list(pool.map(play, together))
        verdicts += [play(row) for row in alone]
    order = {row.name: number for number, row in enumerate(rows)}
    return sorted(verdicts, key=lambda verdict: order[verdict.row.name])


def _play(row: Row, *, once: Callable[[Row], Findings], bounds: bool) -> Verdict:
    verdict = judge(row, once, bounds=bounds)
    print("\n".join(lines(verdict)), flush=True)
    return verdict


def lines(verdict: Verdict) -> list[str]:
    """A row of the table, and below it what is wrong."""
    row, found = verdict.row, verdict.findings
    said = found.said if len(found.said) <= SAID_WIDTH else found.said[: SAID_WIDTH - 1] + "…"
    frames = "-" if found.frames_lost is None else str(found.frames_lost)
    messages = f"{found.messages_lost}+{found.streams_dropped}"
    times = f"{_seconds(found.detected):>9}{_seconds(found.recovered):>10}"
    name = f"{f'{row.about}: {row.name}':<{NAME_WIDTH}.{NAME_WIDTH}}"
    took = f"{found.seconds:.0f} s"
    told = [f"{name}{times}{frames:>8}{messages:>9}{took:>6}  {said:<{SAID_WIDTH}}  {verdict.result}"]
    if found.unable:
        told.append(f"      NOT PLAYED HERE: {found.unable}")
    if verdict.attempts > 1:
        told.append("      measured twice: the first time a figure was over its bound")
    told += [f"      not judged here: {text}" for text in verdict.unheeded]
    told += [f"      ! {text}" for text in found.problems]
    if not verdict.passed:
        told += [f"        | {text}" for text in found.notes]
    return told


def document(verdicts: Sequence[Verdict]) -> list[dict[str, object]]:
    """For machines."""
    return [
        {
            "name": verdict.row.name,
            "about": verdict.row.about,
            "passed": verdict.passed,
            "attempts": verdict.attempts,
            "took": round(verdict.seconds, 1),
            "bounds": {"detect": verdict.row.detect, "recover": verdict.row.recover},
            "not_judged": list(verdict.unheeded),
            **asdict(verdict.findings),
        }
        for verdict in verdicts
    ]


def targets(verdicts: Sequence[Verdict]) -> list[str]:
    """The figures that were promised, the worst of all rows that measured each, and what was promised."""

    def worst(target: str, figure: Callable[[Findings], float | None]) -> float | None:
        found = (figure(verdict.findings) for verdict in verdicts if verdict.row.target == target)
        return max((value for value in found if value is not None), default=None)

    hang = worst("hang", lambda found: found.detected)
    lost = [found.others_lost for v in verdicts if (found := v.findings).others_lost is not None]
    empty, heard = (sum(getattr(v.findings, name) for v in verdicts) for name in ("empty", "heard"))
    late = None if hang is None else hang - STALL_TIMEOUT_S
    told = (
        ("host crash to next detection", _seconds(worst("crash", lambda found: found.recovered)), f"{NEW_HOST_S:g} s"),
        ("hang found, after stall_timeout", _seconds(late), f"{HUNG_S - STALL_TIMEOUT_S:g} s"),
        (
            "completion error to next detection",
            _seconds(worst("completion", lambda f: f.recovered)),
            f"{SAME_HOST_S:g} s",
        ),
        ("frames that other cameras lost", f"{sum(lost)} in {len(lost)} rows" if lost else "-", "0"),
        ('false "no objects"', f"{empty} in {heard} messages read", "0"),
    )
    return [f"  {name:<36}{figure:<30}(promised: {promised})" for name, figure, promised in told]


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


def _told(error: BaseException) -> str:
    if isinstance(error, AssertionError):
        return str(error) or traceback.format_exc().strip().splitlines()[-3].strip()
    return "".join(traceback.format_exception(error)[-3:]).strip()


def chosen(options: argparse.Namespace) -> list[Row]:
    rows = [row for row in ROWS if row.short or not options.short]
    return [row for row in rows if all(word.lower() in f"{row.about}: {row.name}".lower() for word in options.only)]


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="a dozen rows that stand for all")
    parser.add_argument("--only", action="append", default=[], metavar="WORD", help="rows whose name has this in it")
    parser.add_argument("--list", action="store_true", help="say which rows there are")
    parser.add_argument("--jobs", type=int, default=2, help="how many rows run at a time")
    parser.add_argument("--no-bounds", action="store_true", help="tell figures that are over their bounds, and pass")
    parser.add_argument("--logs", type=Path, metavar="FOLDER", help="keep the daemon's log of every row there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was found")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    keep_compiled()
    # Orphans come to us, to be seen and collected.
    leaks.become_reaper()
    rows = chosen(options)
    if options.list:
        print("\n".join(f"{'*' if row.short else ' '} {row.about}: {row.name}" for row in rows))
        print(f"{len(rows)} rows; those marked * are the short form")
        return 0
    with suppress(Exception):
        mosquitto_path()
    if not rtsp.server_available():
        print(f"no RTSP server: apt install {rtsp.PACKAGES}", file=sys.stderr)
        return 2
    steal, began = Steal.now(), time.monotonic()
    if options.logs is not None:
        options.logs.mkdir(parents=True, exist_ok=True)
    verdicts = run(rows, jobs=options.jobs, bounds=not options.no_bounds, logs=options.logs)
    failed = [verdict for verdict in verdicts if not verdict.passed]
    if options.json is not None:
        options.json.write_text(json.dumps(document(verdicts), indent=1, ensure_ascii=False) + "\n")
    for verdict in verdicts:
        if verdict.findings.unable:
            print(f"NOT PLAYED: {verdict.row.about}: {verdict.row.name}: {verdict.findings.unable}")
    for verdict in failed:
        print(f"failed: {verdict.row.about}: {verdict.row.name}")
    print("\n".join(targets(verdicts)))
    skipped = sum(verdict.passed and bool(verdict.findings.unable) for verdict in verdicts)
    print(
        f"{len(verdicts) - len(failed) - skipped} passed, {len(failed)} failed, {skipped} not played, "
        f"in {time.monotonic() - began:.0f} s; {steal.percent_until_now():.1f} % of the machine was stolen"
    )
    return 1 if failed or not verdicts else 0


if __name__ == "__main__":
    raise SystemExit(main())
