"""Settings from all their layers, every value with its origin, and all that is wrong with them at once.

defaults < hailod.toml < conf.d/*.toml beside it < environment HAILOD_... < systemd credentials < what was set over MQTT
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError

from hailod.config.diff import KeyPath, flatten
from hailod.config.environment import credentials, variables
from hailod.config.explain import Explainer, Grammar, dotted, shown
from hailod.config.files import read_password, read_toml
from hailod.config.model import SCHEMA, Settings
from hailod.config.store import Found, Overrides, Store, Table, may_be_added, may_be_set
from hailod.errors import ConfigError
from hailod.redact import scrub, secrets_of

DEFAULT_PATH = Path("/etc/hailod/hailod.toml")
MAX_DROP_INS = 100
FIRST_SCHEMA = 1
# Two names of 48 characters and the dots between them are far less.
_LONGEST_KEY = 128

Document = dict[str, Any]
Migration = Callable[[Document], Document]

# What turns a document of schema N (the key) into one of N + 1. A file that does not say its schema has the first.
_MIGRATIONS: Mapping[int, Migration] = {}


class Layer(StrEnum):
    """The layers, lowest first."""

    DEFAULT = "default"
    FILE = "file"
    DROP_IN = "drop-in"
    ENVIRONMENT = "environment"
    CREDENTIAL = "credential"
    PASSWORD_FILE = "password file"  # noqa: S105 -- the name of a layer
    OVERRIDE = "set over MQTT,"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was set: the layer, and the file or variable."""

    layer: Layer
    where: str = ""

    def __str__(self) -> str:
        return f"{self.layer} {self.where}".rstrip()


@dataclass(frozen=True, slots=True)
class Loaded:
    """Valid settings; `provenance` has every leaf by its dotted key; relative paths in them start at `config_dir`.

    `notes` are for the log: what was understood but should be brought up to date. `overrides` is what of the topmost
    layer is in effect, `discarded` has a line for each part of it that is not; `unusable`: its file as a whole. `files`
    are the settings without that layer, where it was looked at.
    """

    settings: Settings
    provenance: Mapping[str, Origin]
    config_dir: Path
    notes: tuple[str, ...] = ()
    overrides: Overrides = field(default_factory=Overrides)
    discarded: tuple[str, ...] = ()
    unusable: bool = False
    files: Settings | None = None


# Whether a table that was added may be; raises ValueError with why not, in words that hold nothing of a source.
Admit = Callable[[KeyPath, Table], object]


def load(
    path: Path | None,
    env: Mapping[str, str],
    credentials_dir: Path | None = None,
    *,
    source_check: Callable[[str], object] | None = None,
) -> Loaded:
    """Read, merge and validate all layers; `path` defaults to /etc/hailod/hailod.toml and must exist.

    `source_check` raises ValueError for a camera source that no one can open. Raises ConfigError with one line for each
    problem; problems of reading files are told before those of their contents.
    """
    path = (path or DEFAULT_PATH).absolute()
    grammar = Grammar(Settings)
    layers = _Layers()
    layers.add_files(path)
    layers.raise_problems()
    for variable, key, value in variables(env, grammar, layers.document, layers.problems):
        layers.set(key, value, Origin(Layer.ENVIRONMENT, variable))
    if credentials_dir is not None:
        for file, key, value in credentials(credentials_dir, grammar, layers.problems):
            layers.set(key, value, Origin(Layer.CREDENTIAL, str(file)))

    explainer = Explainer(grammar, layers.document, layers.where)
    if source_check is not None:
        layers.problems.extend(_source_problems(layers.document, source_check, explainer))
    try:
        settings = Settings.model_validate(layers.document)
    except ValidationError as error:
        layers.problems.extend(explainer.problems(error))
        settings = None
    layers.raise_problems()
    assert settings is not None
    provenance = {dotted(key): layers.origin(key) for key, _ in flatten(settings)}
    loaded = _with_password(Loaded(settings, provenance, path.parent, tuple(layers.notes)))
    return replace(loaded, notes=(*loaded.notes, *_exposed_notes(loaded)))


