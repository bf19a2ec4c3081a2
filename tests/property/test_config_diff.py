"""The planner over arbitrary settings: what it names is enough, and never more than needed."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from hailod.config.diff import apply, diff
from hailod.config.model import (
    CameraSettings,
    DeviceSettings,
    ModelSettings,
    MqttSettings,
    PipelineSettings,
    Reach,
    Settings,
    SimulatedSettings,
    TlsSettings,
)

NAMES = st.sampled_from(["a", "b", "c", "front-door"])
SECRETS = st.sampled_from(["rtsp://u:geheim@h/1", "rtsp://u:geheim@h/2"]).map(SecretStr)

tls = st.none() | st.builds(TlsSettings, ca=st.none() | st.just(Path("/ca.pem")), insecure=st.booleans())
mqtt = st.builds(
    MqttSettings,
    host=st.sampled_from(["h1", "h2"]),
    port=st.none() | st.just(1884),
    password=st.none() | SECRETS,
    tls=tls,
    detections_max_hz=st.sampled_from([0.0, 5.0]),
)
device = st.builds(
    DeviceSettings,
    backend=st.sampled_from(["hailo", "simulated"]),
    score_floor=st.sampled_from([0.1, 0.2]),
    stall_timeout=st.sampled_from([3.0, 4.0]),
    simulated=st.builds(SimulatedSettings, arch=st.sampled_from(["hailo8", "hailo8l"])),
)
models = st.dictionaries(
    NAMES,
    st.builds(
        ModelSettings,
        path=st.sampled_from([Path("x.hef"), Path("y.hef")]),
        labels=st.none() | st.just(["person"]) | st.just(Path("labels.txt")),
        batch_size=st.sampled_from([1, 8]),
        max_same_source_frames=st.sampled_from([1, 2]),
    ),
    min_size=1,
    max_size=3,
)
cameras = st.dictionaries(
    NAMES,
    st.builds(
        CameraSettings,
        source=SECRETS,
        enabled=st.booleans(),
        threshold=st.sampled_from([0.5, 0.6]),
        crop=st.sampled_from([(0.0, 0.0, 1.0, 1.0), (0.0, 0.0, 0.5, 1.0)]),
    ),
    max_size=3,
)


@st.composite
def settings(draw: st.DrawFn) -> Settings:
    known = draw(models)
    return Settings(
        schema_version=1,
        node=draw(st.sampled_from(["n1", "n2"])),
        log_level=draw(st.sampled_from(["info", "debug"])),
        model=draw(st.sampled_from(sorted(known))),
        mqtt=draw(mqtt),
        device=draw(device),
        pipeline=PipelineSettings(prep_workers=draw(st.sampled_from([1, 2]))),
        models=known,
        cameras=draw(cameras),
    )


@given(settings(), settings())
def test_applying_a_plan_leads_to_the_new_settings(old: Settings, new: Settings) -> None:
    """The changes of a plan are all there is between two snapshots, in both directions."""
    assert apply(diff(old, new), old) == new
    assert apply(diff(new, old), new) == old


@given(settings())
def test_nothing_to_do_between_equals(same: Settings) -> None:
    """Equal snapshots, however they came about, need nothing."""
    plan = diff(same, Settings.model_validate(same.model_dump(by_alias=True)))
    assert plan.changes == ()
    assert plan.reach is None


@given(settings(), settings())
def test_a_plan_names_what_its_changes_reach(old: Settings, new: Settings) -> None:
    """The reach of a plan is the greatest of its changes, and each kind of restart has a change that calls for it."""
    plan = diff(old, new)
    reaches = {change.reach for change in plan.changes}
    assert plan.reach == max(reaches, default=None)
    assert (plan.broker, plan.device, plan.process) == tuple(
        reach in reaches for reach in (Reach.BROKER, Reach.DEVICE, Reach.PROCESS)
    )
    assert bool(plan.cameras_added or plan.cameras_removed or plan.cameras_changed) == (Reach.CAMERA in reaches)
    assert set(plan.cameras_changed) <= old.cameras.keys() & new.cameras.keys()
    assert set(plan.models_changed) <= old.models.keys() & new.models.keys()


@given(settings(), settings())
def test_no_plan_shows_a_secret(old: Settings, new: Settings) -> None:
    """A plan may be logged."""
    plan = diff(old, new)
    assert "geheim" not in repr(plan) + "".join(map(str, plan.changes))
