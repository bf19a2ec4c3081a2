"""The `hailod` command: one module for each subcommand, imported only when it is asked for.

Exit codes: 0 well, 1 a check or the command failed, 2 wrong usage, 78 the configuration cannot be used.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol, cast

from pydantic import SecretStr

from hailod.config.diff import KeyPath
from hailod.config.load import DEFAULT_PATH, Loaded, load, with_overrides
from hailod.config.model import MqttSettings
from hailod.config.store import Found, Overrides, Store, Table
from hailod.errors import ConfigError, HailodError, ModelError
from hailod.redact import scrub, secrets_of
from hailod.version import VERSION

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


class CommandModule(Protocol):
    """What the module of a subcommand offers."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, args: argparse.Namespace) -> int: ...


@dataclass(frozen=True, slots=True)
class Command:
    """A subcommand: its module, and what `hailod --help` says of it."""

    module: str
    help: str


COMMANDS: Mapping[str, Command] = {
    "run": Command("hailod.cli.run", "run the daemon in the foreground, as systemd does"),
    "check": Command(
        "hailod.cli.check", "go through configuration, broker, device, models and cameras, and say what to do"
    ),
    "demo": Command("hailod.cli.demo", "show it all without hardware: rendered cameras, a simulated device, a broker"),
    "config": Command("hailod.cli.config", "show the effective settings and where each comes from"),
    "ctl": Command("hailod.cli.ctl", "give a running hailod a command over MQTT, and wait for its answer"),
    "mqtt": Command("hailod.cli.mqtt", "remove what the broker keeps of a node that is gone"),
    "models": Command("hailod.cli.models", "say what a model file holds: chip, inputs, outputs, thresholds, sizes"),
}

_EPILOG = """\
Curious? `hailod demo` shows it at work without camera, broker or accelerator.

Getting started:
  1. write cameras, models and broker into /etc/hailod/hailod.toml (it explains itself)
  2. hailod check        says what is still missing
  3. hailod run          or: systemctl enable --now hailod

`hailod COMMAND --help` explains a command.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` and return its exit code; errors of ours are one message on standard error."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        args = _parse(arguments)
        return int(args.run(args))
    except SystemExit as exit_:
        # argparse: 0 after --help and --version, 2 after a mistake.
        return exit_.code if isinstance(exit_.code, int) else EXIT_FAILED
    except ConfigError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except HailodError as error:
        print(f"hailod: {error}", file=sys.stderr)
        return EXIT_FAILED
    except BrokenPipeError:
        # `| head` has read enough; the interpreter must not fail once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def add_config_option(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the `--config FILE` that `load_config` reads."""
    parser.add_argument("--config", type=Path, metavar="FILE", help=f"the configuration file (default: {DEFAULT_PATH})")


def load_config(
    args: argparse.Namespace, env: Mapping[str, str] | None = None, *, overrides: Overrides | None = None
) -> Loaded:
    """The settings that `--config`, the environment, systemd's credentials and what was set over MQTT give; raises
    ConfigError.

    Relative paths of camera sources, TLS files and the state folder begin at the configuration's directory, as those of
    models do. `overrides` are taken in the place of those on the disk.
    """
    from hailod.sources import anchored, validate_source  # noqa: PLC0415 -- OpenCV and PyAV are slow to import for a usage error

    env = os.environ if env is None else env
    directory = env.get("CREDENTIALS_DIRECTORY")
    loaded = load(args.config, env, Path(directory) if directory else None, source_check=validate_source)
    loaded = _anchored(loaded, anchored)
    store = Store(loaded.settings.state_dir)
    found = store.read() if overrides is None else Found(overrides)
    return with_overrides(loaded, store, partial(_admit, loaded.settings.state_dir), found=found)


def _admit(state_dir: Path, path: KeyPath, table: Table) -> None:
    """Whether a camera's source can be one, and a model's file lies where models lie; ValueError if not."""
    from hailod.models.admission import within  # noqa: PLC0415 -- reads HEFs, which few commands do
    from hailod.models.catalogue import model_dirs  # noqa: PLC0415
    from hailod.sources import validate_source  # noqa: PLC0415

    if path[0] == "models":
        try:
            within(Path(str(table.get("path", ""))), model_dirs(state_dir))
        except ModelError as error:
            raise ValueError(str(error)) from None
    else:
        source = str(table.get("source", ""))
        if not source.isprintable():
            raise ValueError("source holds what cannot be printed")
        try:
            validate_source(source)
        except ValueError as error:
            raise ValueError(scrub(str(error), secrets_of(source))) from None


def _anchored(loaded: Loaded, anchor: Callable[[str, Path], str]) -> Loaded:
    """`loaded` with the relative paths of camera sources, TLS files and the state folder made absolute."""
    settings, directory = loaded.settings, loaded.config_dir
    cameras = {
        name: camera.model_copy(update={"source": SecretStr(anchor(camera.source.get_secret_value(), directory))})
        for name, camera in settings.cameras.items()
    }
    changed = {
        "cameras": cameras,
        "mqtt": anchored_mqtt(settings.mqtt, directory),
        "state_dir": directory / settings.state_dir,
    }
    return replace(loaded, settings=settings.model_copy(update=changed))


def anchored_mqtt(mqtt: MqttSettings, directory: Path) -> MqttSettings:
    """`mqtt` with the relative paths of its TLS files made absolute."""
    if mqtt.tls is None:
        return mqtt
    files = {key: directory / path for key in ("ca", "cert", "key") if (path := getattr(mqtt.tls, key)) is not None}
    return mqtt.model_copy(update={"tls": mqtt.tls.model_copy(update=files)})


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="hailod",
        description="Cameras in, MQTT out: watches video streams with a Hailo accelerator and reports what it sees.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"hailod {VERSION}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    # No option before the command takes a value, so the first word is the command.
    wanted = next((word for word in arguments if not word.startswith("-")), None)
    for name, command in COMMANDS.items():
        subparser = commands.add_parser(name, help=command.help, description=command.help)
        if name == wanted:
            module = cast("CommandModule", importlib.import_module(command.module))
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run)
    args, left = parser.parse_known_args(arguments)
    if hasattr(args, "words"):
        # argparse gives a command its free words up to the first option and forgets those after it.
        args.words += [word for word in left if not word.startswith("-")]
        left = [word for word in left if word.startswith("-")]
    if left:
        parser.error(f"unrecognized arguments: {' '.join(left)}")
    if not hasattr(args, "run"):
        parser.print_help(sys.stderr)
        raise SystemExit(EXIT_USAGE)
    return args
