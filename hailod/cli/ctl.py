"""`hailod ctl`: gives a running daemon a command over MQTT and prints its answer.

Exit codes: 0 done, 1 refused by the daemon, 2 wrong usage, 3 no answer in time, 4 the broker cannot be reached.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import SecretStr, ValidationError

from hailod.cli import EXIT_USAGE, add_config_option, anchored_mqtt
from hailod.clock import SystemClock
from hailod.config.files import read_password
from hailod.config.load import load
from hailod.config.model import NAME_PATTERN, FrigateSettings, MqttSettings, Settings
from hailod.mqtt.caller import BrokerTrouble, Caller, NoAnswer
from hailod.mqtt.commands import COMMANDS, MAX_BYTES, Ping, SettingsSet
from hailod.mqtt.payloads import Payload
from hailod.redact import secrets_of

EXIT_REFUSED = 1
EXIT_NO_ANSWER = 3
EXIT_NO_BROKER = 4

# The longest that a daemon takes over any command.
DEFAULT_TIMEOUT = 60.0
_PING_TIMEOUT = 10.0
_COMMAND = re.compile(r"[a-z0-9_.-]{1,64}")
_SPAN = re.compile(r"(\d+(?:\.\d+)?)([smhd]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_MOMENTS = frozenset({"until", "since"})
# What these take first is a whole document, and no word.
_WORDLESS = (Ping, SettingsSet)

_EPILOG = """\
commands (those of cmd/... in the MQTT interface):
  ping                              is it there, and how long does an answer take?
  device.release --for 10m          lend the accelerator to other programs
  device.acquire                    take it back before its time
  device.restart reset              start the device anew: soft or reset
  snapshot.take front               one picture, on the camera's topic `snapshot`
  profile.capture 10s               where the time of every frame goes, as a file of the node
  model.swap yolov8m                run another model; with camera=front on one camera only
  settings.get cameras.front        the settings in effect, all of them or those below a path
  settings.set log_level=debug      change settings, all that are named or none
  settings.reset cameras.front      back to what the files say

A word without '=' is the value of the command's first argument: model.swap yolov8m is model.swap model=yolov8m. A VALUE
that reads as JSON is that, any other is text. Of settings.set the keys are paths as in the configuration file:
cameras.NAME.KEY, models.NAME.KEY, and all others of the node, as pipeline.stale_after.

examples:
  hailod ctl device.release --for 600 && my_program; hailod ctl device.acquire
  hailod ctl ping --host broker.lan --username me --password-file ~/.mqtt --node kitchen
  hailod ctl settings.set cameras.front.threshold=0.6 models.yolov8s.batch_size=4 log_level=debug
  hailod ctl camera.add --json-args - < yard.json
  hailod ctl model.swap --json-args '{"model": "yolov8m", "camera": "front"}'

The broker is that of the configuration file, or the one of --host. Its password is never taken from the command line,
where every user of this machine could read it: it comes from the configuration, from --password-file, or from the
environment variable HAILOD_MQTT__PASSWORD. A broker with TLS needs a configuration file. Nor is the password of a
camera: give `source` by --json-args - on standard input.

exit codes: 0 done, 1 refused, 2 wrong usage, 3 no answer in time, 4 no broker, 78 the configuration cannot be used
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    # --password must not be taken for --password-file, and what follows it for the name of one.
    parser.allow_abbrev = False
    parser.add_argument(
        "words", nargs="*", metavar="COMMAND [WORD] [KEY=VALUE ...]", help="the command and its arguments"
    )
    parser.add_argument("--for", dest="span", type=_span, metavar="TIME", help="for_s, as 600, 90s, 10m or 2h")
    parser.add_argument(
        "--json-args",
        type=_json_object,
        metavar="OBJECT",
        help="the arguments as a JSON object; - reads it from standard input",
    )
    parser.add_argument("--dry-run", action="store_true", help="have it checked and not done")
    parser.add_argument("--timeout", type=_span, metavar="TIME", help="how long to wait (default: 60 s, ping 10 s)")
    parser.add_argument("--json", action="store_true", help="print the reply as the daemon sent it")
    add_config_option(parser)
    parser.add_argument("--node", type=node_name, help="the node to speak to (default: the configured one)")
    parser.add_argument("--host", help="the broker, in the place of the configured one")
    parser.add_argument("--port", type=int, help="its port (default: 1883)")
    parser.add_argument("--username", help="the user to log in as")
    parser.add_argument("--password-file", type=Path, metavar="FILE", help="a file that holds the user's password")


