"""What a change of settings restarts: the smallest thing that makes it take effect."""

from __future__ import annotations

from typing import Annotated, Any

import pytest

from hailod.config.diff import diff, leaves
from hailod.config.model import Reach, Section, Settings

BASE: dict[str, Any] = {
    "node": "n",
    "models": {"m": {"path": "m.hef"}, "o": {"path": "o.hef"}},
    "cameras": {"a": {"source": "synthetic:", "model": "m"}, "b": {"source": "synthetic:", "model": "o"}},
}


def changed(path: str, value: object) -> Settings:
    *tables, key = path.split(".")
    document: dict[str, Any] = Settings.model_validate(BASE).model_dump(by_alias=True)
    table = document
    for name in tables:
        table = table[name]
    table[key] = value
    return Settings.model_validate(document)


def test_every_leaf_has_a_reach() -> None:
    """No setting is without a statement of what its change restarts."""
    found = leaves(Settings)
    assert found[("cameras", "*", "threshold")] is Reach.LIVE
    assert found[("mqtt", "tls", "ca")] is Reach.BROKER
    assert found[("device", "simulated", "arch")] is Reach.DEVICE
    assert found[("schema",)] is Reach.PROCESS


def test_a_leaf_without_reach_is_refused() -> None:
    """Whoever adds a setting and forgets its reach is told its name."""

    class Inner(Section):
        ready: Annotated[bool, Reach.LIVE] = True
        forgotten: int = 1

    class Outer(Section):
        inner: Inner = Inner()

    with pytest.raises(TypeError, match=r"inner\.forgotten declares no Reach"):
        leaves(Outer)


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("cameras.a.threshold", 0.9, {"reach": Reach.LIVE}),
        ("cameras.a.model", "o", {"reach": Reach.LIVE}),
        ("log_level", "debug", {"reach": Reach.LIVE}),
        ("cameras.a.source", "csi:0", {"reach": Reach.CAMERA, "cameras_changed": ("a",)}),
        ("models.m.batch_size", 8, {"reach": Reach.MODEL, "models_changed": ("m",)}),
        ("device.score_floor", 0.2, {"reach": Reach.MODEL, "models_changed": ("m", "o")}),
        ("cameras.c", {"source": "csi:0", "model": "m"}, {"reach": Reach.CAMERA, "cameras_added": ("c",)}),
        ("models.p", {"path": "p.hef"}, {"reach": Reach.MODEL, "models_added": ("p",)}),
        ("mqtt.host", "h", {"reach": Reach.BROKER, "broker": True}),
        ("mqtt.tls", {}, {"reach": Reach.BROKER, "broker": True}),
        ("device.simulated.arch", "hailo8l", {"reach": Reach.DEVICE, "device": True}),
        ("node", "other", {"reach": Reach.PROCESS, "process": True}),
    ],
)
def test_the_smallest_restart(path: str, value: object, expected: dict[str, object]) -> None:
    """One change restarts what it must and nothing else."""
    nothing = {
        "cameras_added": (),
        "cameras_removed": (),
        "cameras_changed": (),
        "models_added": (),
        "models_removed": (),
        "models_changed": (),
        "broker": False,
        "device": False,
        "process": False,
    }
    plan = diff(Settings.model_validate(BASE), changed(path, value))
    assert len(plan.changes) == 1
    for name, wanted in (nothing | expected).items():
        assert getattr(plan, name) == wanted, name


def test_a_removed_camera_is_one_change() -> None:
    """A camera that goes is closed, and the plan is readable."""
    new = Settings.model_validate(BASE | {"cameras": {"a": BASE["cameras"]["a"]}})
    plan = diff(Settings.model_validate(BASE), new)
    assert plan.cameras_removed == ("b",)
    assert str(plan.changes[0]).startswith("cameras.b: ")
    assert str(diff(new, changed("cameras.a.threshold", 0.75)).changes[0]) == "cameras.a.threshold: 0.5 -> 0.75"
