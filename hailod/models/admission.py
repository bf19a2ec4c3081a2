"""May a file become a model that somebody adds from afar? It lies where models lie, and it is what it says it is."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from hailod.errors import ModelError
from hailod.models.catalogue import resolve_manifest
from hailod.models.hef import read_hef

# The largest of the public models has 130 MB.
MAX_BYTES = 512 * 1024 * 1024
_CHUNK = 1 << 20


class NotAdmitted(ModelError):
    """The file is not taken; `code` is of the control plane's closed list."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


def within(path: Path, folders: Sequence[Path]) -> Path:
    """The file that `path` means below one of `folders`, links followed; NotAdmitted for any other, in words that do
    not tell what else there is on this machine."""
    candidates = [path] if path.is_absolute() else [folder / path for folder in folders]
    roots = [Path(os.path.realpath(folder)) for folder in folders]
    for candidate in candidates if str(path).isprintable() else ():
        real = Path(os.path.realpath(candidate))
        if any(real.is_relative_to(root) for root in roots) and os.path.isfile(real):
            return real
    raise NotAdmitted("there is no such file below the model directories", "model_not_found")


def admit(path: Path, folders: Sequence[Path], arch: str | None, sha256: str | None = None) -> Path:
    """The file at its real place, read whole and found to be a model for this chip (None: any). Raises ModelError."""
    real = within(path, folders)
    status = os.stat(real)
    if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
        raise NotAdmitted(f"a model is a file of at most {MAX_BYTES >> 20} MB", "model_incompatible")
    if sha256 is not None and _digest(real) != sha256:
        raise NotAdmitted("the file has another sha256", "model_incompatible")
    if real.suffix == ".hef":
        hef = read_hef(real)
        if arch is not None and not hef.runs_on(arch):
            text = f"it was compiled for {hef.architecture.title}, which does not run on this {arch}"
            raise NotAdmitted(text, "model_incompatible")
    elif real.suffix != ".onnx" and not real.name.endswith(".sim.toml"):
        raise NotAdmitted(
            "a model is a .hef, or an .onnx or .sim.toml where the device is simulated", "model_incompatible"
        )
    resolve_manifest(real)
    return real


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
