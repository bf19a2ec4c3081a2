"""`hailod demo`: the daemon at work on a machine that has nothing for it to work with."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from hailod.clock import SystemClock
from hailod.demo import broker
from hailod.demo.child import DemoError
from hailod.demo.narrator import Line, Tone
from hailod.demo.scripts import DEFAULT, Script, scripts
from hailod.demo.stage import MODELS, Address, Over, Stage

_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_COLOURS = {
    Tone.SCENE: "\x1b[36m",
    Tone.RATE: "\x1b[2m",
    Tone.GOOD: "\x1b[32m",
    Tone.BAD: "\x1b[31m",
    Tone.REPLY: "\x1b[33m",
}
_SIMULATED = "The accelerator is simulated: networks are computed on the CPU. Everything above it is the daemon itself."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "demos:\n" + "\n".join(_listed())
    parser.add_argument(
        "name", nargs="?", default=DEFAULT, choices=scripts(), metavar="NAME", help=f"which (default: {DEFAULT})"
    )
    parser.add_argument("--faults", action="store_true", help="the same as `hailod demo faults`")
    parser.add_argument("--seconds", type=_duration, metavar="N", help="end after so many seconds (default: at Ctrl-C)")
    parser.add_argument(
        "--broker", choices=broker.TITLES, help="which broker (default: mosquitto where it is installed)"
    )
    parser.add_argument("--list", action="store_true", help="say which demos there are")


def run(args: argparse.Namespace) -> int:
    """Show a demo until its end, `--seconds`, or a signal; 0 then, 1 when something of it failed."""
    if args.list:
        print("\n".join(_listed()))
        return 0
    say = _teller(sys.stdout.isatty() and "NO_COLOR" not in os.environ)
    kind = broker.choose([args.broker] if args.broker else broker.TITLES)
    try:
        folder = tempfile.TemporaryDirectory(prefix="hailod-demo-")
    except OSError as error:
        raise DemoError(f"no temporary folder can be made: {error}; is the disk full?") from None
    script = scripts()["faults" if args.faults else args.name]
    with folder as directory:
        porch = bool(getattr(script, "PORCH", False))
        stage = Stage(Path(directory), say, SystemClock(), kind=kind, seconds=args.seconds, porch=porch)
        _perform(script, stage, say, kind.title)
    return 0


def _perform(script: Script, stage: Stage, say: Callable[[Line], None], broker_title: str) -> None:
    def end(_number: int, _frame: FrameType | None) -> None:
        stage.interrupt()

    before = {number: signal.signal(number, end) for number in _ENDINGS}
    began = False
    try:
        try:
            say(Line(_SIMULATED, Tone.REPLY))
            say(
                Line(
                    f"Starting {broker_title}, two rendered cameras and hailod; the first picture takes some seconds.\n"
                )
            )
            address = stage.start()
            began = True
            for line in _invitation(address):
                say(line)
            script.run(stage)
        except Over:
            say(Line(""))
        finally:
            closing = stage.stop()
        for line in closing if began else []:
            say(line)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _invitation(address: Address) -> list[Line]:
    """How to watch from elsewhere, and what to try."""
    where = f"-h {address.host} -p {address.port}"
    base = address.topics.base
    camera = address.topics.camera("driveway").base
    fast, accurate = MODELS
    lines = [
        "\nTo watch from another terminal:",
        f"    mosquitto_sub {where} -v -t '{base}/#'",
        f"To reconfigure it while it runs (its models are {fast} and {accurate}):",
        f"    mosquitto_pub {where} -t {camera}/set/threshold -m 0.7",
        f'    mosquitto_pub {where} -t {base}/cmd/model.swap -m \'{{"args": {{"model": "{accurate}"}}}}\'',
        f'    mosquitto_pub {where} -t {base}/cmd/device.restart -m \'{{"args": {{"mode": "reset"}}}}\'',
    ]
    if shutil.which("mosquitto_pub") is None:
        lines.append("mosquitto_sub and mosquitto_pub are not installed here: sudo apt-get install mosquitto-clients")
    return [Line(line) for line in (*lines, "Ctrl-C ends the demo, and leaves nothing behind.\n")]


def _teller(coloured: bool) -> Callable[[Line], None]:
    def say(line: Line) -> None:
        colour = _COLOURS.get(line.tone) if coloured else None
        print(f"{colour}{line.text}\x1b[0m" if colour else line.text, flush=True)

    return say


def _listed() -> list[str]:
    known = scripts()
    width = max(map(len, known))
    return [f"  {name:{width}}  {script.ABOUT}" for name, script in known.items()]


def _duration(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.0 < seconds <= 86_400.0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 0 to 86400")
    return seconds
