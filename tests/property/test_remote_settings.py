"""Random sequences of commands: the settings are always those that a simple model of them says, valid and kept."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from hailod.config.diff import apply, diff
from hailod.config.model import Settings
from hailod.control.changes import visible
from tests.support.commanding import Rig

# Paths with values of which some are wrong, and what makes them wrong.
LEAVES: dict[str, tuple[list[object], list[object]]] = {
    "log_level": (["debug", "info"], ["loud", 7, None]),
    "pipeline.stale_after": ([5, 60.5], [0, "5", True]),
    "models.three.batch_size": ([1, 4], [0, 1.5, "4"]),
    "models.two.max_delay_ms": ([0, 20.5], [-1, 10**9]),
    "cameras.front.threshold": ([0.3, 0.9], [7, "0.5", None, [0.5]]),
    "cameras.front.enabled": ([True, False], [1, "ON", None]),
    "cameras.back.max_fps": ([None, 4], [0, -1, {}]),
    "cameras.back.crop": ([[0, 0, 1, 1], [0.1, 0, 1, 0.5]], [[1, 1, 0, 0], [0, 0, 1], "all"]),
    "cameras.cellar.threshold": ([], [0.5]),
    "mqtt.host": ([], ["evil"]),
}
PREFIXES = [None, "log_level", "pipeline", "models", "models.three.batch_size", "cameras.front", "cameras.back.crop"]


@st.composite
def sets(draw: st.DrawFn) -> tuple[str, list[tuple[str, object]], bool]:
    """A `settings.set` with its leaves, and whether all of them are right."""
    paths = draw(st.lists(st.sampled_from(sorted(LEAVES)), min_size=1, max_size=4, unique=True))
    chosen, right = [], True
    for path in paths:
        good, bad = LEAVES[path]
        take_good = bool(good) and draw(st.integers(0, 5)) > 0
        right = right and take_good
        chosen.append((path, draw(st.sampled_from(good if take_good else bad))))
    return "set", chosen, right


resets = st.sampled_from(PREFIXES).map(lambda prefix: ("reset", prefix, True))


def arguments(leaves: list[tuple[str, object]]) -> dict[str, Any]:
    """`leaves` as `settings.set` takes them."""
    args: dict[str, Any] = {}
    for path, value in leaves:
        parts = path.split(".")
        if parts[0] not in ("models", "cameras"):
            parts = ["node", *parts]
        table = args
        for part in parts[:-1]:
            table = table.setdefault(part, {})
        table[parts[-1]] = value
    return args


def told(settings: Settings, path: str) -> object:
    value: Any = visible(settings)
    for part in path.split("."):
        value = value[part]
    return value


@given(st.lists(st.one_of(sets(), resets), max_size=8))
@hypothesis_settings(max_examples=60)
def test_settings_are_what_was_set_and_not_reset(steps: list[tuple[str, Any, bool]]) -> None:
    """After any sequence of sets and resets each leaf is what was set last since it was last reset, a refused set
    changed nothing, and what is kept leads from the files to what runs."""
    rig = Rig()
    files = rig.desk.files
    expected: dict[str, object] = {}
    for kind, what, right in steps:
        before, revision = rig.desk.settings, rig.desk.revision
        if kind == "set":
            reply = rig.ask("settings.set", arguments(what))
            if right:
                expected.update(what)
        else:
            reply = rig.ask("settings.reset", None if what is None else {"path": what})
            expected = {} if what is None else {p: v for p, v in expected.items() if not f"{p}.".startswith(f"{what}.")}
        assert reply["status"] == ("ok" if right else "error")
        changed = rig.desk.settings != before
        assert rig.desk.revision == revision + changed
        assert right or not changed
        assert apply(diff(rig.desk.settings, before), rig.desk.settings) == before
    for path, (good, _) in LEAVES.items():
        if good:
            assert told(rig.desk.settings, path) == expected.get(path, told(files, path)), path
    assert rig.desk.overrides.values == expected
    assert Settings.model_validate(rig.desk.settings.model_dump(by_alias=True)) == rig.desk.settings
