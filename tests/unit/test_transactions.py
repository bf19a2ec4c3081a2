"""Changes of more than one step: each ends by an event or its deadline, and a failure leaves the old settings."""

from __future__ import annotations

import pytest

from hailod.config.store import Edit
from hailod.control.reconfigure import Reconfigure
from hailod.control.saver import StateSaved, StateUnsaved
from hailod.control.transactions import (
    Change,
    DeviceAcquire,
    DeviceRelease,
    DeviceRestart,
    Refused,
    Succeeded,
)
from hailod.device.events import (
    DeviceDown,
    DeviceReleased,
    DeviceStuck,
    DeviceUp,
    LinkEvent,
    ModelFailed,
    ModelReady,
    ModelUnloaded,
)
from hailod.device.statuses import Fault
from hailod.errors import DeviceRejected
from tests.support.desk import FakeDesk, settings
from tests.support.device import session

CHANGED = settings(model="two")
DOWN = DeviceDown(Fault.HUNG, "no heartbeat", None)


@pytest.fixture
def desk() -> FakeDesk:
    return FakeDesk()


def swap_to_two(desk: FakeDesk) -> Reconfigure:
    return Reconfigure(desk, CHANGED, {"model": "two"}, field="args.model")


def ready(model: str) -> ModelReady:
    return ModelReady(session(model), 123.4)


def test_swap_switches_when_the_new_model_is_ready(desk: FakeDesk) -> None:
    """The old model runs until the new one is loaded beside it; then the settings change in one step."""
    swap = swap_to_two(desk)
    assert swap.begin() is None
    assert desk.beside == ["two"]
    assert desk.settings.model == "one"
    assert swap.on(ready("three")) is None
    assert swap.on(ModelUnloaded("three")) is None

    desk.serving.add("two")
    verdict = swap.on(ready("two"))
    assert isinstance(verdict, Succeeded)
    told = {"restarted": [], "restart_required": False, "gap_ms": 123.4, "proven": True}
    assert verdict.data == {"model": "two", "revision": 2, **told}
    assert desk.settings == CHANGED
    assert desk.beside == ["two", None]


def test_swap_to_a_model_in_service_takes_no_time(desk: FakeDesk) -> None:
    """A model that another camera runs already is switched to at once."""
    desk.serving.add("two")
    verdict = swap_to_two(desk).begin()
    assert isinstance(verdict, Succeeded)
    assert verdict.data["gap_ms"] == 0.0
    assert desk.settings == CHANGED


def test_model_that_cannot_be_decoded_is_not_switched_to(desk: FakeDesk) -> None:
    """A model that the device takes and the decoder does not is told as failed, and then the swap fails."""
    swap = swap_to_two(desk)
    swap.begin()
    assert swap.on(ready("two")) is None
    verdict = swap.on(ModelFailed("two", DeviceRejected("no decoder fits")))
    assert isinstance(verdict, Refused)
    assert (verdict.code, verdict.message) == ("model_incompatible", "no decoder fits")


@pytest.mark.parametrize(
    ("event", "code", "retryable"),
    [
        (ModelFailed("two", DeviceRejected("wrong chip")), "model_incompatible", False),
        (DOWN, "device_unavailable", True),
        (None, "timeout", True),
    ],
)
def test_swap_that_fails_leaves_everything_as_it_was(
    desk: FakeDesk, event: LinkEvent | None, code: str, retryable: bool
) -> None:
    """Refused model, lost device or deadline: the old settings run on, and the new model is not wanted any more."""
    before = desk.settings
    swap = swap_to_two(desk)
    swap.begin()
    verdict = swap.expire() if event is None else swap.on(event)
    assert isinstance(verdict, Refused)
    assert (verdict.code, verdict.retryable) == (code, retryable)
    assert desk.settings is before
    assert desk.revision == 1
    assert desk.beside == ["two", None]


def test_swap_does_not_mind_other_models(desk: FakeDesk) -> None:
    """That another model fails meanwhile is not the swap's business."""
    swap = swap_to_two(desk)
    swap.begin()
    assert swap.on(ModelFailed("three", DeviceRejected("x"))) is None


@pytest.mark.parametrize("mode", ["soft", "reset"])
def test_restart_is_over_when_every_model_serves(desk: FakeDesk, mode: str) -> None:
    """A restart has succeeded when all wanted models take frames again, and not before."""
    desk.wanted = {"one", "two"}
    restart = DeviceRestart(desk, mode)
    assert restart.begin() is None
    assert desk.restarts == [mode]
    asked = DeviceDown(Fault.DEVICE_LOST, "asked for", None, asked=True)
    assert restart.on(asked) is None
    assert restart.on(DeviceUp({})) is None
    desk.serving.add("one")
    assert restart.on(ready("one")) is None
    desk.serving.add("two")
    assert restart.on(ready("two")) == Succeeded({"mode": mode})


