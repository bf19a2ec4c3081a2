"""Swaps models under load, and says what that costs: `python -m tests.benchmarks.swap [--swaps 10] [--json FILE]`.

Eight cameras at 15 FPS, a simulated device with models that exist only as timing, a real daemon and a real mosquitto. A
window without any swap comes first, to compare with. Then swaps there and back, and swaps that must fail: a HEF for
another chip, a corrupt file, a model whose decoder does not fit.

What is told of each swap: `gap_ms` as the reply has it; the longest silence of all cameras together as a subscriber
hears it; from the command to the first result of the new model; the frames without a result, by the numbers that
detections carry; and for each section its frames by how they ended, from the daemon's own books.

Exit code 1 when a swap that must succeed fails or the reverse, when books do not balance, when a camera goes back to
the old model, or when a frame that the device had is lost. A swap that succeeds may abandon the frame that waits for
the old model, one of each camera; one that fails may not, and only has frames superseded while the device is busy.
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
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmarks.machine import Steal
from tests.benchmarks.mqttlib.books import Books, books_of
from tests.benchmarks.mqttlib.figures import load, spread
from tests.benchmarks.mqttlib.stage import Heard, Stage
from tests.support.daemon import BASE
from tests.support.hef_encoder import HAILO15H, File, detector, encode_hef
from tests.support.models import sees_two

CAMERAS = tuple(f"cam{number}" for number in range(1, 9))
FPS = 15
# Of a Hailo-8 with a model of 640 pixels about half the speed that these cameras need is to spare.
FRAME_MS = 4.0
CONFIGURE_S = 0.2
MODELS = ("one", "two")
FAILING = {
    "wrong chip": "foreign",
    "corrupt file": "corrupt",
    "decoder that does not fit": "misfit",
}
# Before a swap and after it, so that frames on their way at its borders are not taken for lost ones.
MARGIN_S = 0.7


@dataclass(slots=True)
class Swap:
    """One swap: milliseconds, and frames of all cameras."""

    to: str
    status: str
    code: str | None
    rolled_back: bool
    gap_ms: float | None
    took_ms: float
    silence_ms: float
    first_result_ms: float | None
    missing: int


@dataclass(slots=True)
class Section:
    """Some swaps, or none, and what became of the frames meanwhile."""

    name: str
    seconds: float = 0.0
    swaps: list[Swap] = field(default_factory=list)
    ended: dict[str, int] = field(default_factory=dict)
    missing: int = 0
    silence_ms: float = 0.0
    problems: list[str] = field(default_factory=list)


def files() -> dict[str, bytes | str]:
    """The models, good and bad."""
    model = sees_two(96, 128, frame_ms=FRAME_MS)
    foreign = encode_hef(detector(name="foreign"), file=File(hw_arch=HAILO15H))
    whole = encode_hef(detector(name="corrupt"))
    return {
        "one.sim.toml": model,
        "two.sim.toml": model,
        "foreign.hef": foreign,
        "corrupt.hef": whole[: len(whole) // 2] + bytes(byte ^ 0x55 for byte in whole[len(whole) // 2 :]),
        "misfit.sim.toml": f'decoder = "yolox"\n{model}',
    }


def stage(folder: Path, configure_s: float, cameras: Sequence[str] = CAMERAS) -> Stage:
    """A daemon with these cameras, and all models known to it."""
    tables = "".join(
        f'[models.{Path(name).name.partition(".")[0]}]\npath = "{name}"\nbatch_size = 4\n' for name in files()
    )
    device = f'[device]\nbackend = "simulated"\n[device.simulated]\nconfigure_s = {configure_s}\nserial = "swap"\n'
    return Stage(
        folder,
        cameras=dict.fromkeys(cameras, f'source = "synthetic:?size=320x240&fps={FPS}"\n'),
        models=files(),
        head='model = "one"\n',
        body=tables,
        mqtt="detections_max_hz = 30\n",
        device=device,
        hears=(f"{BASE}/#",),
        keep=lambda topic: "/set/" not in topic,
    )


class Run:
    """One run on a stage that stands."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._topics = tuple(f"{BASE}/cam/{name}/detections" for name in stage.cameras)
        self._model = MODELS[0]
        self._before = Books(Counter(), 0)

    def control(self, seconds: float) -> Section:
        """A window without any swap."""
        section = Section("no swap")
        self._before = books_of(self._stage)
        began = time.monotonic()
        threading.Event().wait(seconds)
        frames = self._stage.ear.since(began, *self._topics)
        section.missing, section.silence_ms = missing(frames), silence(frames)
        self._close(section, began)
        return section

    def swaps(self, name: str, targets: Sequence[str], *, succeed: bool) -> Section:
        """These swaps, one after the other."""
        section = Section(name)
        began = time.monotonic()
        for target in targets:
            swap = self._swap(target, section)
            section.swaps.append(swap)
            if (swap.status == "ok") != succeed:
                section.problems.append(f"the swap to {target}: {swap.status} {swap.code or ''}")
            if not succeed and not swap.rolled_back:
                section.problems.append(f"the reply to the failed swap to {target} does not say that it is undone")
            if not succeed and swap.code != "model_incompatible":
                section.problems.append(f"the swap to {target} failed with {swap.code}")
        section.missing = sum(swap.missing for swap in section.swaps)
        section.silence_ms = max(swap.silence_ms for swap in section.swaps)
        self._close(section, began)
        return section

    def _swap(self, target: str, section: Section) -> Swap:
        pause = threading.Event()
        begin = time.monotonic()
        pause.wait(MARGIN_S)
        asked = time.monotonic()
        reply = self._stage.command("model.swap", {"model": target})
        if reply["status"] == "ok":
            self._model = target
        pause.wait(MARGIN_S)
        frames = self._stage.ear.since(begin, *self._topics)
        models = [(heard.at, heard.document["model"]) for heard in frames]
        first = next((at for at, model in models if model == target), None) if reply["status"] == "ok" else None
        if models[-1][1] != self._model:
            section.problems.append(f"after the swap to {target} results are of {models[-1][1]}")
        if first is not None and self._went_back(frames, target):
            section.problems.append(f"a camera went back from {target}")
        if reply["status"] != "ok" and self._stage.last(f"{BASE}/settings")["model"] != self._model:
            section.problems.append("a failed swap changed the settings")
        data = reply.get("data") or {}
        return Swap(
            target,
            reply["status"],
            reply.get("error", {}).get("code"),
            bool(reply.get("rolled_back")),
            data.get("gap_ms"),
            reply["took_ms"],
            silence(frames),
            None if first is None else (first - asked) * 1000,
            missing(frames),
        )

    def _went_back(self, frames: Sequence[Heard], target: str) -> bool:
        """Whether a camera's later frame has a result of the old model: by their numbers, not by their arrival."""
        for topic in self._topics:
            seen = sorted((h.document["frame"], h.document["model"]) for h in frames if h.topic == topic)
            models = [model for _, model in seen]
            if target in models and any(model != target for model in models[models.index(target) :]):
                return True
        return False

    def _close(self, section: Section, began: float) -> None:
        section.seconds = time.monotonic() - began
        after = books_of(self._stage)
        section.problems += after.problems
        section.ended = after.since(self._before)
        self._before = after
        if failed := section.ended.get("failed", 0):
            section.problems.append(f"{failed} frames that the device had failed")
        switched = sum(swap.status == "ok" for swap in section.swaps)
        if (abandoned := section.ended.get("abandoned", 0)) > switched * len(self._stage.cameras):
            section.problems.append(f"{abandoned} frames were abandoned in {switched} swaps")
        self._stage.ear.forget_but(f"{BASE}/settings")


