"""Finds model files and their manifests.

A manifest is `<stem>.toml` beside the model file; failing that, the entry of the built-in catalogue whose longest
pattern matches the stem; failing that, the defaults. A `.sim.toml` model is a manifest itself.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from hailod.errors import ModelError
from hailod.models.labels import check_labels, read_labels
from hailod.models.manifest import Manifest

if TYPE_CHECKING:
    # The settings of the daemon; the device host has no use for them, and starts sooner without.
    from hailod.config.model import ModelSettings

MODEL_DIRS = (
    Path("/usr/share/hailo-models"),
    Path("/usr/local/share/hailo-models"),
    Path("/var/lib/hailod/models"),
)
# Below the state folder: models that were fetched.
FETCHED = "models"
_CATALOGUE = Path(__file__).with_name("catalogue")
_MAX_BYTES = 64 * 1024


def model_dirs(state_dir: Path | None = None) -> tuple[Path, ...]:
    """The folders in which models lie, those of the system first and then the one for what was fetched."""
    fetched = (state_dir / FETCHED,) if state_dir is not None else ()
    return tuple(dict.fromkeys((*MODEL_DIRS, *fetched)))


def find_model(path: Path, config_dir: Path, state_dir: Path | None = None) -> Path:
    """The model file that `path` of the settings means: absolute, else from the folder of the configuration file, else
    from the model folders. ModelError names what was looked for and where."""
    tried = [path] if path.is_absolute() else [folder / path for folder in (config_dir, *model_dirs(state_dir))]
    for candidate in tried:
        if os.path.isfile(candidate):
            return candidate
    raise ModelError(f"model '{path}' is no file; looked for {', '.join(map(str, tried))}")


def resolve_manifest(path: Path) -> Manifest:
    """What is known of the model file `path`; ModelError names file, key, value and what is allowed."""
    if path.name.endswith(".sim.toml"):
        return _read_manifest(path)
    beside = path.with_suffix(".toml")
    if os.path.isfile(beside):
        return _read_manifest(beside)
    matching = [
        (len(pattern), manifest)
        for patterns, manifest in _catalogue()
        for pattern in patterns
        if fnmatchcase(path.stem.lower(), pattern)
    ]
    return max(matching, key=lambda match: match[0])[1] if matching else Manifest()


def apply_settings(manifest: Manifest, settings: ModelSettings, config_dir: Path = Path()) -> Manifest:
    """The manifest with what the user's `[models.NAME]` says instead; a label file is looked up from `config_dir`."""
    said: dict[str, object] = {
        key: value for key in ("decoder", "resize", "align", "pad") if (value := getattr(settings, key)) is not None
    }
    if isinstance(settings.labels, Path):
        said["labels"] = read_labels(config_dir / settings.labels)
    elif settings.labels is not None:
        said["labels"] = check_labels(settings.labels, "labels")
    return manifest.model_copy(update=said)


@cache
def _catalogue() -> tuple[tuple[tuple[str, ...], Manifest], ...]:
    entries = []
    for file in sorted(_CATALOGUE.glob("*.toml")):
        table = _read_table(file)
        patterns = table.pop("match")
        entries.append((tuple(patterns), _manifest(file, table)))
    return tuple(entries)


def _read_manifest(file: Path) -> Manifest:
    return _manifest(file, _read_table(file))


def _read_table(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            content = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ModelError(f"{file}: cannot be read: {error.strerror}") from None
    if len(content) > _MAX_BYTES:
        raise ModelError(f"{file}: larger than {_MAX_BYTES} bytes, which no manifest is")
    try:
        return tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        raise ModelError(f"{file}: not UTF-8: {error.reason} at byte {error.start}") from None
    except tomllib.TOMLDecodeError as error:
        raise ModelError(f"{file}: not TOML: {error}") from None
    except RecursionError:
        raise ModelError(f"{file}: nested too deeply") from None


def _manifest(file: Path, table: Mapping[str, Any]) -> Manifest:
    """The manifest of a parsed file, in which `labels` may also name a file beside it."""
    labels = table.get("labels")
    if isinstance(labels, str):
        # Manifests are downloaded with models; one must not make us read whatever file it likes.
        if Path(labels).name != labels:
            raise ModelError(
                f"{file}: labels = {labels!r:.80}: allowed is a list, or the name of a file beside this one"
            )
        table = {**table, "labels": read_labels(file.parent / labels)}
    try:
        manifest = Manifest.model_validate(table)
    except ValidationError as error:
        raise ModelError("\n".join(f"{file}: {problem}" for problem in _problems(error))) from None
    check_labels(manifest.labels, f"{file}: labels")
    return manifest


def _problems(error: ValidationError) -> list[str]:
    """One line for each thing wrong: key, value, and what is allowed."""
    lines = []
    for problem in error.errors(include_url=False, include_context=False):
        key = ".".join(map(str, problem["loc"]))
        if problem["type"] == "extra_forbidden":
            allowed = ", ".join(_keys_at(problem["loc"][:-1]))
            lines.append(f"{key}: unknown key (allowed: {allowed})")
        else:
            lines.append(f"{key} = {problem['input']!r:.80}: {problem['msg']}")
    return lines


def _keys_at(location: tuple[int | str, ...]) -> list[str]:
    """The keys that the table of a manifest at `location` knows."""
    table: type[BaseModel] = Manifest
    for step in location:
        kind = table.model_fields[step].annotation if isinstance(step, str) else None
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            table = kind
    return list(table.model_fields)