def test_restart_without_models_is_over_when_the_device_is_open(desk: FakeDesk) -> None:
    """Where no camera wants a model there is none to wait for."""
    desk.wanted = set()
    restart = DeviceRestart(desk, "reset")
    assert restart.begin() is None
    assert restart.on(DeviceUp({})) == Succeeded({"mode": "reset"})


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (ModelFailed("one", DeviceRejected("damaged")), "model_incompatible"),
        (DeviceDown(Fault.UNAVAILABLE, "no device", 0.3), "device_unavailable"),
        (DeviceDown(Fault.REJECTED, "versions", 600.0), "device_unavailable"),
        (None, "timeout"),
    ],
)
def test_restart_that_does_not_come_back_says_why(desk: FakeDesk, event: LinkEvent | None, code: str) -> None:
    """A device that is gone, a model that is refused or a deadline end the wait with a reason."""
    restart = DeviceRestart(desk, "reset")
    restart.begin()
    verdict = restart.expire() if event is None else restart.on(event)
    assert isinstance(verdict, Refused)
    assert verdict.code == code


def test_restart_outlives_a_host_that_fails_on_the_way(desk: FakeDesk) -> None:
    """A host that dies during the restart is replaced like any other, and the restart goes on."""
    restart = DeviceRestart(desk, "reset")
    restart.begin()
    assert restart.on(DeviceDown(Fault.HUNG, "silent", None)) is None
    assert restart.on(DeviceDown(Fault.HUNG, "silent", 0.2)) is None
    desk.serving.add("one")
    assert restart.on(ready("one")) == Succeeded({"mode": "reset"})


def test_release_is_over_when_the_host_is_gone(desk: FakeDesk) -> None:
    """The device is lent once nothing of hailod holds it, and the answer says until when."""
    release = DeviceRelease(desk, 600.0)
    assert release.begin() is None
    assert desk.lent == [600.0]
    assert release.on(DeviceDown(Fault.DEVICE_LOST, "asked for", None, asked=True)) is None
    assert release.on(DeviceReleased()) == Succeeded({"until": 1_795_000_600.0, "for_s": 600.0})


def test_release_of_a_lent_device_sets_its_time(desk: FakeDesk) -> None:
    """Whoever needs the device for longer asks again, and has it at once."""
    desk.released = True
    assert DeviceRelease(desk, 60.0).begin() == Succeeded({"until": 1_795_000_060.0, "for_s": 60.0})
    assert desk.lent == [60.0]


@pytest.mark.parametrize(("event", "code"), [(DeviceStuck(4711), "device_unavailable"), (None, "timeout")])
def test_device_that_cannot_be_let_go_of_is_not_lent(desk: FakeDesk, event: LinkEvent | None, code: str) -> None:
    """A host that does not die keeps the device: the loan is off, and hailod has it again when that is possible."""
    release = DeviceRelease(desk, 600.0)
    release.begin()
    verdict = release.expire() if event is None else release.on(event)
    assert isinstance(verdict, Refused)
    assert (verdict.code, desk.acquired) == (code, 1)


def test_acquire_is_over_when_every_model_serves(desk: FakeDesk) -> None:
    """The device is back when all wanted models take frames again, and not before."""
    desk.released = True
    desk.serving.clear()
    acquire = DeviceAcquire(desk)
    assert acquire.begin() is None
    assert desk.acquired == 1
    assert acquire.on(DeviceUp({})) is None
    desk.serving.add("one")
    assert acquire.on(ready("one")) == Succeeded()


def test_acquire_waits_for_a_device_that_runs_nothing(desk: FakeDesk) -> None:
    """Where no camera wants a model the device is back when it is open."""
    desk.released = True
    desk.wanted = set()
    acquire = DeviceAcquire(desk)
    assert acquire.begin() is None
    assert acquire.on(DeviceUp({})) == Succeeded()


def test_acquire_of_what_is_ours_is_over_at_once(desk: FakeDesk) -> None:
    """A device that serves was never away."""
    assert DeviceAcquire(desk).begin() == Succeeded()


def test_acquire_names_who_holds_the_device(desk: FakeDesk) -> None:
    """A device that its borrower keeps is told with its holder, and is worth another try."""
    desk.released = True
    desk.serving.clear()
    acquire = DeviceAcquire(desk)
    acquire.begin()
    assert acquire.on(DeviceDown(Fault.UNAVAILABLE, "in use", None)) is None
    verdict = acquire.on(DeviceDown(Fault.UNAVAILABLE, "in use: held by python3 (pid 4242)", 0.3))
    assert isinstance(verdict, Refused)
    assert (verdict.code, verdict.retryable) == ("device_unavailable", True)
    assert "held by python3 (pid 4242)" in verdict.message