def silence(frames: Sequence[Heard]) -> float:
    """The longest time (ms) in which no camera had a result."""
    moments = sorted(heard.at for heard in frames)
    return max((1000 * (b - a) for a, b in itertools.pairwise(moments)), default=0.0)


def missing(frames: Sequence[Heard]) -> int:
    """How many frames between the first and the last of each camera have no result, by their numbers."""
    numbers: dict[str, set[int]] = {}
    for heard in frames:
        numbers.setdefault(heard.topic, set()).add(heard.document["frame"])
    return sum(max(seen) - min(seen) + 1 - len(seen) for seen in numbers.values())


def run(folder: Path, *, swaps: int, failures: int, control_s: float, configure_s: float) -> list[Section]:
    """All sections."""
    with stage(folder, configure_s) as standing:
        standing.metrics(2)
        play = Run(standing)
        sections = [
            play.control(control_s),
            play.swaps("swap", [MODELS[1 - number % 2] for number in range(swaps)], succeed=True),
            *(play.swaps(name, [model] * failures, succeed=False) for name, model in FAILING.items()),
        ]
        code = standing.daemon.stop()
        log = standing.daemon.output
    if code != 0 or "Traceback" in log or "frames accounted for" not in log:
        sections[-1].problems.append(f"the daemon ended with {code}: {log[-500:]}")
    return sections