def with_overrides(loaded: Loaded, store: Store, admit: Admit | None = None, *, found: Found | None = None) -> Loaded:
    """`loaded` with the topmost layer over it, what was set over MQTT and kept in `store`.

    It cannot make settings unusable: each leaf that may not stand there, or that no longer fits what the other layers
    say, is left out alone and told in `discarded`, in the words in which a mistake in a file is told. The same goes for
    each camera and model that was added or removed; `admit` is asked about those that were added. `found` is
    what the store holds, where that is known already.
    """
    found = store.read() if found is None else found
    where = str(store.path)
    origin = Origin(Layer.OVERRIDE, where)
    grammar = Grammar(Settings)
    document = loaded.settings.model_dump(by_alias=True)
    settings, provenance = loaded.settings, dict(loaded.provenance)
    accepted: dict[str, object] = {}
    tables: dict[str, Table | None] = {}
    discarded = [found.problem] if found.problem else []
    for key, added in found.overrides.tables.items():
        entry = tuple(key.split(".")) if len(key) <= _LONGEST_KEY else (key[:64] + "...",)
        if refusal := _not_added(entry, added, document, admit):
            discarded.append(f"{where}: {dotted(entry)}: {refusal}")
            continue
        before = dict(document[entry[0]])
        document[entry[0]].pop(entry[1], None)
        if added is not None:
            document[entry[0]][entry[1]] = dict(added)
        try:
            settings = Settings.model_validate(document)
        except ValidationError as error:
            discarded.append("; ".join(Explainer(grammar, document, lambda _: where).problems(error)))
            document[entry[0]] = before
            continue
        tables[key] = added
        document = settings.model_dump(by_alias=True)
    told = {dotted(path) for path, _ in flatten(loaded.settings)}
    provenance = {
        leaf: provenance[leaf] if leaf in told else origin for leaf in (dotted(path) for path, _ in flatten(settings))
    }
    for key, value in found.overrides.values.items():
        path = tuple(key.split(".")) if len(key) <= _LONGEST_KEY else (key[:64] + "...",)
        if refusal := _misplaced(path, value, settings, grammar):
            discarded.append(f"{where}: {dotted(path)}: {refusal}")
            continue
        table: Document = document
        for name in path[:-1]:
            table = table[name]
        kept, table[path[-1]] = table[path[-1]], value
        try:
            settings = Settings.model_validate(document)
        except ValidationError as error:
            discarded.append("; ".join(Explainer(grammar, document, lambda _: where).problems(error)))
            table[path[-1]] = kept
            continue
        accepted[key] = value
        provenance[dotted(path)] = origin
    return replace(
        loaded,
        settings=settings,
        provenance=provenance,
        overrides=Overrides(found.overrides.revision, accepted, tables),
        discarded=tuple(discarded),
        unusable=bool(found.problem),
        files=loaded.settings,
    )


def migrate(
    document: Document, where: str, *, schema: int = SCHEMA, migrations: Mapping[int, Migration] = _MIGRATIONS
) -> tuple[Document, str | None]:
    """`document` as of `schema`, and a note when it had to be migrated. Raises ConfigError when that is impossible."""
    written = document.get("schema", FIRST_SCHEMA)
    if not isinstance(written, int) or isinstance(written, bool) or written < FIRST_SCHEMA:
        raise ConfigError(f"{where}: schema: must be a whole number from {FIRST_SCHEMA} to {schema}")
    if written > schema:
        raise ConfigError(
            f"{where}: schema = {written}: this file is from a later hailod; this one reads up to schema {schema}: "
            f"upgrade hailod, or restore the file that went with this version"
        )
    for version in range(written, schema):
        if version not in migrations:
            raise ConfigError(
                f"{where}: schema = {written}: too old for this hailod, which reads schema {version + 1} to {schema}: "
                f"start from the commented default file"
            )
        document = migrations[version](deepcopy(document)) | {"schema": version + 1}
    if written == schema:
        return document, None
    return document, f"{where} has schema {written} and was read as schema {schema}; write it anew to keep this quiet"


