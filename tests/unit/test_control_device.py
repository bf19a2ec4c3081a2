"""What the device does to health and events: each outage told once at its beginning and once at its end."""

from __future__ import annotations

from typing import Any

import pytest

from hailod.clock import FakeClock
from hailod.config.model import DeviceSettings
from hailod.control.conditions import Conditions
from hailod.control.device import TROUBLE_HOLD_S, DeviceNews
from hailod.control.events import Events
from hailod.device.events import (
    DeviceDown,
    DeviceReleased,
    DeviceStuck,
    DeviceUp,
    LinkEvent,
    ModelFailed,
    ModelLost,
    ModelQuarantined,
    ModelReady,
    ThermalChanged,
)
from hailod.device.recovery import Rung
from hailod.device.statuses import Fault
from hailod.device.thermal import Heat
from hailod.errors import DecodeError, DeviceRejected
from hailod.health import Code, Health, Reason
from hailod.mqtt.outbox import Outbox
from hailod.mqtt.topics import Topics
from hailod.pipeline.results import ModelTrouble
from hailod.sd import Notifier
from tests.support.device import session

TOPICS = Topics("pi")


class FakeEngine:
    """Says what is wanted and in service as the test has it."""

    def __init__(self) -> None:
        self.wanted = frozenset({"one", "two"})
        self.in_service = frozenset({"one", "two"})
        self.quarantined: list[str] = []

    def quarantine(self, model: str, reason: str) -> None:
        self.quarantined.append(f"{model}: {reason}")


class Rig:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.health = Health()
        self.engine = FakeEngine()
        self.outbox = Outbox(TOPICS, self.clock)
        self.outbox.online()
        conditions = Conditions(self.health, self.clock, Notifier(None))
        events = Events(TOPICS, self.clock, self.outbox, "0000")
        self.news = DeviceNews(self.clock, self.engine, conditions, events, lent=lambda: False)  # type: ignore[arg-type]
        self.news.configure(DeviceSettings(), self.engine.wanted)

    def hear(self, event: LinkEvent, *, serving: str | None = None, after: float = 0.0) -> None:
        """Something happens, after which these models are in service."""
        self.clock.advance(after)
        if serving is not None:
            self.engine.in_service = frozenset(serving.split())
        self.news.hear(event)

    @property
    def reasons(self) -> dict[Code, Reason]:
        return {reason.code: reason for reason in self.health.snapshot().reasons}

    def told(self) -> list[dict[str, Any]]:
        """The events since the last time."""
        found = []
        while (outgoing := self.outbox.take()) is not None:
            document = outgoing.message.document
            assert not isinstance(document, str)
            self.outbox.done(outgoing)
            found.append(dict(document))
        return found


@pytest.fixture
def rig() -> Rig:
    return Rig()


def ready(name: str) -> ModelReady:
    return ModelReady(session(name), 1.0)


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["event_type"] for event in events]


def test_outage_of_the_device_is_told_at_both_ends(rig: Rig) -> None:
    """`device_lost` with the reason, `device_recovered` with duration and rung once all models serve again."""
    rig.hear(DeviceDown(Fault.DEVICE_LOST, "device host killed", None), serving="")
    rig.hear(DeviceDown(Fault.DEVICE_LOST, "device host killed", 0.0))
    assert rig.reasons[Code.DEVICE_LOST].doing == "another device process takes its place"
    rig.hear(DeviceUp({}), after=0.8)
    rig.hear(ready("one"), serving="one", after=0.2)
    assert set(rig.reasons) == {Code.DEVICE_CONFIGURING}
    rig.hear(ready("two"), serving="one two", after=0.2)
    lost, recovered = rig.told()
    assert (lost["event_type"], lost["code"], lost["rung"]) == ("device_lost", "device_lost", "host")
    assert lost["reason"] == "device host killed"
    assert (recovered["event_type"], recovered["duration_s"], recovered["rung"]) == ("device_recovered", 1.2, "host")
    assert rig.reasons == {}


