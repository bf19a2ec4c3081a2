"""What must restart for one settings snapshot to become another. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from hailod.config.model import Reach, Section, Settings

KeyPath = tuple[str, ...]
ANY_NAME = "*"

S = TypeVar("S", bound=Section)


@dataclass(frozen=True, slots=True)
class Change:
    """One leaf, or one whole table that came or went (then the side where it is absent is None).

    Secrets are `SecretStr` and therefore masked in `repr` and `str`.
    """

    path: KeyPath
    old: object
    new: object
    reach: Reach

    def __str__(self) -> str:
        return f"{'.'.join(self.path)}: {self.old} -> {self.new}"


@dataclass(frozen=True, slots=True)
class Plan:
    """The smallest set of restarts that makes `changes` take effect; what is not named only needs the new snapshot.

    `cameras_changed` must be reopened and `models_changed` configured again; both exist before and after.
    """

    changes: tuple[Change, ...] = ()
    reach: Reach | None = None
    cameras_added: tuple[str, ...] = ()
    cameras_removed: tuple[str, ...] = ()
    cameras_changed: tuple[str, ...] = ()
    models_added: tuple[str, ...] = ()
    models_removed: tuple[str, ...] = ()
    models_changed: tuple[str, ...] = ()
    broker: bool = False
    device: bool = False
    process: bool = False


def leaves(model: type[Section]) -> Mapping[KeyPath, Reach]:
    """Every leaf below `model` as the user writes it, with its reach; `*` stands for a name that the user chooses.

    Raises TypeError for a leaf that declares no reach.
    """
    return dict(_leaves(model, ()))


def flatten(section: Section, path: KeyPath = ()) -> Iterator[tuple[KeyPath, object]]:
    """Every leaf of `section` with its effective value, in the order of the model."""
    for name, field in type(section).model_fields.items():
        key, value = (*path, _key(name, field)), getattr(section, name)
        if isinstance(value, Section):
            yield from flatten(value, key)
        elif _named_tables(field) is not None:
            for entry, table in value.items():
                yield from flatten(table, (*key, entry))
        elif _table(field) is None:
            yield key, value


def diff(old: Settings, new: Settings) -> Plan:
    """The plan that leads from `old` to `new`; the way back is `diff(new, old)`."""
    changes = tuple(_changes(old, new, ()))
    reaches = {change.reach for change in changes}
    kept_models = old.models.keys() & new.models.keys()
    every_model = any(change.reach is Reach.MODEL and change.path[0] != "models" for change in changes)
    return Plan(
        changes=changes,
        reach=max(reaches, default=None),
        cameras_added=_names(new.cameras.keys() - old.cameras.keys()),
        cameras_removed=_names(old.cameras.keys() - new.cameras.keys()),
        cameras_changed=_names(old.cameras.keys() & new.cameras.keys() & _touched(changes, "cameras", Reach.CAMERA)),
        models_added=_names(new.models.keys() - old.models.keys()),
        models_removed=_names(old.models.keys() - new.models.keys()),
        models_changed=_names(kept_models if every_model else kept_models & _touched(changes, "models", Reach.MODEL)),
        broker=Reach.BROKER in reaches,
        device=Reach.DEVICE in reaches,
        process=Reach.PROCESS in reaches,
    )


def apply(plan: Plan, settings: Settings) -> Settings:
    """`settings` with the changes of `plan`: `apply(diff(a, b), a) == b`."""
    for change in plan.changes:
        settings = _put(settings, change.path, change.new)
    return settings


def _leaves(model: type[Section], path: KeyPath) -> Iterator[tuple[KeyPath, Reach]]:
    for name, field in model.model_fields.items():
        key = (*path, _key(name, field))
        if (named := _named_tables(field)) is not None:
            yield from _leaves(named, (*key, ANY_NAME))
        elif (table := _table(field)) is not None:
            yield from _leaves(table, key)
        else:
            yield key, _reach(key, field)


def _changes(old: Section, new: Section, path: KeyPath) -> Iterator[Change]:
    for name, field in type(old).model_fields.items():
        key, before, after = (*path, _key(name, field)), getattr(old, name), getattr(new, name)
        if before == after:
            continue
        if (named := _named_tables(field)) is not None:
            for entry in sorted(before.keys() | after.keys()):
                yield from _table_changes(named, (*key, entry), before.get(entry), after.get(entry))
        elif (table := _table(field)) is not None:
            yield from _table_changes(table, key, before, after)
        else:
            yield Change(key, before, after, _reach(key, field))


def _table_changes(model: type[Section], path: KeyPath, old: Section | None, new: Section | None) -> Iterator[Change]:
    if old is not None and new is not None:
        yield from _changes(old, new, path)
    else:
        yield Change(path, old, new, max(reach for _, reach in _leaves(model, path)))


def _touched(changes: tuple[Change, ...], table: str, reach: Reach) -> set[str]:
    return {change.path[1] for change in changes if change.path[0] == table and change.reach >= reach}


def _put(holder: S, path: KeyPath, value: object) -> S:
    fields = type(holder).model_fields
    name = next(name for name, field in fields.items() if _key(name, field) == path[0])
    current = getattr(holder, name)
    if len(path) == 1:
        current = value
    elif isinstance(current, dict):
        entry, rest = path[1], path[2:]
        current = {k: v for k, v in current.items() if k != entry or rest or value is not None}
        if rest or value is not None:
            current[entry] = _put(current[entry], rest, value) if rest else value
    else:
        current = _put(current, path[1:], value)
    return holder.model_copy(update={name: current})


def _key(name: str, field: FieldInfo) -> str:
    return field.alias or name


def _reach(path: KeyPath, field: FieldInfo) -> Reach:
    for item in field.metadata:
        if isinstance(item, Reach):
            return item
    raise TypeError(f"{'.'.join(path)} declares no Reach")


def _table(field: FieldInfo) -> type[Section] | None:
    """The model of a field that is a table, optional or not."""
    choices = [choice for choice in _alternatives(field.annotation) if choice is not NoneType]
    return choices[0] if len(choices) == 1 and _is_section(choices[0]) else None


def _named_tables(field: FieldInfo) -> type[Section] | None:
    """The model of a field that maps names of the user's choice to tables."""
    if get_origin(field.annotation) is not dict:
        return None
    value: Any = get_args(field.annotation)[1]
    return value if _is_section(value) else None


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) is Annotated:
        return _alternatives(get_args(annotation)[0])
    return get_args(annotation) if get_origin(annotation) in {Union, UnionType} else (annotation,)


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def _names(names: set[str]) -> tuple[str, ...]:
    return tuple(sorted(names))
