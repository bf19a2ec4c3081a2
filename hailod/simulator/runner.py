"""`python -m hailod.simulator [options] script.py args...`: a program that imports `hailo_platform`, on the simulator.

This process becomes the program: plain Python with the environment of `hailod.simulator.launch`. So its arguments, exit
code, tracebacks, signals and children are those of plain Python.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from hailod.errors import ConfigError, ModelError
from hailod.simulator.launch import Launch
from hailod.simulator.standins import read_stand_ins

_EPILOG = """\
MAP says which model stands behind a HEF that the program opens:
  yolov8s.hef=yolox_s.onnx   behind this one; a name may have wildcards, and a slash when the folder matters
  yolox_s.onnx               behind every HEF
  models.toml                [models] with a line "yolov8s.hef" = "yolox_s.onnx" for each
A model is an .onnx file (run on the CPU), a .sim.toml (scripted detections) or a .hef (its own shapes and formats).
A HEF with no model behind it is read itself; a missing one is HAILO_OPEN_FILE_FAILURE (13), as on the device.
"""


def main(
    arguments: Sequence[str] | None = None, become: Callable[[str, list[str], dict[str, str]], object] = os.execve
) -> None:
    """Become the program that the command line names. SystemExit 2, with what is wrong on standard error, when the
    command line cannot be followed."""
    parser = _parser()
    given = parser.parse_args(arguments)
    # argparse ends the rest of an option at "--".
    program = ["-m", *given.module, *given.program] if given.module else given.program
    if not program:
        parser.error("a script is needed, or -m and a module")
    if sys.flags.ignore_environment:
        parser.error("python's -E and -I keep the simulator from the program")
    try:
        launch = Launch(
            device=given.device,
            profile=given.profile,
            faults=given.faults.absolute() if given.faults else None,
            memory=given.memory.absolute() if given.memory else None,
            serial=given.serial,
            models=read_stand_ins(given.model),
        )
        launch.options()
    except (ConfigError, ModelError) as error:
        parser.error(str(error))
    if launch.faults is not None and launch.memory is None:
        launch = launch.model_copy(update={"memory": _memory()})
    become(sys.executable, [sys.executable, *_interpreter_options(), *program], launch.environment(os.environ))


def _memory() -> Path:
    """A file for what the processes of this program have to know together of the faults; it goes with the program."""
    number = os.memfd_create("hailod-simulator", flags=0)
    return Path(f"/proc/{os.getpid()}/fd/{number}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hailod.simulator",
        usage="%(prog)s [options] (SCRIPT | -m MODULE) [ARGUMENT ...]",
        description="Run a program that imports hailo_platform on a simulated device.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--device", default="hailo8", help="a chip (hailo8l), or a model's published speed on it (yolov8m@hailo8l)"
    )
    parser.add_argument("--model", action="append", default=[], metavar="MAP", help="may be given several times")
    parser.add_argument("--faults", type=Path, metavar="FILE", help="a TOML file of what is to fail, and when")
    parser.add_argument(
        "--memory",
        type=Path,
        metavar="FILE",
        help="where a device that is away or failing is kept in mind, for programs run one after the other",
    )
    parser.add_argument("--profile", help="the HailoRT to be: 4.23 or 5.2")
    parser.add_argument("--serial", help="programs that use the same one contend for the same device")
    parser.add_argument("-m", dest="module", nargs=argparse.REMAINDER, help="run a module, such as pytest")
    parser.add_argument("program", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def _interpreter_options() -> list[str]:
    """What this Python was given for itself before `-m hailod.simulator`, as the program's is to have the same."""
    before = sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv) + 1]
    if "-m" not in before:
        return []
    return before[: before.index("-m")]
