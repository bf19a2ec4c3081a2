"""`hailod models inspect`: what a model file says of itself, read without HailoRT."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from hailod.errors import ModelError
from hailod.models.hef import HefError, read_hef
from hailod.models.hef.report import document, lines

# What helps, by HailoRT's status.
_ADVICE = {13: "check its name and who may read it", 14: "give a HEF file", 91: "copy or download it again"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    inspect = actions.add_parser(
        "inspect",
        help="say what a HEF holds and which chips run it",
        description="Says what a HEF holds, which chips run it and what to mind, without HailoRT or a device.",
    )
    inspect.add_argument("file", type=Path, metavar="FILE.hef")
    inspect.add_argument("--json", action="store_true", help="print it for programs")


def run(args: argparse.Namespace) -> int:
    """Print the file's contents; raises ModelError with what is wrong, where, and what to do."""
    try:
        hef = read_hef(args.file)
    except HefError as error:
        advice = _ADVICE.get(error.status)
        raise ModelError(f"{args.file}: {error}" + (f"; {advice}" if advice else "")) from error
    if args.json:
        print(json.dumps(document(hef), indent=2, allow_nan=False))
        return 0
    print(args.file)
    for line in lines(hef):
        print(f"  {line}")
    return 0
