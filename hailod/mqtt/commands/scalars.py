"""Reads what is sent to `set/<key>`: short plain text. Raises CommandError with the key as its field."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from hailod.errors import CommandError

_LONGEST = 64
_SWITCH = {"on": True, "true": True, "1": True, "off": False, "false": False, "0": False}
_DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_RANGE_ERRORS = frozenset({"greater_than", "greater_than_equal", "less_than", "less_than_equal", "finite_number"})


def text(payload: bytes, key: str) -> str:
    """A scalar as text; what is longer than any scalar is none."""
    try:
        return payload[:_LONGEST].decode("ascii").strip()
    except UnicodeDecodeError:
        raise CommandError("bad_args", "expected plain text", field=key) from None


def switch(payload: bytes, key: str) -> bool:
    """ON or OFF."""
    value = _SWITCH.get(text(payload, key).lower())
    if value is None:
        raise CommandError("bad_args", "expected ON or OFF", field=key, allowed=("ON", "OFF"))
    return value


def word(*words: str) -> Callable[[bytes, str], str]:
    """A reader of one of these words."""

    def read(payload: bytes, key: str) -> str:
        value = text(payload, key).lower()
        if value not in words:
            raise CommandError("bad_args", f"expected one of {', '.join(words)}", field=key, allowed=words)
        return value

    return read


def number_of(model: type[BaseModel], field: str) -> Callable[[bytes, str], float]:
    """A reader of a number with the type and the range that this field of the settings has."""
    info = model.model_fields[field]
    whole = info.annotation is int
    kind: Any = int if whole else float
    adapter: TypeAdapter[float] = TypeAdapter(Annotated[(kind, *info.metadata)])

    def read(payload: bytes, key: str) -> float:
        written = text(payload, key)
        if not _DECIMAL.fullmatch(written):
            raise CommandError("bad_args", "expected a number", field=key)
        try:
            return adapter.validate_python(float(written))
        except ValidationError as fault:
            raise explain(fault, key) from None

    return read


def explain(fault: ValidationError, field: str) -> CommandError:
    """The first of pydantic's complaints in our terms; never with the value that was sent."""
    first = fault.errors(include_url=False, include_input=False)[0]
    code = "out_of_range" if first["type"] in _RANGE_ERRORS else "bad_args"
    path = ".".join(part for part in (field, *(str(part)[:_LONGEST] for part in first["loc"][:1])) if part)
    return CommandError(code, first["msg"][:200], field=path or None)
