"""The two layers above the files: HAILOD_... variables and systemd credentials."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hailod.config.diff import KeyPath
from hailod.config.explain import Grammar
from hailod.config.files import read_text
from hailod.errors import ConfigError

PREFIX = "HAILOD_"
MAX_CREDENTIAL_BYTES = 65_536


def variables(
    env: Mapping[str, str], grammar: Grammar, below: Mapping[str, Any], problems: list[str]
) -> Iterator[tuple[str, KeyPath, object]]:
    """Each variable that sets something, its path and value: `HAILOD_CAMERAS__FRONT__MAX_FPS=5`.

    An empty variable sets nothing. A variable cannot hold `-`: its `_` also finds a camera or model `front-door` of the
    layers `below`. Lists are written as in TOML. What names no setting is added to `problems`.
    """
    for variable in sorted(env):
        text = env[variable]
        if not variable.startswith(PREFIX) or not text:
            continue
        path = _existing(tuple(variable.removeprefix(PREFIX).lower().split("__")), below)
        keys = grammar.keys(path)
        if path == ("schema",) or "" in path or (keys is None and grammar.node(path) is None):
            problems.append(f"environment variable {variable}: no such setting{_hint(variable, path, grammar)}")
        elif keys is not None:
            example = f"{variable}__{(keys or ('NAME',))[0].upper()}"
            problems.append(f"environment variable {variable}: is a table; set its keys, such as {example}")
        else:
            yield variable, path, _value(text, grammar.types(path))


def credentials(directory: Path, grammar: Grammar, problems: list[str]) -> Iterator[tuple[Path, KeyPath, object]]:
    """Each credential that holds a secret setting, by its dotted key as file name: `mqtt.password`.

    A final newline is dropped. A name that starts like a setting and is none is added to `problems`; others belong to
    somebody else.
    """
    try:
        files = sorted(directory.iterdir())
    except OSError as error:
        problems.append(f"{directory}: credentials cannot be listed: {error.strerror}")
        return
    for file in files:
        path = tuple(file.name.split("."))
        if len(path) < 2 or grammar.keys(path[:1]) is None:
            continue
        if not grammar.is_secret(path):
            problems.append(f"{file}: no such credential; known: mqtt.password, cameras.NAME.source")
            continue
        try:
            yield file, path, read_text(file, MAX_CREDENTIAL_BYTES).removesuffix("\n")
        except ConfigError as error:
            problems.append(str(error))


def _existing(path: KeyPath, below: Mapping[str, Any]) -> KeyPath:
    if len(path) < 2 or path[0] not in {"cameras", "models"}:
        return path
    named = below.get(path[0])
    names = named if isinstance(named, dict) else {}
    if path[1] in names:
        return path
    match = next((name for name in names if name.replace("-", "_") == path[1]), path[1])
    return (path[0], match, *path[2:])


def _value(text: str, types: frozenset[str]) -> object:
    """A variable is text; a setting that is not may be written as in TOML."""
    if "string" in types and not ("array" in types and text.startswith("[")):
        return text
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return parsed["value"] if parsed.keys() == {"value"} else text


def _hint(variable: str, path: KeyPath, grammar: Grammar) -> str:
    known = grammar.keys(path[:-1]) or ()
    close = difflib.get_close_matches(path[-1], known, n=1)
    if not close:
        return f"; settings are named like {PREFIX}MQTT__HOST, with two underscores between table and key"
    return f"; did you mean {variable[: len(variable) - len(path[-1])]}{close[0].upper()}?"
