"""From what somebody wants set to whole settings that are valid, and to what that restarts. Everything here raises
CommandError in the words in which a mistake in the configuration file is told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache

from pydantic import JsonValue, SecretStr, ValidationError

from hailod.config.diff import KeyPath, Plan, apply, diff, flatten
from hailod.config.explain import Explainer, Grammar, dotted
from hailod.config.model import CameraSettings, Settings
from hailod.config.store import Overrides, may_be_set
from hailod.errors import CommandError
from hailod.redact import redact_url

_RANGE_ERRORS = frozenset({"greater_than", "greater_than_equal", "less_than", "less_than_equal", "finite_number"})
_JSON_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", type(None): "null"}
_TABLES = {"cameras": ("unknown_camera", "camera"), "models": ("model_not_found", "model")}

Values = Mapping[KeyPath, object]


def from_args(
    node: Mapping[str, JsonValue],
    models: Mapping[str, Mapping[str, JsonValue]],
    cameras: Mapping[str, Mapping[str, JsonValue]],
) -> dict[KeyPath, object]:
    """The arguments of `settings.set` as leaves by their path."""
    for key in ("models", "cameras"):
        if key in node:
            raise CommandError("bad_args", f"{key} have a place of their own beside node", field=f"node.{key}")
    values = dict(_leaves(node, ()))
    for name, table in models.items():
        values.update(_leaves(table, ("models", name)))
    for name, table in cameras.items():
        values.update(_leaves(table, ("cameras", name)))
    if not values:
        raise CommandError("bad_args", "nothing to set: name node, models or cameras", field="args")
    return values


def proposed(settings: Settings, values: Values) -> Settings:
    """`settings` with these leaves set, whole and valid."""
    document = settings.model_dump(by_alias=True)
    for path, value in values.items():
        check_leaf(settings, path, value)
        table = document
        for key in path[:-1]:
            table = table[key]
        table[path[-1]] = value
    changed = validated(document)
    floor = changed.device.score_floor
    for path in values:
        if path[::2] == ("cameras", "threshold") and changed.cameras[path[1]].threshold < floor:
            text = f"{dotted(path)}: the device itself drops scores below {floor:g}"
            raise CommandError("out_of_range", text, field=dotted(path))
    return changed


def validated(document: dict[str, object]) -> Settings:
    """The settings of a document that may be wrong."""
    try:
        return Settings.model_validate(document)
    except ValidationError as fault:
        raise explain(fault, document) from None


def check_leaf(settings: Settings, path: KeyPath, value: object) -> None:
    """See that there is such a leaf, that it may be set, and that the value is of its type."""
    if path[0] in _TABLES and len(path) > 1:
        code, kind = _TABLES[path[0]]
        known = sorted(getattr(settings, path[0]))
        if path[1] not in known:
            raise CommandError(code, f"no {kind} '{path[1]}'", field=dotted(path[:2]), allowed=known)
    check_value(settings, path, value)


def check_value(settings: Settings, path: KeyPath, value: object) -> None:
    """The same, of a camera or model that need not be there yet."""
    field = dotted(path)
    grammar = _grammar()
    if grammar.node(path) is None or grammar.keys(path) is not None:
        keys = next(keys for end in range(len(path) - 1, -1, -1) if (keys := grammar.keys(path[:end])) is not None)
        raise CommandError("bad_args", f"{field}: no such setting", field=field, allowed=sorted(keys) or None)
    if not may_be_set(path, value):
        raise CommandError("forbidden", f"{field} is not set over MQTT", field=field)
    if path[-1:] == ("model",) and value is not None and value not in settings.models:
        raise CommandError("model_not_found", "no such model", field=field, allowed=sorted(settings.models))
    written, types = _JSON_TYPES.get(type(value), "object"), grammar.types(path)
    if written not in types and not (written == "integer" and "number" in types):
        text = f"{field}: must be {grammar.allowed(path)}"
        raise CommandError("bad_args", text, field=field, allowed=(grammar.allowed(path),))


def explain(fault: ValidationError, document: Mapping[str, object]) -> CommandError:
    """The first thing that is wrong with a document of settings."""
    grammar = _grammar()
    explainer = Explainer(grammar, document, lambda _: "")
    first = fault.errors(include_url=False)[0]
    path = explainer.leaf(first["loc"])
    text = explainer.problems(fault)[0].removeprefix(": ")
    words = _choices(grammar, path)
    code = "out_of_range" if first["type"] in _RANGE_ERRORS else "bad_args"
    return CommandError(code, text[:300], field=dotted(path) or None, allowed=words)


def without(settings: Settings, table: str, name: str) -> Settings:
    """`settings` without this camera or model."""
    document = settings.model_dump(by_alias=True)
    del document[table][name]
    return validated(document)


def reset(settings: Settings, files: Settings, kept: Overrides, path: KeyPath) -> Settings:
    """`settings` with what lies at `path` and below as the files have it; () is everything that may be set."""
    if path and _grammar().node(path) is None:
        raise CommandError("bad_args", f"{dotted(path)}: no such setting", field="args.path")
    base = files
    added = kept.tables.get(".".join(path[:2]))
    if len(path) > 2 and added is not None:
        # Something of a camera or model that the files do not know: as it was when it was added.
        document = files.model_dump(by_alias=True)
        document[path[0]][path[1]] = dict(added)
        base = validated(document)
    changes = tuple(
        change
        for change in diff(settings, base).changes
        if change.path[: len(path)] == path
        and (may_be_set(change.path) or (len(change.path) == 2 and change.path[0] in _TABLES))
    )
    return validated(apply(Plan(changes), settings).model_dump(by_alias=True))


def restarted(plan: Plan, loaded: frozenset[str]) -> list[str]:
    """What a plan starts, stops or starts anew, as paths; of models only those that are `loaded` before or after."""
    cameras = {*plan.cameras_added, *plan.cameras_removed, *plan.cameras_changed}
    models = {*plan.models_added, *plan.models_removed, *plan.models_changed} & loaded
    device = ["device"] if plan.device else []
    return [*device, *(f"models.{name}" for name in sorted(models)), *(f"cameras.{name}" for name in sorted(cameras))]


def needed(settings: Settings) -> frozenset[str]:
    """The models that cameras run."""
    return frozenset(model for name in settings.cameras if (model := settings.model_of(name)))


def visible(settings: Settings, path: KeyPath = (), *, spare: bool = False) -> dict[str, object]:
    """What may be set and its values, as tables; and sources without their credentials. `spare` leaves out what
    cameras and models have by default."""
    told: dict[str, object] = {}
    for leaf, value in flatten(settings):
        source = leaf[0] == "cameras" and leaf[2:] == ("source",)
        if leaf[: len(path)] != path or not (source or may_be_set(leaf)):
            continue
        if spare and leaf[0] == "cameras" and value == CameraSettings.model_fields[leaf[2]].default:
            continue
        table = told
        for key in leaf[:-1]:
            inner = table.setdefault(key, {})
            assert isinstance(inner, dict)
            table = inner
        table[leaf[-1]] = redact_url(value.get_secret_value()) if isinstance(value, SecretStr) else _plain(value)
    return told


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value if isinstance(value, _PLAIN) else str(value)


_PLAIN = (bool, int, float, str, list, type(None))


def _leaves(table: Mapping[str, JsonValue], path: KeyPath) -> Iterator[tuple[KeyPath, object]]:
    for key, value in table.items():
        here = (*path, key[:64])
        if isinstance(value, dict) and _grammar().keys(here) is not None:
            yield from _leaves(value, here)
        else:
            yield here, value


def _choices(grammar: Grammar, path: KeyPath) -> tuple[str, ...] | None:
    return (grammar.allowed(path),) if path and grammar.node(path) is not None and not grammar.keys(path) else None


@cache
def _grammar() -> Grammar:
    return Grammar(Settings)
