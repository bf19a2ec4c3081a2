"""The privacy switches, of one camera and of the node, with workers that the test plays."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Iterator

import numpy as np
import pytest
from pydantic import SecretStr

from hailod.clock import FakeClock
from hailod.config.model import CameraSettings
from hailod.control.privacy import refuse_if_private, seen_by_worker
from hailod.errors import CommandError
from hailod.health import Code
from hailod.mailbox import Mailboxes, Outcome
from hailod.pipeline.camera_state import Phase
from hailod.pipeline.results import Result, Timing
from hailod.types import Detections, Picture, PixelFormat
from tests.support.desk import settings
from tests.support.device import frame
from tests.unit.test_control_cameras import FRONT, Rig


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    # It holds slots.
    del made.lane


def running(rig: Rig) -> None:
    rig.publisher.configure(5.0)
    rig.apply()
    rig.phase(Phase.ONLINE)
    rig.result()
    rig.tick()
    rig.messages()


@pytest.mark.parametrize("whose", ["camera", "node"])
def test_private_camera_is_closed_and_says_so(rig: Rig, whose: str) -> None:
    """Its source is closed, its pictures are taken back from the broker, it is `disabled` and its counts are stale."""
    running(rig)
    camera = CameraSettings(source=SecretStr("synthetic:"), privacy=whose == "camera")
    rig.cameras.apply(settings(cameras={"front": camera}, privacy=whose == "node"))
    assert rig.workers[-1].calls[-1] == ("enabled", False)
    rig.tick(1.0)
    told = rig.messages()
    assert told[FRONT.snapshot] == ""
    assert told[FRONT.status] == "disabled"
    assert told[FRONT.state]["stale"] is not None


def test_nothing_is_told_of_what_a_private_camera_saw(rig: Rig) -> None:
    """Results that were under way when the switch was turned are not told, nor do they make the counts fresh; and
    neither is what was under way when it was turned back."""
    running(rig)
    rig.apply(privacy=True)
    rig.tick()
    rig.messages()
    before = rig.clock.monotonic()
    rig.clock.advance(1.0)
    rig.result()
    assert FRONT.detections not in rig.messages()
    rig.apply()
    rig.publisher.publish(_result_captured(rig, before))
    assert FRONT.detections not in rig.messages()
    rig.clock.advance(1.0)
    rig.result()
    told = rig.messages()
    assert FRONT.detections in told
    assert told[FRONT.state]["stale"] is None


def test_private_camera_has_no_events_and_no_fault(rig: Rig) -> None:
    """Whatever its worker still reports, nothing is lost, nothing is back, and health has nothing to say."""
    running(rig)
    rig.apply(privacy=True)
    rig.phase(Phase.DISABLED)
    conditions = rig.phase(Phase.LOST, code="lost", reason="gone")
    assert rig.events() == []
    for _ in range(5):
        assert not rig.tick(60.0)[Code.CAMERA_STALE]
    assert conditions[Code.CAMERA_BEHIND] == ""


def test_private_from_the_start(rig: Rig) -> None:
    """After a restart a private camera is opened by nobody, and a picture that the broker still has is cleared."""
    worker = rig.apply(privacy=True)
    assert worker.settings.enabled is False
    rig.tick()
    told = rig.messages()
    assert (told[FRONT.snapshot], told[FRONT.status]) == ("", "disabled")


def test_privacy_and_enabled_are_independent(rig: Rig) -> None:
    """Turned back, `enabled` says again what happens: one that was switched off stays off."""
    off = CameraSettings(source=SecretStr("synthetic:"), enabled=False)
    worker = rig.apply(enabled=False)
    rig.apply(enabled=False, privacy=True)
    rig.apply(enabled=False)
    assert worker.calls == ["start"]
    rig.tick()
    assert rig.messages()[FRONT.status] == "disabled"
    node = settings(cameras={"front": off}, privacy=True)
    assert seen_by_worker(node, "front", off).enabled is False
    assert seen_by_worker(node.model_copy(update={"privacy": False}), "front", off) == off


def test_no_frame_of_a_private_camera_stays() -> None:
    """What waits for a model is let go when its camera's route ends, and what still comes is not taken in."""
    boxes = Mailboxes(FakeClock())
    boxes.route("front", ["one"])
    held = [frame("front", n, picture=Picture(PixelFormat.GRAY, 4, 2, (np.zeros((2, 4), np.uint8),))) for n in (1, 2)]
    alive = [weakref.ref(picture.picture.planes[0]) for picture in held]
    boxes.offer(held[0])
    boxes.route("front", ())
    boxes.offer(held[1])
    del held
    gc.collect()
    assert [ref() for ref in alive] == [None, None]
    assert boxes.snapshot().pairs["front", "one"].ended[Outcome.ABANDONED] == 1


def test_refusals_name_the_switch() -> None:
    """Who asks for a picture is told whose switch is on."""
    both = settings()
    with pytest.raises(CommandError, match="node's privacy"):
        refuse_if_private(both.model_copy(update={"privacy": True}), "front")
    front = both.cameras["front"].model_copy(update={"privacy": True})
    private = both.model_copy(update={"cameras": {**both.cameras, "front": front}})
    with pytest.raises(CommandError, match="'front' is on") as refused:
        refuse_if_private(private, "front")
    assert refused.value.code == "forbidden"
    refuse_if_private(private, "back")
    assert json.loads(private.model_dump_json())["cameras"]["front"]["enabled"] is True


def _result_captured(rig: Rig, captured: float) -> Result:
    now = rig.clock.monotonic()
    return Result(frame(captured=captured), rig.lane, Detections.none(), Timing(captured, now, now, now, now))
