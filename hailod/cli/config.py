"""`hailod config show`: every effective setting, and the layer it comes from."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from pydantic import SecretStr

from hailod.cli import add_config_option, load_config
from hailod.config.diff import flatten
from hailod.config.explain import dotted, shown
from hailod.config.load import Loaded


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    show = actions.add_parser("show", help="print every setting with its origin; secrets are masked")
    add_config_option(show)


def run(args: argparse.Namespace) -> int:
    for line in describe(load_config(args)):
        print(line)
    return 0


def describe(loaded: Loaded) -> Iterator[str]:
    """`key = value  # origin` for every leaf; one that is not set and has no default is a comment of its own, and so is
    what was set over MQTT and does not fit any more."""
    entries = [(dotted(path), _value(path, value)) for path, value in flatten(loaded.settings)]
    width = min(60, max(len(f"{key} = {value}") for key, value in entries))
    for key, value in entries:
        setting = f"# {key} is not set" if value is None else f"{key} = {value}"
        yield f"{setting:<{width}}  # {loaded.provenance[key]}"
    for line in loaded.discarded:
        yield f"# left out: {line}"


def _value(path: tuple[str, ...], value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, SecretStr):
        return shown(path, value.get_secret_value(), secret=True)
    if isinstance(value, Path):
        return json.dumps(str(value))
    return shown(path, value, secret=False)
