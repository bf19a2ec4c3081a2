"""The demos there are: every module of this package is one. Adding a demo is adding a file.

A module offers a line about itself, `ABOUT`, and `run(stage)`, which does something on a running stage; the demo ends
when it returns. With `PORCH = True` there is a third camera, which the stage can take away.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Protocol, cast

from hailod.demo.stage import Stage

DEFAULT = "watch"


class Script(Protocol):
    """What a demo's module offers."""

    ABOUT: str

    def run(self, stage: Stage) -> None: ...


def scripts() -> Mapping[str, Script]:
    """All demos by name, `DEFAULT` first."""
    names = sorted((module.name for module in pkgutil.iter_modules(__path__)), key=lambda name: (name != DEFAULT, name))
    return {name: cast(Script, importlib.import_module(f"{__name__}.{name}")) for name in names}