def run(args: argparse.Namespace) -> int:
    try:
        name, arguments = _command(args)
        place = broker(args, os.environ)
    except UsageError as error:
        print(f"hailod ctl: {error}; see hailod ctl --help", file=sys.stderr)
        return EXIT_USAGE
    timeout = args.timeout or (_PING_TIMEOUT if name == "ping" else DEFAULT_TIMEOUT)
    try:
        with Caller(place.mqtt, place.node, SystemClock()) as caller:
            reply = caller.call(name, arguments, timeout=timeout, dry_run=args.dry_run, on_accepted=_accepted)
    except NoAnswer as error:
        print(f"hailod ctl: {error}", file=sys.stderr)
        return EXIT_NO_ANSWER
    except BrokerTrouble as error:
        print(f"hailod ctl: {error}; {error.fix}", file=sys.stderr)
        return EXIT_NO_BROKER
    except ValueError as error:
        print(f"hailod ctl: {error}", file=sys.stderr)
        return EXIT_USAGE
    if args.json:
        print(json.dumps(reply, ensure_ascii=False))
    done = reply.get("status") == "ok"
    if not args.json:
        for line in _done(name, reply) if done else _refused(name, reply):
            print(line, file=sys.stdout if done else sys.stderr)
    return 0 if done else EXIT_REFUSED


class UsageError(Exception):
    """What was asked for cannot be meant."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where to connect to, the node to speak to, and what the configuration says of the node that it is of."""

    mqtt: MqttSettings
    node: str
    configured_node: str
    frigate: FrigateSettings
    cameras: tuple[str, ...]


def _command(args: argparse.Namespace) -> tuple[str, dict[str, object] | None]:
    """The command and its arguments, None for none."""
    if not args.words:
        raise UsageError("which command?")
    name, *words = args.words
    if not _COMMAND.fullmatch(name):
        raise UsageError(f"'{name}' cannot be a command")
    arguments: dict[str, object] = dict(args.json_args or {})
    pairs = [_pair(text) for text in words if "=" in text]
    for word in (text for text in words if "=" not in text):
        key, value = _worded(name, word)
        if key in dict(pairs):
            raise UsageError(f"'{word}': {key} is given twice")
        pairs.append((key, value))
    for key, value in pairs:
        if key == "source" and isinstance(value, str) and "://" in value and secrets_of(value):
            hint = "every user of this machine can read it there; give it with --json-args - on standard input"
            raise UsageError(f"source holds a password, and stands on the command line: {hint}")
        if name == "settings.set":
            _merge(arguments, _setting(key, value))
        else:
            arguments[key] = value
    if args.span is not None:
        arguments["for_s"] = args.span
    return name, arguments or None


def _worded(name: str, word: str) -> tuple[str, object]:
    """A word alone: the first argument of the command, as its model has it."""
    spec = COMMANDS.get(name)
    if spec is None:
        raise UsageError(f"'{word}' is no KEY=VALUE, and no command '{name}' is known here that could take it")
    if issubclass(spec.args, _WORDLESS):
        raise UsageError(f"'{word}' is no KEY=VALUE, and {name} takes nothing else")
    if not spec.args.model_fields:
        raise UsageError(f"'{word}': {name} takes no arguments")
    key, field = next(iter(spec.args.model_fields.items()))
    try:
        return key, _span(word) if field.annotation is float else word
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"{key}: {error}") from None


def _setting(key: str, value: object) -> dict[str, object]:
    """One setting by its path in the configuration file, as the arguments of `settings.set`."""
    path = key.split(".")
    if not all(path):
        raise UsageError(f"'{key}' cannot be a setting")
    if path[0] not in SettingsSet.model_fields:
        path.insert(0, "node")
    elif len(path) == 1 and not isinstance(value, dict):
        hint = "; the node to speak to is --node" if key == "node" else f", as in {key}.NAME.KEY=VALUE"
        raise UsageError(f"'{key}' has settings below it and no value of its own{hint}")
    tree = value
    for part in reversed(path):
        tree = {part: tree}
    assert isinstance(tree, dict)
    return tree


