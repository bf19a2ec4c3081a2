"""The settings' grammar, and pydantic's complaints in the words of somebody who writes a configuration file.

What is allowed is told from the JSON Schema of the settings, so that a message can never disagree with the model.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from hailod.config.diff import KeyPath
from hailod.config.model import HOST_PATTERN, NAME_PATTERN, WEB_HOST_PATTERN, Section
from hailod.redact import redact_url

Schema = Mapping[str, Any]
MASK = "***"
_LONGEST_SHOWN = 80

# Each pattern of the model in words; a test holds the two together.
PATTERNS = {
    NAME_PATTERN: "1 to 48 of the characters a-z, 0-9, _ and -",
    HOST_PATTERN: "a host name or address, without scheme, user or port",
    WEB_HOST_PATTERN: "a host in lower case, perhaps with :port, without scheme and path",
    r"^[A-Za-z0-9._-]{1,64}$": "1 to 64 of the characters A-Z, a-z, 0-9, ., _ and -",
    r"^[a-z0-9_]{1,16}$": "1 to 16 of the characters a-z, 0-9 and _",
}


class Grammar:
    """Which keys there are, which are secret, and what each may hold; paths are as the user writes them."""

    def __init__(self, model: type[Section]) -> None:
        self._root: Schema = model.model_json_schema()

    def node(self, path: KeyPath) -> Schema | None:
        """The schema of a key or table; None where there is no such thing."""
        node: Schema | None = self._root
        for key in path:
            table = self._table(node)
            if table is None:
                return None
            node = table.get("properties", {}).get(key, _named(table))
        return node

    def keys(self, path: KeyPath) -> tuple[str, ...] | None:
        """The keys of a table, () for one whose names the user chooses; None for what is no table."""
        table = self._table(self.node(path))
        return None if table is None else tuple(table.get("properties", ()))

    def is_secret(self, path: KeyPath) -> bool:
        node = self.node(path)
        return node is not None and any(choice.get("writeOnly", False) for choice in _choices(node))

    def types(self, path: KeyPath) -> frozenset[str]:
        """The JSON types that the value at `path` may have."""
        return frozenset(choice.get("type", "object") for choice in _choices(self.node(path) or {}))

    def allowed(self, path: KeyPath) -> str:
        """What may stand at `path`, in words."""
        choices = [self._words(choice) for choice in _choices(self.node(path) or {}) if choice.get("type") != "null"]
        return " or ".join(choices)

    def tables_with(self, key: str) -> list[str]:
        """The tables that know `key`, as the user writes them."""
        return [f"[{dotted(path)}]" for path in self._tables(()) if path and key in (self.keys(path) or ())]

    def _tables(self, path: KeyPath) -> Iterator[KeyPath]:
        table = self._table(self.node(path))
        if table is None:
            return
        if "properties" in table:
            yield path
            for key in table["properties"]:
                yield from self._tables((*path, key))
        else:
            yield from self._tables((*path, "NAME"))

    def _table(self, node: Schema | None) -> Schema | None:
        for choice in _choices(node or {}):
            target = self._root["$defs"][choice["$ref"].rpartition("/")[2]] if "$ref" in choice else choice
            if "properties" in target or _named(target) is not None:
                return dict(target)
        return None

    def _words(self, node: Schema) -> str:
        if self._table(node) is not None:
            return "a table"
        if "enum" in node or "const" in node:
            values = node.get("enum", [node.get("const")])
            return f"one of {', '.join(map(json.dumps, values))}" if len(values) > 1 else json.dumps(values[0])
        kind = node.get("type")
        if kind == "array":
            items = node.get("prefixItems")
            if items:
                return f"a list of {len(items)}, each {self._words(items[0])}"
            return f"a list of which each is {self._words(node['items'])}"
        numbers = {"integer": "a whole number", "number": "a number"}
        return numbers[kind] + _range(node) if kind in numbers else _text(node)


class Explainer:
    """Turns what is wrong with a merged document into lines that name file, key, value and what is allowed.

    `where(path)` names the file or variable from which the key, or the table it is missing from, came.
    """

    def __init__(self, grammar: Grammar, document: Mapping[str, Any], where: Callable[[KeyPath], str]) -> None:
        self._grammar = grammar
        self._document = document
        self._where = where

    def problems(self, error: ValidationError) -> list[str]:
        """One line for each leaf or table that is wrong."""
        lines: dict[str, None] = {}
        for item in error.errors(include_url=False):
            for line in self._lines(item["type"], item["loc"], item["msg"]):
                lines[line] = None
        return list(lines)

    def line(self, path: KeyPath, wrong: str) -> str:
        """`<where>: <key> = <value>: <wrong>`, with the value masked where it is or may hold a secret."""
        return f"{self._where(path)}: {dotted(path)} = {self._shown(path)}: {wrong}"

    def _lines(self, kind: str, loc: Sequence[int | str], message: str) -> Iterator[str]:
        path = self.leaf(loc)
        if kind == "extra_forbidden":
            yield f"{self._where(path)}: {dotted(path)}: unknown key{self._hint(path)}"
        elif kind == "missing" and len(path) == len(loc):
            yield f"{self._where(path)}: {dotted(path)}: is missing; it must be {self._grammar.allowed(path)}"
        elif loc and loc[-1] == "[key]":
            yield f"{self._where(path)}: {dotted(path)}: a name must be {PATTERNS[NAME_PATTERN]}"
        elif kind == "value_error":
            for text in message.removeprefix("Value error, ").splitlines():
                yield self._line_of_validator(path, text)
        elif self._grammar.keys(path) is not None:
            yield f"{self._where(path)}: {dotted(path)}: must be a table, written [{dotted(path)}{self._name(path)}]"
        else:
            yield self.line(path, f"must be {self._grammar.allowed(path)}")

    def _line_of_validator(self, path: KeyPath, text: str) -> str:
        """A validator of a whole table says first which key it means: `cameras.front.model: ...`."""
        if self._grammar.keys(path) is None:
            return self.line(path, text)
        key, separator, wrong = text.partition(": ")
        named = (*path, *key.split("."))
        if separator and self._grammar.node(named) is not None:
            return self.line(named, wrong) if self._has(named) else f"{self._where(named)}: {text}"
        return f"{self._where(path)}: {text}"

    def leaf(self, loc: Sequence[int | str]) -> KeyPath:
        """The path of the key: pydantic appends indices and the branches of a union to it."""
        path: KeyPath = ()
        for part in loc:
            if self._grammar.keys(path) is None or part == "[key]":
                break
            path = (*path, str(part))
        return path

    def _hint(self, path: KeyPath) -> str:
        known = self._grammar.keys(path[:-1]) or ()
        close = difflib.get_close_matches(path[-1], known, n=1)
        if close:
            return f"; did you mean {close[0]}?"
        if elsewhere := self._grammar.tables_with(path[-1]):
            return f"; it belongs in {' or '.join(elsewhere)}"
        return f"; known here: {', '.join(sorted(known))}"

    def _name(self, path: KeyPath) -> str:
        return ".NAME" if self._grammar.keys(path) == () else ""

    def _has(self, path: KeyPath) -> bool:
        return self._value(path) is not None

    def _value(self, path: KeyPath) -> object:
        value: object = self._document
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value

    def _shown(self, path: KeyPath) -> str:
        return shown(path, self._value(path), secret=self._grammar.is_secret(path))


def dotted(path: KeyPath) -> str:
    """The path as it is written in TOML; a key that needs quotes has them, and none is long or unprintable."""
    return ".".join(key if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", key) else json.dumps(key[:64]) for key in path)


def shown(path: KeyPath, value: object, *, secret: bool) -> str:
    """`value` as it may be shown to anybody: one short printable line without credentials."""
    if secret and path[-1] != "source":
        return MASK
    if isinstance(value, str):
        redacted = redact_url(value)
        suspicious = re.search(r"[@?=]", value) if secret else re.search(r"://|@", value)
        return MASK if suspicious and redacted == value else _short(json.dumps(redacted))
    text = json.dumps(value, default=str)
    return MASK if secret or "://" in text or "@" in text else _short(text)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "..."


def _choices(node: Schema) -> Sequence[Schema]:
    choices: Sequence[Schema] = node.get("anyOf", (node,))
    return choices


def _named(table: Schema) -> Schema | None:
    """What stands below names of the user's choice; how pydantic writes it depends on its version."""
    patterns: Mapping[str, Schema] = table.get("patternProperties", {})
    named: Schema | None = next(iter(patterns.values()), None) or table.get("additionalProperties") or None
    return named


def _range(node: Schema) -> str:
    if "exclusiveMinimum" in node:
        return f" above {node['exclusiveMinimum']:g} and at most {node['maximum']:g}"
    if "minimum" in node and "maximum" in node:
        return f" from {node['minimum']:g} to {node['maximum']:g}"
    return f" of at least {node['minimum']:g}" if "minimum" in node else ""


def _text(node: Schema) -> str:
    if node.get("type") == "boolean":
        return "true or false"
    if "pattern" in node:
        return PATTERNS.get(node["pattern"], f"text that matches {node['pattern']}")
    if node.get("format") == "path":
        return "a path"
    if "maxLength" in node:
        return f"text of {node.get('minLength', 0)} to {node['maxLength']} characters"
    return "text"