@pytest.mark.parametrize(
    ("event", "code"), [(ModelFailed("one", DeviceRejected("x")), "model_incompatible"), (None, "timeout")]
)
def test_acquire_that_does_not_come_back_says_why(desk: FakeDesk, event: LinkEvent | None, code: str) -> None:
    """A model that is refused, or a deadline, ends the wait with a reason."""
    desk.released = True
    desk.serving.clear()
    acquire = DeviceAcquire(desk)
    acquire.begin()
    verdict = acquire.expire() if event is None else acquire.on(event)
    assert isinstance(verdict, Refused)
    assert verdict.code == code


LOUD = settings(log_level="debug")
LEAF = {"log_level": "debug"}
NOTHING = {"restarted": [], "restart_required": False}


def test_change_is_answered_when_it_is_on_the_disk(desk: FakeDesk) -> None:
    """Settings run at once; they are told, and the change answered, when the disk has them or what came after them."""
    desk.tickets = [3]
    change = Change(desk, Reconfigure(desk, LOUD, {"x": 1}), Edit(LEAF), persist=True)
    assert change.begin() is None
    assert (desk.settings, desk.kept, desk.shown) == (LOUD, LEAF, [])
    assert change.on(DOWN) is None
    assert change.on(StateSaved(2)) is None
    assert change.on(StateUnsaved(2, "full")) is None
    assert change.on(StateSaved(4)) == Succeeded({"x": 1, **NOTHING, "revision": 2, "persisted": True})
    assert desk.shown == [LOUD]


@pytest.mark.parametrize("how", ["full", "deadline"])
def test_change_that_the_disk_refuses_runs_all_the_same(desk: FakeDesk, how: str) -> None:
    """A full disk, or one that does not answer in time, is in the answer; the change is made and told."""
    desk.tickets = [1]
    change = Change(desk, Reconfigure(desk, LOUD), Edit(LEAF), persist=True)
    assert change.begin() is None
    verdict = change.expire() if how == "deadline" else change.on(StateUnsaved(1, "the disk is full"))
    assert isinstance(verdict, Succeeded)
    assert verdict.data["persisted"] is False
    assert how in str(verdict.data["reason"])
    assert desk.shown == [LOUD]
    assert desk.settings == LOUD


def test_change_until_the_next_start_is_not_kept(desk: FakeDesk) -> None:
    """With `persist: false` nothing is written, and the answer says so."""
    desk.tickets = [1]
    verdict = Change(desk, Reconfigure(desk, LOUD), Edit(LEAF), persist=False).begin()
    assert verdict == Succeeded({**NOTHING, "revision": 2, "persisted": False})
    assert (desk.kept, desk.shown) == ({}, [LOUD])


def test_change_to_what_runs_already_may_still_have_to_be_kept(desk: FakeDesk) -> None:
    """Settings that run, but not for good, get no new revision when they are set again, and are written."""
    desk.tickets = [1]
    change = Change(desk, Reconfigure(desk, desk.settings), Edit(LEAF), persist=True)
    assert change.begin() is None
    assert change.on(StateSaved(1)) == Succeeded({**NOTHING, "revision": 1, "persisted": True})
    assert desk.kept == LEAF


def test_swap_is_kept_only_when_it_has_succeeded(desk: FakeDesk) -> None:
    """A model is written down when it is in service, and one that fails leaves no trace on the disk."""
    desk.tickets = [1, 2]
    swap = Change(desk, swap_to_two(desk), Edit(LEAF), persist=True)
    assert swap.begin() is None
    assert swap.on(StateSaved(9)) is None
    refused = swap.on(ModelFailed("two", DeviceRejected("damaged")))
    assert isinstance(refused, Refused)
    assert desk.kept == {}
    swap = Change(desk, swap_to_two(desk), Edit(LEAF), persist=True)
    assert swap.begin() is None
    assert isinstance(swap.expire(), Refused)
    assert desk.kept == {}
    swap = Change(desk, swap_to_two(desk), Edit(LEAF), persist=True)
    swap.begin()
    desk.serving.add("two")
    assert swap.on(ready("two")) is None
    assert desk.kept == LEAF
    verdict = swap.on(StateSaved(1))
    assert isinstance(verdict, Succeeded)
    assert (verdict.data["gap_ms"], verdict.data["persisted"]) == (123.4, True)