def test_outage_of_one_model_is_the_models(rig: Rig) -> None:
    """A session that is rebuilt is one model's outage: named, degraded, and over when it serves again."""
    rig.hear(ModelLost("one", "completion failed with STREAM_ABORT (63)", Rung.SESSION), serving="two")
    assert rig.reasons[Code.MODEL_LOST].subject == "one"
    rig.hear(ready("one"), serving="one two", after=0.3)
    lost, recovered = rig.told()
    assert (lost["event_type"], lost["model"], lost["rung"]) == ("device_lost", "one", "session")
    assert (recovered["model"], recovered["duration_s"], recovered["rung"]) == ("one", 0.3, "session")
    assert rig.reasons == {}


def test_highest_rung_is_told(rig: Rig) -> None:
    """An outage that began as hung and went on as missing is told with the last resort that it took."""
    rig.hear(DeviceDown(Fault.HUNG, "oldest job is 3.1 s old", None), serving="")
    for _ in range(3):
        rig.hear(DeviceDown(Fault.UNAVAILABLE, "no device", 1.0))
    rig.hear(DeviceDown(Fault.DEVICE_LOST, "died", 0.0))
    rig.hear(ready("one"), serving="one two")
    assert [event.get("rung") for event in rig.told()] == ["host", "back_off"]


def test_restart_that_was_asked_for_is_no_outage(rig: Rig) -> None:
    """Who asks for a restart is told when it is done, and nobody is alarmed."""
    rig.hear(DeviceDown(Fault.DEVICE_LOST, "asked for", None, asked=True), serving="")
    rig.hear(DeviceUp({}))
    rig.hear(ready("one"), serving="one two", after=1.0)
    (event,) = rig.told()
    assert (event["event_type"], event["duration_s"], event["by"]) == ("device_restarted", 1.0, "cmd")


def test_restart_during_which_the_device_fails_is_one(rig: Rig) -> None:
    """A fault on the way is told, and so is its end."""
    rig.hear(DeviceDown(Fault.DEVICE_LOST, "asked for", None, asked=True), serving="")
    rig.hear(DeviceDown(Fault.UNAVAILABLE, "no device", 1.0, fix="seat the HAT"))
    assert rig.reasons[Code.DEVICE_UNAVAILABLE].fix == "seat the HAT"
    rig.hear(ready("one"), serving="one two")
    assert types(rig.told()) == ["device_lost", "device_recovered"]


@pytest.mark.parametrize(
    ("fault", "code", "doing"),
    [
        (Fault.UNAVAILABLE, Code.DEVICE_UNAVAILABLE, "at the latest every 30 s"),
        (Fault.REJECTED, Code.DEVICE_REJECTED, "else every 10 min"),
        (Fault.TOO_HOT, Code.DEVICE_HOT, "below 95 °C"),
        (Fault.HUNG, Code.DEVICE_HUNG, "another device process"),
    ],
)
def test_each_fault_says_what_is_done(rig: Rig, fault: Fault, code: Code, doing: str) -> None:
    """A person reads what hailod does about it already, and waits or acts."""
    rig.hear(DeviceDown(fault, "x", 1.0))
    assert doing in rig.reasons[code].doing


def test_stuck_device_says_what_helps(rig: Rig) -> None:
    """Only a reboot frees a driver that holds its process."""
    rig.hear(DeviceStuck(4711))
    assert rig.reasons[Code.DEVICE_STUCK].fix == "reboot the machine"
    assert "4711" in rig.reasons[Code.DEVICE_STUCK].text


