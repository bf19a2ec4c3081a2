"""The modules that together are `hailo_platform`, and their coming and going in `sys.modules`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib.machinery import ModuleSpec
from types import ModuleType

from hailod.simulator.native import profile
from hailod.simulator.pyhailort import errors
from hailod.simulator.pyhailort.contents import EXPORTED, HANDLES, NATIVE, OWN, PACKAGE, contents

PYTHON = f"{PACKAGE}.pyhailort.pyhailort"
BINDING = f"{PACKAGE}.pyhailort._pyhailort"


def build() -> dict[str, ModuleType]:
    """The modules by their full names, as the real package of the simulated version has them."""
    filled = {f"{PACKAGE}.{name}".rstrip("."): content for name, content in contents().items()}
    modules = {name: _module(name, filled) for name in _with_parents(filled)}
    for name, module in modules.items():
        parent, _, last = name.rpartition(".")
        if parent:
            setattr(modules[parent], last, module)
    for name, content in filled.items():
        vars(modules[name]).update(content)
    top, python, binding = (modules[name] for name in (PACKAGE, PYTHON, BINDING))
    _own(binding, NATIVE.values())
    _own(python, OWN.values())
    for name, handle in HANDLES.items():
        handle.__name__ = handle.__qualname__ = name
    for module in (top, python):
        vars(module)["_pyhailort"] = binding
    for module in (top, binding):
        vars(module)["__version__"] = profile().version
    vars(top)["__all__"] = [name for name in EXPORTED if name in vars(top)]
    return modules


def _with_parents(names: Iterable[str]) -> list[str]:
    """Full names of modules and of the packages that they are in, from the top down."""
    found = {PACKAGE}
    for name in names:
        parts = name.split(".")
        found |= {".".join(parts[:depth]) for depth in range(1, len(parts) + 1)}
    return sorted(found)


def _module(name: str, all_names: Iterable[str]) -> ModuleType:
    module = ModuleType(name)
    is_package = any(other.startswith(f"{name}.") for other in all_names)
    module.__spec__ = ModuleSpec(name, None, is_package=is_package)
    if is_package:
        module.__path__ = []
    return module


def _own(module: ModuleType, things: Iterable[object]) -> None:
    for thing in things:
        if isinstance(thing, type):
            thing.__module__ = module.__name__


def publish(version: str = "4.23") -> None:
    """Make `import hailo_platform` find the simulated one of that version of HailoRT.

    RuntimeError when the real one was imported before.
    """
    loaded = sys.modules.get(PACKAGE)
    if loaded is not None and not is_ours(loaded):
        raise RuntimeError("the real hailo_platform is imported already")
    errors.use_profile(version)
    modules = build()
    vars(modules[PACKAGE])["_simulated"] = True
    sys.modules.update(modules)


def withdraw() -> None:
    """Forget the simulated modules; the real ones stay."""
    loaded = sys.modules.get(PACKAGE)
    if loaded is not None and is_ours(loaded):
        for name in [each for each in sys.modules if each == PACKAGE or each.startswith(f"{PACKAGE}.")]:
            del sys.modules[name]


def is_ours(module: ModuleType) -> bool:
    """Whether a `hailo_platform` is the simulated one."""
    return bool(getattr(module, "_simulated", False))
