"""The architecture as tables, and the source held to them. When a table has to change, the architecture changes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

import pytest

from tests.conftest import REPOSITORY

# Who may import whom, from the bottom up: a module or package imports from the lines above its own, and never from its
# own line, where all are strangers to each other.
LAYERS = (
    "types errors clock redact version",
    "config mailbox worker geometry prepare checks scenes timesync",
    "sources device simulator models decode track zones events mqtt health sd logs deadman trace draw",
    "pipeline",
    "control",
    "doctor demo",
    "app",
    "cli",
    "__main__",
)

# Strangers who know each other for a reason.
NEIGHBOURS = {
    ("prepare", "geometry"): "pixels are laid into an input where geometry places them",
    ("decode", "models"): "a decoder is made from a model's manifest",
    ("simulator", "models"): "a manifest says how an ONNX file stands in for a HEF",
    ("device", "simulator"): "the device host imports the simulated hailo_platform under the real one's name",
}

# Libraries that one place alone knows, so that what they do wrong is dealt with there.
CONFINED = {
    "hailo_platform": "device/host.py simulator",
    "paho": "mqtt/session.py mqtt/probe.py mqtt/watcher.py mqtt/caller.py",
    "amqtt": "demo/amqtt_broker.py",
    "av": "sources/stream.py sources/pictures.py",
    "picamera2": "sources/csi.py",
    "systemd": "sd.py logs.py",
    "onnxruntime": "simulator",
}

# What only computes: the same arguments give the same answer, so tests need no threads, no time and no files.
PURE = "decode geometry.py pipeline/batcher.py device/recovery.py config/diff.py health.py track.py zones.py events.py"
IMPURE_MODULES = (
    "asyncio ctypes fcntl io logging mmap multiprocessing os queue select selectors shutil signal socket structlog "
    "subprocess sys tempfile threading time _thread hailod.clock hailod.mailbox hailod.worker"
)

# Where an exception of any kind may end, because there is nobody above who could catch it.
LAST_RESORTS = {
    "worker.py": "a thread ends",
    "checks.py": "a thread ends",
    "cli/run.py": "the process ends",
    "mqtt/client.py": "what paho and the handlers of messages raise would end the MQTT thread",
    "device/host.py": "HailoRT's thread calls and would abort the process; and this process ends",
    "simulator/chip/pipeline.py": "the simulated device's thread ends, or calls back as HailoRT does",
    "simulator/chip/notifications.py": "calls back as HailoRT does, and ends the process",
}

MAX_LINES = 450


@dataclass(frozen=True)
class Module:
    """One source file of the package; `path` is relative to it."""

    path: PurePosixPath
    source: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source, str(self.path))

    @property
    def room(self) -> str:
        """The module or package of the top level that it is or belongs to."""
        return self.path.parts[0].removesuffix(".py")

    def within(self, places: str) -> bool:
        """Whether it is one of these files, or inside one of these folders."""
        return any(self.path.is_relative_to(place) for place in places.split())

    def imports(self) -> Iterator[tuple[int, str]]:
        """Every imported name in full with its line, wherever it is imported, for type checking alone included."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                start = "." * node.level + (node.module or "")
                yield from ((node.lineno, f"{start}.{alias.name}") for alias in node.names)


def layer_of(room: str) -> int | None:
    return next((depth for depth, line in enumerate(LAYERS) if room in line.split()), None)


def upward_imports(module: Module) -> Iterator[str]:
    if module.path.name == "__init__.py" and len(module.path.parts) == 1:
        return  # the package itself says its version
    own = layer_of(module.room)
    if own is None:
        yield f"{module.path}: '{module.room}' has no place in LAYERS"
        return
    for line, name in module.imports():
        if name.startswith("."):
            yield f"{module.path}:{line}: relative import of {name}"
        if not name.startswith("hailod."):
            continue
        room = name.split(".")[1]
        other = layer_of(room)
        known = room == module.room or (module.room, room) in NEIGHBOURS
        if not known and (other is None or other >= own):
            yield f"{module.path}:{line}: {module.room} imports {room}, which does not lie below it"


def stray_imports(module: Module) -> Iterator[str]:
    for line, name in module.imports():
        places = CONFINED.get(name.split(".")[0])
        if places is not None and not module.within(places):
            yield f"{module.path}:{line}: {name} is imported, which belongs to {places}"


def impurities(module: Module) -> Iterator[str]:
    if module.within(PURE):
        for line, name in module.imports():
            if any(name == impure or name.startswith(f"{impure}.") for impure in IMPURE_MODULES.split()):
                yield f"{module.path}:{line}: a pure module imports {name}"


def prints(module: Module) -> Iterator[str]:
    if not module.within("cli simulator/examples simulator/shadow"):
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                yield f"{module.path}:{node.lineno}: print() outside the command line"


def sleeps(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "time.sleep":
            yield f"{module.path}:{node.lineno}: time.sleep cannot be woken; wait for an event"
    for line, name in module.imports():
        if name == "time.sleep":
            yield f"{module.path}:{line}: time.sleep cannot be woken; wait for an event"


def swallowed_exceptions(module: Module) -> Iterator[str]:
    """Handlers of any exception that do not raise again, outside the places where exceptions end."""
    if module.within(" ".join(LAST_RESORTS)):
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ExceptHandler) and not isinstance(node.body[-1], ast.Raise):
            caught = ast.walk(node.type) if node.type else [ast.Name("BaseException")]
            if any(isinstance(name, ast.Name) and name.id in {"Exception", "BaseException"} for name in caught):
                yield f"{module.path}:{node.lineno}: any exception is caught and goes no further"


