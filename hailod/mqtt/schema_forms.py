"""The words of which the schemas are made: pieces of JSON Schema 2020-12. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from hailod.mqtt.payloads import VERSION

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
FRACTION: Schema = {"type": "number", "minimum": 0, "maximum": 1}
# Unix seconds.
TS: Schema = {"type": "number", "minimum": 0}


def one_of(*values: str) -> Schema:
    """One of these words."""
    return {"enum": list(values)}


def or_null(schema: Schema) -> Schema:
    """The same, or null for what is not known."""
    kind = schema.get("type")
    return {**schema, "type": [kind, "null"]} if isinstance(kind, str) else {"anyOf": [schema, {"type": "null"}]}


def array(items: Schema) -> Schema:
    """A list of these."""
    return {"type": "array", "items": items}


def table(values: Schema) -> Schema:
    """An object whose keys are names."""
    return {"type": "object", "additionalProperties": values}


def closed(properties: Mapping[str, Schema], *, optional: Collection[str] = (), v: bool = False) -> Schema:
    """An object with these keys, all but the `optional` ones required, and no other.

    With `v` it is a document: it has a version and, if it holds a `ts`, says when that comes from a clock that is not
    set.
    """
    known = dict(properties)
    left_out = set(optional)
    if v:
        known = {"v": {"const": VERSION}, **known}
        if "ts" in known and "clock_synced" not in known:
            known["clock_synced"] = {"const": False}
            left_out.add("clock_synced")
    required = [key for key in known if key not in left_out]
    return {"type": "object", "properties": known, "required": required, "additionalProperties": False}
