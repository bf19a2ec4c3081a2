"""JSON from strangers: what Python's parser forgives is refused here."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn


def load_object(payload: bytes, *, max_depth: int) -> dict[str, Any]:
    """The JSON object in `payload`, nested at most `max_depth` deep.

    Raises ValueError, with a message that holds nothing of the payload, for anything else: other encodings than UTF-8,
    keys that occur twice, NaN and infinities, numbers that overflow, half surrogate pairs.
    """
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    try:
        document = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_finite)
    except json.JSONDecodeError as fault:
        raise ValueError(f"{fault.msg} at character {fault.pos}") from None
    except RecursionError:
        raise ValueError(f"nested deeper than {max_depth}") from None
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")
    _look_through(document, max_depth)
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key occurs twice")
    return document


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return value


def _look_through(value: object, depth: int) -> None:
    if isinstance(value, str):
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise ValueError("a string is not Unicode")
    elif isinstance(value, dict | list):
        if depth == 0:
            raise ValueError("nested too deeply")
        for item in (*value.keys(), *value.values()) if isinstance(value, dict) else value:
            _look_through(item, depth - 1)