def test_quarantine_is_told_and_ends(rig: Rig) -> None:
    """A model in quarantine is named with what to do; the others go on, and its return ends it."""
    rig.hear(ModelLost("one", "x", Rung.SESSION), serving="two")
    rig.hear(ModelQuarantined("one", "fails again and again", 600.0))
    assert set(rig.reasons) == {Code.MODEL_QUARANTINED}
    assert "every 10 min" in rig.reasons[Code.MODEL_QUARANTINED].doing
    rig.hear(ready("one"), serving="one two", after=600.0)
    events = rig.told()
    assert types(events) == ["device_lost", "model_quarantined", "device_recovered"]
    assert (events[1]["model"], events[1]["retry_in_s"], events[2]["rung"]) == ("one", 600, "quarantine")
    assert rig.reasons == {}


def test_refused_model_does_not_keep_the_node_configuring(rig: Rig) -> None:
    """When all others serve, the device is in service; the refused one stays named, with its fix."""
    rig.hear(DeviceUp({}), serving="")
    rig.hear(ready("one"), serving="one")
    rig.hear(ModelFailed("two", DeviceRejected("damaged"), "copy it again"))
    assert set(rig.reasons) == {Code.MODEL_FAILED}
    assert rig.reasons[Code.MODEL_FAILED].fix == "copy it again"


def test_undecodable_outputs_lead_to_quarantine(rig: Rig) -> None:
    """Trouble is told with how much of it is too much, then the model is taken out; without more it is over."""
    for number in range(1, 10):
        rig.news.trouble(ModelTrouble("one", DecodeError("class 3 claims 9000 boxes"), number))
    assert rig.engine.quarantined == []
    assert "after 10 in a row" in rig.reasons[Code.DECODE_ERRORS].doing
    rig.news.trouble(ModelTrouble("one", DecodeError("class 3 claims 9000 boxes"), 10))
    (quarantined,) = rig.engine.quarantined
    assert "9000 boxes" in quarantined
    rig.clock.advance(TROUBLE_HOLD_S)
    rig.news.tick(rig.clock.monotonic())
    assert Code.DECODE_ERRORS not in rig.reasons


def test_heat_is_told_step_by_step(rig: Rig) -> None:
    """Each step with what is left of the load, the return to normal once, with how long it took."""
    for step, share in ((1, 0.75), (2, 0.5), (1, 0.75)):
        rig.hear(ThermalChanged(Heat(step, share, 93.0), 30.0 * share), after=10.0)
    assert "75%" in rig.reasons[Code.THERMAL_THROTTLE].doing
    rig.hear(ThermalChanged(Heat(0, 1.0, 80.0), None), after=10.0)
    events = rig.told()
    assert types(events) == ["thermal_throttle"] * 3 + ["thermal_normal"]
    assert (events[1]["share"], events[1]["max_fps"], events[3]["duration_s"]) == (0.5, 15.0, 30.0)
    assert rig.reasons == {}


def test_lent_device_is_no_outage(rig: Rig) -> None:
    """A device that was well when it was lent is neither lost nor recovered by that."""
    rig.hear(DeviceDown(Fault.UNAVAILABLE, "lent", None, asked=True), serving="")
    rig.hear(DeviceReleased())
    assert rig.reasons == {}
    rig.hear(ready("one"), serving="one two")
    assert rig.told() == []


def test_outage_that_a_loan_interrupts_is_over_after_it(rig: Rig) -> None:
    """What was told as lost before the loan is told as recovered, however late; meanwhile nothing is wrong."""
    rig.hear(DeviceDown(Fault.UNAVAILABLE, "no device", 1.0), serving="")
    rig.hear(DeviceReleased())
    assert rig.reasons == {}
    rig.hear(ready("one"), serving="one two", after=600.0)
    assert types(rig.told()) == ["device_lost", "device_recovered"]


def test_what_nobody_wants_is_not_wrong(rig: Rig) -> None:
    """Conditions of a model end with the wish for it."""
    rig.hear(ModelFailed("two", DeviceRejected("damaged")))
    rig.news.configure(DeviceSettings(), {"one"})
    assert rig.reasons == {}
