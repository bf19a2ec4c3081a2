"""Which model file stands behind a HEF that a program names, so that a program runs whose HEFs nobody has.

On the command line `yolov8s.hef=yolox_s.onnx`, a model file alone for every HEF, or a file of them:

    [models]
    "yolov8s*.hef" = "yolox_s.onnx"
    "/usr/share/hailo-models/resnet_v1_50.hef" = "resnet.onnx"
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hailod.errors import ModelError

MODEL_SUFFIXES = (".onnx", ".sim.toml", ".hef")
MAX_BYTES = 64 * 1024


class StandIn(BaseModel):
    """`file` stands behind every HEF whose name matches `hef`: its last part, or all of it when `hef` has a slash.

    Unless its manifest names it, it is called by the stem of that HEF, and so are published timings found.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    hef: Annotated[str, Field(min_length=1, max_length=1024)]
    file: Path

    def matches(self, named: str) -> bool:
        """Whether it stands behind the path that a program named."""
        if "/" in self.hef:
            return fnmatchcase(named, self.hef) or fnmatchcase(os.path.abspath(named), self.hef)
        return fnmatchcase(os.path.basename(named), self.hef)

    def name_for(self, named: str) -> str | None:
        """What the model is called when it was opened as `named`; None when the file knows."""
        return None if self.file.suffix == ".hef" else os.path.basename(named).removesuffix(".hef")


class StandIns(tuple[StandIn, ...]):
    """The stand-ins of a simulation. Where several match, the first is meant."""

    __slots__ = ()

    def find(self, named: str) -> tuple[Path, str | None] | None:
        """The file behind a HEF and the name to present it under; None when the HEF stands for itself."""
        found = next((each for each in self if each.matches(named)), None)
        return (found.file, found.name_for(named)) if found is not None else None


NO_STAND_INS = StandIns()


class _Map(BaseModel):
    model_config = ConfigDict(extra="forbid")

    models: dict[str, Path]


def read_stand_ins(arguments: Iterable[str]) -> StandIns:
    """The stand-ins of `--model` arguments, in their order; files of a map are looked for from the map's folder.

    ModelError names the argument or the file and key, and what is allowed.
    """
    return StandIns(each for argument in arguments for each in _read(argument))


def _read(argument: str) -> list[StandIn]:
    if "=" in argument:
        hef, _, file = argument.partition("=")
        return [_checked(argument, hef, Path(file))]
    if argument.endswith(MODEL_SUFFIXES):
        return [_checked(argument, "*", Path(argument))]
    if argument.endswith(".toml"):
        return _read_map(Path(argument))
    raise ModelError(f"{argument}: expected NAME.hef=MODEL, a model ({', '.join(MODEL_SUFFIXES)}) or a .toml map")


def _read_map(path: Path) -> list[StandIn]:
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ModelError(f"{path}: larger than {MAX_BYTES} bytes, which no map of models is")
        read = _Map.model_validate(tomllib.loads(content.decode()))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ModelError(f"{path}: not TOML: {error}") from None
    except RecursionError:
        raise ModelError(f"{path}: nested too deeply") from None
    except ValidationError as error:
        raise ModelError(f"{path}: {_first(error)}") from None
    return [_checked(f"{path}: {hef}", hef, path.parent / file) for hef, file in read.models.items()]


def _checked(source: str, hef: str, file: Path) -> StandIn:
    if not file.name.endswith(MODEL_SUFFIXES):
        raise ModelError(f"{source}: '{file}' is no model; allowed are {', '.join(MODEL_SUFFIXES)}")
    if not file.is_file():
        raise ModelError(f"{source}: '{file}' is no file")
    try:
        return StandIn(hef=hef, file=file.absolute())
    except ValidationError as error:
        raise ModelError(f"{source}: {_first(error)}") from None


def _first(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_context=False)[0]
    return f"{'.'.join(map(str, problem['loc']))} = {problem['input']!r:.80}: {problem['msg']}"
