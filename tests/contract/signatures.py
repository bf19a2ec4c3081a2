"""Facts about the real `hailo_platform`, and the comparison of a module with them.

`data/hailo_platform_signatures.json` holds names, parameters, defaults, numbers and texts of HailoRT 4.23.0, derived
by `derive` from a recording of the real modules. `RECORDED` is where that recording lies beside the repository.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

DATA = Path(__file__).parent / "data" / "hailo_platform_signatures.json"
RECORDED = Path(__file__).parents[3] / "shared" / "contract" / "hailo_platform_signatures.json"

# A class whose constructor the binding does not have.
NO_CONSTRUCTOR = "wrapper_descriptor"


def facts() -> dict[str, Any]:
    """The derived facts."""
    loaded: dict[str, Any] = json.loads(DATA.read_text("ascii"))
    return loaded


def derive(recorded: dict[str, Any]) -> dict[str, Any]:
    """What of a recording is compared: no documentation, no text of the vendor's but that of exceptions."""
    return {
        "version": recorded["version"],
        "top_level": recorded["top_level_all"],
        "top_level_dir": recorded["top_level_dir"],
        "classes": {
            name: {"bases": cls["bases"], "members": _members(cls["members"])}
            for name, cls in recorded["python_classes"].items()
        },
        "exceptions": {name: _names(each["mro"]) for name, each in recorded["exceptions"].items()},
        "python_enums": recorded["python_enums"],
        "native_exceptions": {name: _names(each["mro"]) for name, each in recorded["c_exceptions"].items()},
        "native_classes": {
            name: {member: _kind(each) for member, each in members.items()}
            for name, members in recorded["c_classes"].items()
        },
        "native_functions": {
            name: len(re.findall(r"arg\d+:", signature)) for name, signature in recorded["c_functions"].items()
        },
        "enums": recorded["c_enums"],
        "statuses": {
            number: [status["name"], status["exception"], status["message"]]
            for number, status in recorded["status_codes"].items()
        },
        "constants": recorded["constants"],
    }


def _names(mro: list[str]) -> list[str]:
    return [name.rpartition(".")[2] for name in mro]


def _kind(member: dict[str, Any]) -> str:
    return "settable" if member.get("settable") else str(member["kind"])


def _members(members: dict[str, Any]) -> dict[str, Any]:
    kinds = {
        "class": lambda each: {"members": _members(each["members"])},
        "attr": lambda each: {"value": each["value"]},
        "property": _kind,
    }
    return {name: kinds.get(each["kind"], lambda each: each["signature"])(each) for name, each in members.items()}


@dataclass(frozen=True, slots=True)
class Compared:
    """One entry of the facts, and how the module differs from it; None when it does not."""

    entry: str
    difference: str | None = None


def compare_class(cls: type, members: dict[str, Any], path: str) -> Iterator[Compared]:
    """Each member of a Python class, nested classes included."""
    for name, expected in members.items():
        entry = f"{path}.{name}"
        if isinstance(expected, dict) and "members" in expected:
            yield from compare_class(getattr(cls, name), expected["members"], entry)
        else:
            yield Compared(entry, _member_difference(cls, name, expected))


def _member_difference(cls: type, name: str, expected: Any) -> str | None:
    raw = inspect.getattr_static(cls, name, None)
    if raw is None:
        return "missing"
    if isinstance(expected, dict):
        value = expected["value"]
        # The recording cuts long texts.
        return None if repr(raw).startswith(value.rstrip("'")) else f"{raw!r} instead of {value}"
    if expected in ("property", "settable"):
        return None if isinstance(raw, property) else "no property"
    function = raw.__func__ if isinstance(raw, staticmethod | classmethod) else raw
    have, want = parameters(function), recorded_parameters(expected)
    return None if have == want else f"{have} instead of {want}"


def parameters(function: Any) -> list[tuple[str, str, str]]:
    """(kind, name, default) of each parameter, annotations dropped; defaults as text."""
    return [
        (parameter.kind.name, parameter.name, _default(parameter.default))
        for parameter in inspect.signature(function).parameters.values()
    ]


def recorded_parameters(signature: str) -> list[tuple[str, str, str]]:
    """The same of a recorded signature, whose defaults may be no Python."""
    body = re.sub(r"<[^<>]*>|dtype\([^()]*\)", lambda match: repr(match.group()), signature.partition(" -> ")[0])
    made: dict[str, Any] = {}
    exec(f"from __future__ import annotations\ndef function{body}: ...", made)
    return parameters(made["function"])


def _default(value: object) -> str:
    return "" if value is inspect.Parameter.empty else str(value) if isinstance(value, str) else repr(value)


def compare_native_class(cls: type, members: dict[str, str], path: str) -> Iterator[Compared]:
    """Each member of a class of the binding, which says nothing of parameters."""
    for name, kind in members.items():
        if name != "__init__":
            yield Compared(f"{path}.{name}", _native_difference(cls, name, kind))
        elif kind != NO_CONSTRUCTOR:
            yield Compared(f"{path}()", None if inspect.isfunction(cls.__init__) else "no constructor")


def _native_difference(cls: type, name: str, kind: str) -> str | None:
    raw = inspect.getattr_static(cls, name, None)
    fields = getattr(cls, "__dataclass_fields__", {})
    if kind not in ("property", "settable"):
        callable_ = isinstance(raw, staticmethod | classmethod) or callable(raw)
        return None if callable_ else "missing" if raw is None else "no method"
    if raw is None and name not in fields:
        # Set by a constructor without arguments.
        return None if kind == "settable" and hasattr(cls(), name) else "missing"
    if inspect.isfunction(raw):
        return "a method instead of a property"
    if isinstance(raw, property):
        settable = raw.fset is not None
    elif name in fields:
        settable = not cls.__dataclass_params__.frozen  # type: ignore[attr-defined]
    else:
        settable = hasattr(type(raw), "__set__")
    if settable == (kind == "settable"):
        return None
    return "can be set" if settable else "cannot be set"


def compare_values(found: ModuleType | type, expected: dict[str, Any], path: str) -> Iterator[Compared]:
    """Each name with its value."""
    for name, value in expected.items():
        have = getattr(found, name, None)
        yield Compared(f"{path}.{name}", None if have == value else f"{have!r} instead of {value!r}")


if __name__ == "__main__":
    DATA.write_text(json.dumps(derive(json.loads(RECORDED.read_text("utf-8"))), indent=1) + "\n", "ascii")