def judge(sections: Sequence[Section]) -> list[str]:
    """What is wrong."""
    return [f"{section.name}: {problem}" for section in sections for problem in section.problems]


def lines(sections: Sequence[Section]) -> list[str]:
    """The table: medians (least-most)."""
    heads = ("gap_ms told", "silence heard, ms", "first result, ms", "answered, ms", "frames without result")
    told = [f"{'section':<27}{'n':>4}  " + "".join(f"{head:<22}" for head in heads)]
    for section in sections:
        if not section.swaps:
            told.append(
                f"{section.name:<27}{'-':>4}  {'-':<22}{section.silence_ms:<22.1f}{'-':<22}{'-':<22}"
                f"{section.missing} in {section.seconds:.0f} s"
            )
            continue
        swaps = section.swaps
        gaps = [swap.gap_ms for swap in swaps if swap.gap_ms is not None]
        firsts = [swap.first_result_ms for swap in swaps if swap.first_result_ms is not None]
        told.append(
            f"{section.name:<27}{len(swaps):>4}  {spread(gaps):<22}{spread([s.silence_ms for s in swaps]):<22}"
            f"{spread(firsts):<22}{spread([s.took_ms for s in swaps]):<22}"
            f"{spread([float(s.missing) for s in swaps], 0):<22}"
        )
    told.append("frames of each section by how they ended (the daemon's books):")
    told += [f"  {section.name:<25} {_ended(section.ended)} in {section.seconds:.1f} s" for section in sections]
    gaps = [(s.gap_ms, s.silence_ms) for section in sections for s in section.swaps if s.gap_ms]
    if gaps:
        ratio = statistics.median(heard / gap for gap, heard in gaps)
        told.append(f"the silence heard is {ratio:.2f} times the gap told (median)")
    return told


def _ended(ended: Mapping[str, int]) -> str:
    total = max(sum(ended.values()), 1)
    return ", ".join(f"{why} {count} ({count / total:.2%})" for why, count in Counter(ended).most_common())


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--swaps", type=int, default=10, help="there and back (%(default)s)")
    parser.add_argument("--failures", type=int, default=5, help="of each kind (%(default)s)")
    parser.add_argument("--control", type=float, default=10.0, help="seconds without any (%(default)s)")
    parser.add_argument("--configure", type=float, default=CONFIGURE_S, help="seconds of configure() (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was found")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    steal = Steal.now()
    with tempfile.TemporaryDirectory(prefix="hailod-swap-") as folder:
        sections = run(
            Path(folder),
            swaps=options.swaps,
            failures=options.failures,
            control_s=options.control,
            configure_s=options.configure,
        )
    print(f"{len(CAMERAS)} cameras at {FPS} FPS, {FRAME_MS:g} ms a frame, configure() takes {options.configure:g} s")
    print("\n".join(lines(sections)))
    problems = judge(sections)
    print("\n".join(f"VIOLATION: {problem}" for problem in problems) or "no violation")
    print(f"{load()}; {steal.percent_until_now():.1f} % of the machine was stolen")
    if options.json is not None:
        found: dict[str, Any] = {"sections": [asdict(section) for section in sections], "problems": problems}
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
