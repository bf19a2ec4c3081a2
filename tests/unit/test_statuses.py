"""HailoRT's statuses row by row: what the link does about each, at every stage at which it may come."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hailod.device.events import DeviceDown, ModelFailed, ModelLost
from hailod.device.flight import EXCEPTIONS, Failed
from hailod.device.recovery import State
from hailod.device.statuses import AT_STAGE, CURES, Fault, Stage, cure_of
from hailod.simulator.native import STATUSES, STATUSES_5
from tests.support.device import batch
from tests.unit.test_device_link import Rig

KNOWN = {number: name for number, (name, _, _) in {**STATUSES, **STATUSES_5}.items() if number}


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.close()


def test_the_table_is_whole() -> None:
    """Every status of HailoRT 4.23 and 5.2 has its row, under the name that HailoRT gives it."""
    assert {number: f"HAILO_{cure.name}" for number, cure in CURES.items()} == KNOWN


def test_what_people_must_mend_comes_with_the_fix() -> None:
    """Whatever hailod cannot cure by itself tells what to do."""
    for cure in (*CURES.values(), *AT_STAGE.values()):
        if cure.fault in (Fault.UNAVAILABLE, Fault.REJECTED):
            assert cure.fix, cure


@pytest.mark.parametrize("status", CURES)
@pytest.mark.parametrize("stage", [Stage.SUBMIT, Stage.COMPLETION])
def test_in_flight(rig: Rig, status: int, stage: Stage) -> None:
    """A job that fails costs its session where the pipeline is dead, else the process; never is it held or waited."""
    host, (session,) = rig.ready()
    running = batch(session)
    assert rig.flight.submit(running) is None
    host.complete(running.job, status, refused=stage is Stage.SUBMIT)
    completion = rig.flight.receive()
    assert isinstance(completion, Failed)
    assert (completion.error.status, completion.stage) == (status, stage)
    assert CURES[status].name in str(completion.error)
    rig.failed(session, status, stage)
    fault = cure_of(status, stage).fault
    assert type(completion.error) is EXCEPTIONS[fault]
    if CURES[status].fault in (Fault.SESSION_LOST, Fault.REJECTED):
        assert fault is Fault.SESSION_LOST
        assert [lost.name for lost in rig.of(ModelLost)] == ["two"]
        assert rig.spawner.killed == []
    else:
        assert fault is Fault.DEVICE_LOST
        assert rig.spawner.killed == [1]
        assert rig.of(DeviceDown)[0].fault is Fault.DEVICE_LOST


@pytest.mark.parametrize("status", CURES)
def test_at_opening(rig: Rig, status: int) -> None:
    """A device that does not open is waited for, held with its fix, or tried again at once."""
    rig.link.start()
    host = rig.birth()
    rig.says(host, "failed", command="open", error="HailoRTException", status=status, text="no")
    rig.exit(host)
    down = rig.of(DeviceDown)[-1]
    cure = cure_of(status, Stage.OPEN)
    assert (down.fault, down.fix) == (cure.fault, cure.fix)
    assert cure.fix in down.text
    assert rig.link.state is (State.HELD if cure.fault is Fault.REJECTED else State.WAITING)
    assert (down.retry_in == 0.0) == (cure.fault is Fault.DEVICE_LOST)
    assert cure.fault is not Fault.SESSION_LOST


@pytest.mark.parametrize("status", CURES)
def test_at_loading(rig: Rig, status: int) -> None:
    """A model that cannot be loaded costs itself where it is the model's, else the process."""
    rig.link.want(rig.specs)
    host = rig.up()
    key = rig.asked(host)["model"]
    rig.says(host, "failed", command="load", model=key, error="HailoRTException", status=status, text="no")
    cure = cure_of(status, Stage.MODEL)
    if cure.fault is Fault.REJECTED:
        (failed,) = rig.of(ModelFailed)
        assert failed.fix == cure.fix
        assert rig.spawner.killed == []
    else:
        assert rig.spawner.killed == [1]
        assert rig.of(DeviceDown)[-1].fault is cure.fault
        assert cure.fault in (Fault.DEVICE_LOST, Fault.UNAVAILABLE)


def test_unknown_status_costs_a_process() -> None:
    """A number that a later HailoRT brings is answered by what assumes least."""
    for stage in Stage:
        assert cure_of(4711, stage).fault is Fault.DEVICE_LOST