def excess_length(module: Module) -> Iterator[str]:
    lines = len(module.source.splitlines())
    if lines > MAX_LINES:
        yield f"{module.path}: {lines} lines are more than {MAX_LINES}; find the better cut"


RULES = {
    upward_imports: "Imports run strictly downward through the layers, and neighbours stay strangers.",
    stray_imports: "Each outside library of the edges is known to one place alone.",
    impurities: "What is called pure uses no threads, clock, I/O or logging.",
    prints: "Only the command line prints.",
    sleeps: "Nothing sleeps where it could not be woken.",
    swallowed_exceptions: "An unexpected exception ends only where a thread, a process or a foreign callback ends.",
    excess_length: "No file is too long to be held in one's head.",
}


@pytest.fixture(scope="module")
def modules() -> list[Module]:
    package = REPOSITORY / "hailod"
    return [
        Module(PurePosixPath(file.relative_to(package)), file.read_text(encoding="utf-8"))
        for file in sorted(package.rglob("*.py"))
    ]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_package_keeps_the_rule(rule, modules: list[Module]) -> None:
    """The whole package keeps each rule of the architecture."""
    assert modules
    broken = [complaint for module in modules for complaint in rule(module)]
    assert not broken, "\n".join([RULES[rule], *broken])


@pytest.mark.parametrize(
    ("rule", "path", "source"),
    [
        (upward_imports, "mailbox.py", "from hailod.pipeline.batcher import due"),
        (upward_imports, "mqtt/client.py", "import hailod.sources.base"),
        (upward_imports, "models/hef.py", "def read():\n    from hailod.decode import nms"),
        (upward_imports, "sources/base.py", "from hailod import app"),
        (upward_imports, "sources/base.py", "from . import stream"),
        (upward_imports, "novelty.py", ""),
        (stray_imports, "device/link.py", "import hailo_platform.pyhailort"),
        (stray_imports, "mqtt/outbox.py", "from paho.mqtt.client import Client"),
        (stray_imports, "sources/v4l2.py", "import av"),
        (impurities, "decode/nms.py", "import threading"),
        (impurities, "pipeline/batcher.py", "from time import monotonic"),
        (impurities, "health.py", "from os.path import join"),
        (impurities, "geometry.py", "from hailod.clock import Clock"),
        (prints, "mqtt/client.py", "print('connected')"),
        (sleeps, "sources/stream.py", "import time\ntime.sleep(1)"),
        (sleeps, "sources/stream.py", "from time import sleep"),
        (swallowed_exceptions, "mailbox.py", "try:\n    f()\nexcept Exception:\n    g()"),
        (swallowed_exceptions, "mailbox.py", "try:\n    f()\nexcept (OSError, BaseException) as error:\n    g()"),
        (swallowed_exceptions, "mailbox.py", "try:\n    f()\nexcept:\n    g()"),
        (excess_length, "mailbox.py", "x = 0\n" * (MAX_LINES + 1)),
    ],
)
def test_breach_is_found(rule, path: str, source: str) -> None:
    """Each rule finds what it forbids, also where it hides inside a function."""
    assert len(list(rule(Module(PurePosixPath(path), source)))) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("pipeline/results.py", "from hailod.decode.base import Decoder\nfrom hailod.types import Detections"),
        ("decode/nms.py", "from hailod.models.manifest import Manifest\nimport numpy as np"),
        ("mqtt/session.py", "from hailod.mqtt.outbox import Outbox\nimport paho.mqtt.client"),
        ("cli/run.py", "from hailod import app\nprint('ready')"),
        ("mailbox.py", "import time\ntime.monotonic()"),
        ("mailbox.py", "try:\n    f()\nexcept BaseException:\n    g()\n    raise"),
        ("worker.py", "try:\n    f()\nexcept Exception:\n    g()"),
    ],
)
def test_what_is_allowed_passes(path: str, source: str) -> None:
    """No rule objects to what the architecture wants."""
    module = Module(PurePosixPath(path), source)
    assert not [complaint for rule in RULES for complaint in rule(module)]


def test_tables_name_no_strangers(modules: list[Module]) -> None:
    """Every exception from a rule is still needed: an entry whose file is gone or keeps the rule is removed."""
    paths = {module.path: module for module in modules}
    for place in LAST_RESORTS:
        module = paths[PurePosixPath(place)]
        elsewhere = Module(PurePosixPath("elsewhere.py"), module.source)
        assert list(swallowed_exceptions(elsewhere)), f"{place} needs no entry in LAST_RESORTS"
    used = {
        (module.room, name.split(".")[1])
        for module in modules
        for _line, name in module.imports()
        if name.startswith("hailod.")
    }
    assert set(NEIGHBOURS) <= used


def test_every_test_says_what_it_promises() -> None:
    """Each test has a docstring: one sentence that the product keeps."""
    silent = [
        f"{file.relative_to(REPOSITORY)}:{node.lineno}: {node.name}"
        for file in sorted((REPOSITORY / "tests").rglob("test_*.py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and not ast.get_docstring(node)
    ]
    assert not silent, "\n".join(silent)