def secrets_in(settings: Settings) -> frozenset[str]:
    """Every text in `settings` that no log, message or reply may hold."""
    found: set[str] = set()
    if settings.mqtt.password is not None:
        found.add(settings.mqtt.password.get_secret_value())
    for camera in settings.cameras.values():
        found |= secrets_of(camera.source.get_secret_value())
    return frozenset(found)


def exposed_files(loaded: Loaded) -> list[str]:
    """Files of the configuration that hold a password and can be read by everybody."""
    origins = [loaded.provenance[key] for key in _secret_keys(loaded.settings)]
    files = {origin.where for origin in origins if origin.layer in {Layer.FILE, Layer.DROP_IN}}
    found = []
    for file in sorted(files):
        with suppress(OSError):
            if os.stat(file).st_mode & stat.S_IROTH:
                found.append(file)
    return found


def _exposed_notes(loaded: Loaded) -> Iterator[str]:
    for file in exposed_files(loaded):
        yield f"{file} holds a password and everybody can read it: chown root:hailod {file} && chmod 640 {file}"


def _secret_keys(settings: Settings) -> Iterator[str]:
    if settings.mqtt.password is not None:
        yield "mqtt.password"
    for name, camera in settings.cameras.items():
        if secrets_of(camera.source.get_secret_value()):
            yield f"cameras.{name}.source"


def _with_password(loaded: Loaded) -> Loaded:
    """`loaded` with the content of `mqtt.password_file` as its password. Raises ConfigError."""
    mqtt = loaded.settings.mqtt
    if mqtt.password_file is None:
        return loaded
    where = loaded.provenance["mqtt.password_file"].where
    if mqtt.password is not None:
        other = loaded.provenance["mqtt.password"].where
        raise ConfigError(
            f"{where}: mqtt.password_file: there is a mqtt.password too, from {other}; remove one of the two"
        )
    file = loaded.config_dir / mqtt.password_file
    try:
        password = SecretStr(read_password(file))
    except ConfigError as error:
        raise ConfigError(f"{where}: mqtt.password_file: {error}") from None
    changed = mqtt.model_copy(update={"password": password})
    return replace(
        loaded,
        settings=loaded.settings.model_copy(update={"mqtt": changed}),
        provenance={**loaded.provenance, "mqtt.password": Origin(Layer.PASSWORD_FILE, str(file))},
    )