def _merge(table: dict[str, object], more: dict[str, object]) -> None:
    for key, value in more.items():
        inner = table.get(key)
        if isinstance(inner, dict) and isinstance(value, dict):
            _merge(inner, value)
        else:
            table[key] = value


def _pair(pair: str) -> tuple[str, object]:
    """`key=value`: a value that reads as JSON is that, any other is text."""
    key, _, value = pair.partition("=")
    if not key:
        raise UsageError(f"'{pair}' is no KEY=VALUE")
    try:
        return key, json.loads(value, parse_constant=_no_constant)
    except ValueError:
        return key, value


def broker(args: argparse.Namespace, env: Mapping[str, str]) -> Place:
    """Where to connect to, and the node to speak to, from the options that are as those of `hailod ctl`. Raises
    ConfigError and UsageError."""
    if args.host is not None and args.config is None:
        settings = Settings()
        password = env.get("HAILOD_MQTT__PASSWORD")
        mqtt: dict[str, object] = {"password": SecretStr(password)} if password else {}
    else:
        # Camera sources are none of our business, and what reads them is slow to import.
        directory = env.get("CREDENTIALS_DIRECTORY")
        loaded = load(args.config, env, Path(directory) if directory else None)
        settings = loaded.settings
        mqtt = dict(anchored_mqtt(settings.mqtt, loaded.config_dir))
    given = {"host": args.host, "port": args.port, "username": args.username}
    mqtt |= {key: value for key, value in given.items() if value is not None}
    if args.password_file is not None:
        mqtt["password"] = SecretStr(read_password(args.password_file))
    try:
        checked = MqttSettings.model_validate(mqtt)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise UsageError(f"--{'.'.join(map(str, first['loc']))}: {first['msg'].lower()}") from None
    return Place(checked, args.node or settings.node, settings.node, settings.frigate, tuple(settings.cameras))


def _accepted(job: str) -> None:
    print(f"accepted as {job}, waiting for its end ...", file=sys.stderr, flush=True)


def _done(name: str, reply: Payload) -> Iterator[str]:
    yield f"{name}: ok ({reply.get('took_ms')} ms)"
    data = reply.get("data")
    if isinstance(data, dict):
        for key, value in data.items():
            yield f"  {key}: {_shown(key, value)}"
    elif data is not None:
        yield f"  {_shown('', data)}"


def _refused(name: str, reply: Payload) -> Iterator[str]:
    error = reply.get("error")
    error = error if isinstance(error, dict) else {}
    where = f" ({error['field']})" if error.get("field") else ""
    yield f"{name}: {_plain(error.get('code', 'error'))}: {_plain(error.get('message', 'no reason given'))}{where}"
    allowed = error.get("allowed")
    if isinstance(allowed, list) and allowed:
        yield f"  allowed: {', '.join(_plain(value) for value in allowed)}"
    if reply.get("rolled_back"):
        yield "  it was rolled back: what ran before runs on"
    if error.get("retryable"):
        yield "  the same command may succeed later"


def _shown(key: str, value: object) -> str:
    if key in _MOMENTS and isinstance(value, int | float) and 0 <= value < 2**37:
        return f"{datetime.fromtimestamp(value):%Y-%m-%d %H:%M:%S}"  # noqa: DTZ006 -- local, for people
    return _plain(value)


def _plain(value: object) -> str:
    """As it can be printed; what comes from the network could move the cursor otherwise."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return "".join(character if character.isprintable() else "?" for character in text)


def _span(text: str) -> float:
    match = _SPAN.fullmatch(text.strip().lower())
    if match is None or float(match[1]) <= 0:
        raise argparse.ArgumentTypeError(f"'{text}' is no time: write 600, 90s, 10m or 2h")
    return float(match[1]) * _SECONDS[match[2]]


def node_name(text: str) -> str:
    if not re.fullmatch(NAME_PATTERN.removeprefix("^").removesuffix("$"), text):
        raise argparse.ArgumentTypeError(f"'{text}' cannot be a node: a-z, 0-9, _ and -")
    return text


def _json_object(text: str) -> dict[str, object]:
    if text == "-":
        text = sys.stdin.read(MAX_BYTES + 1)
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError("not a JSON object")
    return value


def _no_constant(constant: str) -> object:
    raise ValueError(f"{constant} is not JSON")