class _Layers:
    """The merged document, and for each of its leaves who wrote it last."""

    def __init__(self) -> None:
        self.document: Document = {}
        self.problems: list[str] = []
        self.notes: list[str] = []
        self._origins: dict[KeyPath, Origin] = {}
        self._main = ""

    def add_files(self, path: Path) -> None:
        """Merge the file and its drop-ins in the order of their names."""
        self._main = str(path)
        inherited = self._add_file(path, Layer.FILE, FIRST_SCHEMA)
        try:
            drop_ins = sorted(path.parent.joinpath("conf.d").glob("*.toml"))
        except OSError as error:
            self.problems.append(f"{path.parent / 'conf.d'}: cannot be listed: {error.strerror}")
            return
        if len(drop_ins) > MAX_DROP_INS:
            self.problems.append(f"{path.parent / 'conf.d'}: {len(drop_ins)} files; at most {MAX_DROP_INS} are read")
            return
        for drop_in in drop_ins:
            self._add_file(drop_in, Layer.DROP_IN, inherited)

    def set(self, path: KeyPath, value: object, origin: Origin) -> None:
        """Set one leaf; tables on the way are made."""
        table: Document = self.document
        for key in path[:-1]:
            inner = table.get(key)
            if not isinstance(inner, dict):
                inner = table[key] = {}
            table = inner
        table[path[-1]] = value
        self._forget(path)
        self._origins[path] = origin

    def where(self, path: KeyPath) -> str:
        """The file or variable that set `path`, or something below it, or the table it belongs in."""
        for length in range(len(path), 0, -1):
            prefix = path[:length]
            for key, origin in self._origins.items():
                if key[:length] == prefix:
                    return origin.where
        return self._main

    def origin(self, path: KeyPath) -> Origin:
        return self._origins.get(path, Origin(Layer.DEFAULT))

    def raise_problems(self) -> None:
        if self.problems:
            raise ConfigError("\n".join(self.problems))

    def _add_file(self, path: Path, layer: Layer, schema: object) -> object:
        """Merge one file; `schema` is that of a file that does not say. Returns the one that it has."""
        try:
            written = read_toml(path)
            document, note = migrate({"schema": schema} | written, str(path))
        except ConfigError as error:
            self.problems.append(str(error))
            return schema
        if note is not None:
            self.notes.append(note)
        if "schema" not in written:
            del document["schema"]
        self._merge(document, (), Origin(layer, str(path)))
        return written.get("schema", schema)

    def _merge(self, table: Document, path: KeyPath, origin: Origin) -> None:
        for key, value in table.items():
            if isinstance(value, dict) and value:
                self._merge(value, (*path, key), origin)
            elif not (isinstance(value, dict) and isinstance(self._at((*path, key)), dict)):
                self.set((*path, key), value, origin)

    def _at(self, path: KeyPath) -> object:
        value: object = self.document
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def _forget(self, path: KeyPath) -> None:
        """A table that replaces a value, or the reverse, takes the origins of what it replaces with it."""
        for key in [k for k in self._origins if k[: len(path)] == path or k == path[: len(k)]]:
            del self._origins[key]


def _not_added(path: KeyPath, table: Table | None, document: Document, admit: Admit | None) -> str:
    """Why no such table is added or removed by the topmost layer, or nothing."""
    if len(path) != 2 or path[0] not in ("cameras", "models"):
        return "no such table"
    kind = path[0].removesuffix("s")
    if table is None:
        return "" if path[1] in document[path[0]] else f"there is no {kind} '{path[1]}' any more"
    if path[1] in document[path[0]]:
        return f"was added over MQTT, but the configuration has a {kind} of this name by now, which is taken"
    for key, value in table.items():
        if not may_be_added((*path, key), value):
            return f"{dotted((key,))} is not set over MQTT"
    try:
        if admit is None:
            raise ValueError("nothing is added here")
        admit(path, table)
    except ValueError as error:
        return str(error)
    return ""


def _misplaced(path: KeyPath, value: object, settings: Settings, grammar: Grammar) -> str:
    """Why no such leaf is taken from the topmost layer, or nothing."""
    if grammar.node(path) is None or grammar.keys(path) is not None:
        return "no such setting"
    if not may_be_set(path, value):
        return "is not set over MQTT"
    entries: Mapping[str, Mapping[str, object]] = {"cameras": settings.cameras, "models": settings.models}
    if path[0] in entries and path[1] not in entries[path[0]]:
        return f"there is no {path[0].removesuffix('s')} '{path[1]}' any more"
    return ""


def _source_problems(document: Document, source_check: Callable[[str], object], explainer: Explainer) -> Iterator[str]:
    cameras = document.get("cameras")
    for name, camera in cameras.items() if isinstance(cameras, dict) else ():
        source = camera.get("source") if isinstance(camera, dict) else None
        if not isinstance(source, str) or not source:
            continue
        try:
            source_check(source)
        except ValueError as error:
            hidden = shown(("source",), source, secret=True)
            text = str(error).replace(source, hidden.strip('"'))
            yield explainer.line(("cameras", name, "source"), scrub(text, secrets_of(source)))
