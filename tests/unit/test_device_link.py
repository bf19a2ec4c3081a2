"""The life of device hosts as the link steers it: hosts without a process, real channels, a clock turned by hand."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest

from hailod.clock import FakeClock
from hailod.config.model import DeviceSettings
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
    ModelUnloaded,
    ThermalChanged,
)
from hailod.device.flight import Done, Drained, Failed, Flight, ModelSpec, Session, SessionFailed
from hailod.device.holders import HolderLookup
from hailod.device.installation import Installation
from hailod.device.link import DeviceLink
from hailod.device.protocol import Message
from hailod.device.recovery import Respawn, Rung, State
from hailod.device.spawner import HostExited, HostFailed, HostStopped, Spawner
from hailod.device.statuses import Fault, Stage
from hailod.device.tensors import tensors_to_json
from hailod.errors import DeviceHung, DeviceLost, ModelError
from hailod.types import ModelTensors
from tests.support.device import TENSORS, batch, spec
from tests.support.spawner import FakeHost, FakeSpawner

STEP = 0.1
Kind = TypeVar("Kind")


class Rig:
    """A link with everything around it held by the test."""

    def __init__(self, **device: Any) -> None:
        self.settings = DeviceSettings(**device)
        self.clock = FakeClock()
        self.spawner = FakeSpawner()
        self.flight = Flight(self.clock)
        healthy_after = self.settings.recovery.healthy_after
        self.respawn = Respawn(
            self.settings.backoff_initial, self.settings.backoff_max, healthy_after, random.Random(1)
        )
        self.root = Path(tempfile.mkdtemp())
        self.specs = (spec(),)
        self.events: list[LinkEvent] = []
        self.abandoned: list[Failed] = []
        self.rooms = 0
        # Why no decoder understands what a model gives.
        self.unfit = ""
        self.link = DeviceLink(
            self.settings,
            self.clock,
            cast(Spawner, self.spawner),
            self.flight,
            self.respawn,
            on_event=self.events.append,
            on_abandoned=self.abandoned.extend,
            on_room=self._room,
            vet=self._vet,
            installation=Installation(self.root, []),
            holders=HolderLookup(self.settings, self.clock, proc=self.root),
        )

    def _room(self) -> None:
        self.rooms += 1

    def _vet(self, model: ModelSpec, tensors: ModelTensors) -> None:
        if self.unfit:
            raise ModelError(f"{model.name}: {self.unfit}")

    def of(self, kind: type[Kind]) -> list[Kind]:
        return [event for event in self.events if isinstance(event, kind)]

    def close(self) -> None:
        self.link.close()
        self.spawner.close()
        self.flight.release()
        # What was told holds sessions, and with them their slots.
        self.events.clear()
        self.abandoned.clear()
        shutil.rmtree(self.root)

    # -- what hosts do -----------------------------------------------------------------------------------------------

    def birth(self) -> FakeHost:
        """The host that was asked for runs, and has been told to open the device."""
        host = self.spawner.birth()
        self.link.handle(host.started)
        return host

    def up(self) -> FakeHost:
        """A host runs and has opened the device."""
        if not self.spawner.spawned:
            self.link.start()
        host = self.birth()
        host.heard()
        self.says(host, "open.done", identity={"arch": "hailo8"})
        return host

    def says(self, host: FakeHost, kind: str, **fields: object) -> None:
        self.link.handle(host.message(kind, **fields))

    def rebuilt(self, host: FakeHost, session: Session) -> None:
        """The host drops a session and configures its model anew."""
        self.link.tick()
        (unload,) = host.heard()
        assert unload == {"type": "unload", "model": session.key}
        self.says(host, "unload.done", model=session.key)
        (load,) = host.heard()
        self.says(host, "load.done", model=load["model"], tensors=tensors_to_json(TENSORS))
        host.heard()
        self.says(host, "configure.done", model=load["model"], queue_size=8)

    def delivers(self, host: FakeHost, session: Session) -> None:
        """The session returns its first results."""
        running = batch(session)
        assert self.flight.submit(running) is None
        host.complete(running.job)
        assert isinstance(self.flight.receive(), Done)
        session.pool.give(running.slots)

    def failed(self, session: Session, status: int = 63, stage: Stage = Stage.COMPLETION) -> None:
        """What the results thread reports of a session's first failure."""
        self.flight.condemn(session)
        self.link.handle(SessionFailed(session, status, stage))

    def exit(self, host: FakeHost, reason: str = "killed by signal 9 (Killed)") -> None:
        host.close()
        self.link.handle(HostExited(host.generation, reason, ()))

    def asked(self, host: FakeHost) -> Message:
        """Look at the clocks; the one control message that came of it."""
        self.link.tick()
        (message,) = host.heard()
        return message

    def loaded(self, host: FakeHost, *, queue_size: int = 8) -> Session:
        """One more model is loaded and configured."""
        request = self.asked(host)
        assert request["type"] == "load"
        self.says(host, "load.done", model=request["model"], tensors=tensors_to_json(TENSORS))
        (configure,) = host.heard()
        assert configure["type"] == "configure"
        self.says(host, "configure.done", model=request["model"], queue_size=queue_size)
        return self.of(ModelReady)[-1].session

    def ready(self, *specs: ModelSpec) -> tuple[FakeHost, list[Session]]:
        """A host with these models in service."""
        self.link.want(specs or (spec(),))
        host = self.up()
        return host, [self.loaded(host) for _ in specs or (0,)]

    def pass_time(self, seconds: float, *, beating: FakeHost | None = None) -> None:
        """The clock moves on in steps of a tick, to the sound of a heart or without."""
        for _ in range(round(seconds / STEP)):
            self.clock.advance(STEP)
            if beating is not None:
                self.says(beating, "beat", cpu_s=1.0, rss_kb=50_000)
            self.link.tick()


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.close()


# -- into service ----------------------------------------------------------------------------------------------------


def test_model_comes_into_service_step_by_step(rig: Rig) -> None:
    """A host is started, opens the device, loads a model, gets its slots to bind, and then takes frames."""
    rig.link.want([spec(score_floor=0.25)])
    rig.link.start()
    assert rig.spawner.spawned == [1]
    host = rig.birth()
    (opening,) = host.heard()
    assert (opening["type"], opening["generation"], opening["backend"]) == ("open", 1, "hailo")
    assert rig.link.state is State.STARTING

    rig.says(host, "open.done", identity={"arch": "hailo8", "firmware": "4.23.0"})
    assert rig.link.state is State.UP
    assert rig.of(DeviceUp)[0].identity["arch"] == "hailo8"
    assert rig.link.identity["firmware"] == "4.23.0"

    load = rig.asked(host)
    assert (load["type"], load["path"], load["score_floor"]) == ("load", "/models/two.hef", 0.25)
    rig.says(host, "load.done", model=load["model"], tensors=tensors_to_json(TENSORS))
    (configure,) = host.heard()
    assert (configure["type"], configure["model"], configure["fds"]) == ("configure", load["model"], 1)
    rig.clock.advance(0.4)
    rig.says(host, "configure.done", model=load["model"], queue_size=8)

    (ready,) = rig.of(ModelReady)
    assert ready.session.tensors == TENSORS
    assert ready.took_ms == 400.0
    assert rig.flight.room(ready.session) == ready.session.window == 2
    assert rig.rooms > 0


@pytest.mark.parametrize(
    ("batch_size", "queue_size", "batch_got", "window"), [(4, 16, 4, 8), (4, 6, 4, 6), (8, 3, 3, 3)]
)
def test_window_is_two_batches_within_the_queue(batch_size: int, queue_size: int, batch_got: int, window: int) -> None:
    """Two batches may be in flight, and never more frames than HailoRT's own queue takes."""
    rig = Rig()
    try:
        rig.link.want([spec(batch_size=batch_size)])
        session = rig.loaded(rig.up(), queue_size=queue_size)
        assert (session.batch_size, session.window) == (batch_got, window)
    finally:
        rig.close()


def test_models_are_loaded_one_after_the_other(rig: Rig) -> None:
    """The host is asked for one thing at a time, and each model has a key of its own."""
    _, (one, two) = rig.ready(spec("one"), spec("two"))
    assert (one.spec.name, two.spec.name) == ("one", "two")
    assert one.key != two.key


def test_model_no_longer_wanted_is_unloaded(rig: Rig) -> None:
    """Taking one model out of the wanted ones unloads it and leaves the other in service."""
    host, (one, two) = rig.ready(spec("one"), spec("two"))
    rig.link.want([spec("two")])
    assert rig.asked(host) == {"type": "unload", "model": one.key}
    rig.says(host, "unload.done", model=one.key)
    assert rig.of(ModelUnloaded) == [ModelUnloaded("one")]
    assert rig.flight.room(two) == 2


@pytest.mark.parametrize("stage", ["load", "configure"])
@pytest.mark.parametrize("then", [(), (spec(batch_size=4),)], ids=["not at all", "in another way"])
def test_model_that_nobody_wants_any_more_does_not_stay_on_the_device(
    rig: Rig, stage: str, then: tuple[ModelSpec, ...]
) -> None:
    """A model whose wish changed while it was being loaded is taken off the device and never comes into service."""
    rig.link.want([spec()])
    host = rig.up()
    key = rig.asked(host)["model"]
    if stage == "configure":
        rig.says(host, "load.done", model=key, tensors=tensors_to_json(TENSORS))
        host.heard()
    rig.link.want(then)
    done: dict[str, object] = {"tensors": tensors_to_json(TENSORS)} if stage == "load" else {"queue_size": 8}
    rig.says(host, f"{stage}.done", model=key, **done)
    assert rig.asked(host) == {"type": "unload", "model": key}
    rig.says(host, "unload.done", model=key)
    assert rig.of(ModelReady) == []
    assert rig.of(ModelUnloaded) == []
    if then:
        assert rig.loaded(host).batch_size == 4
    else:
        assert not rig.link.configuring


def test_changed_spec_is_loaded_beside_what_serves(rig: Rig) -> None:
    """A model that is wanted with another batch size serves as it is until it is there as it is wanted, then goes."""
    host, (old,) = rig.ready(spec())
    rig.link.want([spec(batch_size=4)])
    new = rig.loaded(host)
    assert (new.batch_size, new.key != old.key) == (4, True)
    assert rig.asked(host) == {"type": "unload", "model": old.key}
    assert (rig.flight.room(old), rig.flight.room(new)) == (0, 8)
    rig.says(host, "unload.done", model=old.key)
    assert rig.of(ModelUnloaded) == []
    rig.pass_time(1.0, beating=host)
    assert host.heard() == []


def test_refused_change_leaves_the_model_in_service(rig: Rig) -> None:
    """Where the device does not take a model as it is newly wanted, the one that serves goes on, also when it is wanted
    as before again."""
    host, (old,) = rig.ready(spec())
    rig.link.want([spec(batch_size=4)])
    key = rig.asked(host)["model"]
    rig.says(host, "failed", command="load", model=key, status=91, text="no", error="E")
    assert rig.of(ModelFailed)
    assert rig.asked(host) == {"type": "unload", "model": key}
    rig.says(host, "unload.done", model=key)
    assert rig.flight.room(old) == 2
    rig.link.want([spec()])
    rig.pass_time(1.0, beating=host)
    assert host.heard() == []
    assert rig.of(ModelUnloaded) == []


def test_reload_configures_every_model_anew_in_the_same_host(rig: Rig) -> None:
    """A soft restart takes each model off the device and puts it back, without a new process."""
    host, before = rig.ready(spec("one"), spec("two"))
    rig.link.reload()
    for session in before:
        assert rig.asked(host) == {"type": "unload", "model": session.key}
        rig.says(host, "unload.done", model=session.key)
    after = [rig.loaded(host), rig.loaded(host)]
    assert {session.spec.name for session in after} == {"one", "two"}
    assert rig.spawner.spawned == [1]
    assert rig.spawner.killed == []


def test_host_is_not_configured_while_it_has_frames(rig: Rig) -> None:
    """Before a control request, which holds up every callback, the device is drained and takes no new frames."""
    host, (session,) = rig.ready(spec("one"))
    running = batch(session)
    assert rig.flight.submit(running) is None
    rig.link.want([spec("one"), spec("two")])
    rig.link.tick()
    assert rig.link.configuring
    assert host.heard() == []
    assert rig.flight.room(session) == 0
    late = batch(session)
    assert rig.flight.submit(late) is not None

    host.complete(running.job)
    assert rig.flight.receive() is not None
    assert rig.asked(host)["type"] == "load"
    assert rig.flight.room(session) == 0


# -- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        ({"error": "HailoRTException", "status": 91, "text": "cannot parse"}, "damaged"),
        ({"error": "HailoRTHEFNotCompatibleWithDevice", "status": 93, "text": "not compatible"}, "hailo8l files"),
        ({"error": "ModelError", "status": None, "text": "tensor x is INT4"}, "INT4"),
    ],
    ids=["damaged", "wrong chip", "unknown format"],
)
def test_refused_model_costs_only_itself(rig: Rig, failure: dict[str, object], said: str) -> None:
    """A model that the device refuses is reported with the fix and not tried again; the others go on."""
    host, (good,) = rig.ready(spec("good"))
    rig.link.want([spec("good"), spec("bad")])
    key = rig.asked(host)["model"]
    rig.says(host, "failed", command="load", model=key, **failure)
    (failed,) = rig.of(ModelFailed)
    assert failed.name == "bad"
    assert said in str(failed.error)
    assert rig.asked(host) == {"type": "unload", "model": key}
    rig.says(host, "unload.done", model=key)
    assert rig.flight.room(good) == 2
    rig.pass_time(5.0, beating=host)
    assert host.heard() == []
    assert rig.of(DeviceDown) == []


def test_a_model_that_no_decoder_understands_is_refused_before_it_is_configured(rig: Rig) -> None:
    """Configuring holds up every other model, so it is not begun for one that cannot be used."""
    host, (good,) = rig.ready(spec("good"))
    rig.link.want([spec("good"), spec("misfit")])
    key = rig.asked(host)["model"]
    rig.unfit = "no decoder fits"
    rig.says(host, "load.done", model=key, tensors=tensors_to_json(TENSORS))
    (failed,) = rig.of(ModelFailed)
    assert (failed.name, str(failed.error)) == ("misfit", "misfit: no decoder fits")
    assert rig.asked(host) == {"type": "unload", "model": key}
    rig.says(host, "unload.done", model=key)
    assert rig.flight.room(good) == 2
    rig.pass_time(5.0, beating=host)
    assert host.heard() == []


@pytest.mark.parametrize("how", ["want", "retry", "reload"])
def test_refused_model_is_tried_again_when_asked_for_anew(rig: Rig, how: str) -> None:
    """A refused model is loaded again when it is wanted in another way, or when someone asks for it."""
    host, _ = rig.ready(spec("good"))
    rig.link.want([spec("good"), spec("bad")])
    key = rig.asked(host)["model"]
    rig.says(host, "failed", command="load", model=key, error="E", status=91, text="no")
    rig.asked(host)
    rig.says(host, "unload.done", model=key)
    match how:
        case "want":
            rig.link.want([spec("good")])
            rig.link.want([spec("good"), spec("bad")])
        case "retry":
            rig.link.want([spec("good"), spec("bad", batch_size=2)])
        case "reload":
            rig.link.reload()
            good = rig.asked(host)
            rig.says(host, "unload.done", model=good["model"])
            assert rig.loaded(host).spec.name == "good"
    assert str(rig.asked(host)["path"]).endswith("bad.hef")


@pytest.mark.parametrize(
    "tensors", [{}, {"inputs": [], "outputs": []}, {"inputs": [{"name": 1}], "outputs": []}, [], None, {"inputs": 3}]
)
def test_tensors_that_cannot_be_laid_out_are_refused(rig: Rig, tensors: object) -> None:
    """A host that describes a model in nonsense has that model refused, and nothing else happens."""
    rig.link.want([spec()])
    host = rig.up()
    key = rig.asked(host)["model"]
    rig.says(host, "load.done", model=key, tensors=tensors)
    assert [failed.name for failed in rig.of(ModelFailed)] == ["two"]
    assert rig.asked(host) == {"type": "unload", "model": key}


def test_device_that_is_not_there_is_waited_for_for_ever(rig: Rig) -> None:
    """Without a device a new host is started again and again, ever less often, and each time it is said why."""
    rig.link.start()
    delays = []
    for number in range(1, 30):
        host = rig.birth()
        rig.says(host, "failed", command="open", error="HailoRTException", status=74, text="no device")
        rig.exit(host)
        down = rig.of(DeviceDown)[-1]
        assert down.fault is Fault.UNAVAILABLE
        assert "lspci" in down.text
        assert down.retry_in is not None
        delays.append(down.retry_in)
        rig.pass_time(down.retry_in + STEP)
        assert rig.spawner.spawned[-1] == number + 1
    assert max(delays[:3]) <= 2.0
    assert 10.0 < max(delays) <= rig.settings.backoff_max


def test_wrong_versions_are_rejected_with_the_fix(rig: Rig) -> None:
    """Driver and library of different versions are looked at again only after ten minutes, and the fix is told."""
    rig.link.start()
    host = rig.birth()
    rig.says(host, "failed", command="open", error="HailoRTException", status=76, text="version mismatch")
    rig.exit(host)
    down = rig.of(DeviceDown)[-1]
    assert (down.fault, down.retry_in) == (Fault.REJECTED, rig.settings.recovery.rejected_retry)
    assert "full-upgrade" in down.text


def test_missing_library_is_told_in_its_own_words(rig: Rig) -> None:
    """What the host itself found missing keeps its class and its text."""
    rig.link.start()
    host = rig.birth()
    rig.says(host, "failed", command="open", error="DeviceUnavailable", status=None, text="install hailo-all")
    assert rig.of(DeviceDown)[-1] == DeviceDown(Fault.UNAVAILABLE, "install hailo-all", None)


def test_process_that_cannot_be_started_is_tried_again(rig: Rig) -> None:
    """A machine that cannot start a process now may be able to later."""
    rig.link.start()
    rig.link.handle(HostFailed(1, "cannot start python: Cannot allocate memory"))
    down = rig.of(DeviceDown)[-1]
    assert down.fault is Fault.UNAVAILABLE
    rig.pass_time(rig.settings.backoff_initial + STEP)
    assert rig.spawner.spawned == [1, 2]


# -- no sign of life -------------------------------------------------------------------------------------------------


def test_missing_heartbeat_ends_the_host(rig: Rig) -> None:
    """A host that is silent for longer than it may be is killed, and what it held has failed."""
    _, (session,) = rig.ready()
    running = batch(session)
    assert rig.flight.submit(running) is None
    rig.pass_time(rig.settings.heartbeat_timeout + 2 * STEP)
    assert rig.spawner.killed == [1]
    assert [failed.batch for failed in rig.abandoned] == [running]
    assert isinstance(rig.abandoned[0].error, DeviceHung)
    assert rig.of(DeviceDown)[0].fault is Fault.HUNG
    assert "heartbeat" in rig.of(DeviceDown)[0].text


def test_watcher_that_slept_accuses_nobody(rig: Rig) -> None:
    """After a time in which the daemon itself stood still nobody is called late before there was time to be heard."""
    host, (session,) = rig.ready()
    assert rig.flight.submit(batch(session)) is None
    rig.clock.advance(60.0)
    rig.link.tick()
    assert rig.spawner.killed == []
    host.complete(1)
    assert rig.flight.receive() is not None
    rig.pass_time(5.0, beating=host)
    assert rig.spawner.killed == []


def test_job_that_is_too_old_ends_the_host(rig: Rig) -> None:
    """A host whose heart beats while a job does not come back is hung all the same."""
    host, (session,) = rig.ready()
    assert rig.flight.submit(batch(session)) is None
    rig.pass_time(rig.settings.stall_timeout - STEP, beating=host)
    assert rig.spawner.killed == []
    rig.pass_time(3 * STEP, beating=host)
    assert rig.spawner.killed == [1]
    assert "oldest job" in rig.of(DeviceDown)[0].text


def test_stopped_host_is_hung(rig: Rig) -> None:
    """A host that was stopped by a signal is not waited for."""
    rig.ready()
    rig.link.handle(HostStopped(1))
    assert rig.spawner.killed == [1]
    assert rig.of(DeviceDown)[0].fault is Fault.HUNG


def test_host_that_takes_no_jobs_is_hung(rig: Rig) -> None:
    """A host that lets its jobs channel run full is killed at the next look."""
    host, (session,) = rig.ready()
    window = session.window
    sent = 0
    # No real window reaches what the channel holds, so the table is cleared by hand.
    while (error := rig.flight.submit(running := batch(session))) is None:
        sent += 1
        session.pool.give(running.slots)
        assert sent < 10_000
        if sent % window == 0:
            rig.flight.abandon(DeviceLost("room for more"))
            rig.flight.accept(True)
    assert isinstance(error, DeviceLost)
    rig.says(host, "beat")
    rig.link.tick()
    assert rig.spawner.killed == [1]
    assert "takes no jobs" in rig.of(DeviceDown)[-1].text


def test_device_that_does_not_open_is_hung(rig: Rig) -> None:
    """Opening the device has a time limit."""
    rig.link.start()
    host = rig.birth()
    rig.pass_time(rig.settings.start_timeout + 2 * STEP, beating=host)
    assert rig.spawner.killed == [1]
    assert rig.of(DeviceDown)[0].fault is Fault.HUNG


def test_configuring_has_its_own_time_limit(rig: Rig) -> None:
    """While a model is configured silence is no offence, until `configure_timeout` is over."""
    rig.link.want([spec()])
    host = rig.up()
    rig.asked(host)
    rig.pass_time(rig.settings.configure_timeout - STEP)
    assert rig.spawner.killed == []
    rig.pass_time(3 * STEP)
    assert rig.spawner.killed == [1]
    assert "load of two took over 30 s" in rig.of(DeviceDown)[0].text


# -- from one host to the next ---------------------------------------------------------------------------------------


def test_host_that_dies_is_replaced_at_once(rig: Rig) -> None:
    """The first death costs no waiting: the next host is asked for with the next look, and loads the same models."""
    host, (session,) = rig.ready()
    assert rig.flight.submit(batch(session)) is None
    rig.exit(host, "killed by signal 6 (Aborted)")
    assert len(rig.abandoned) == 1
    assert rig.of(DeviceDown)[-1].retry_in == 0.0
    assert "Aborted" in rig.of(DeviceDown)[-1].text
    rig.link.tick()
    assert rig.spawner.spawned == [1, 2]
    assert rig.loaded(rig.up()).generation == 2
    assert rig.link.restarts == 1


def test_deaths_in_a_row_are_answered_ever_later(rig: Rig) -> None:
    """A host that dies again and again is started ever less often, up to the longest pause."""
    rig.ready()
    longest = 0.0
    for _ in range(40):
        rig.exit(rig.spawner.hosts[-1])
        delay = rig.of(DeviceDown)[-1].retry_in
        assert delay is not None
        assert delay <= rig.settings.backoff_max
        longest = max(longest, delay)
        rig.pass_time(delay + STEP)
        rig.up()
    assert longest > rig.settings.backoff_max / 2


def test_dead_session_costs_only_its_model(rig: Rig) -> None:
    """A failed completion has its model configured anew in the same host, while the other model goes on."""
    host, (mine, other) = rig.ready(spec("mine"), spec("other"))
    rig.failed(mine)
    assert rig.of(ModelLost) == [ModelLost("mine", "completion failed with STREAM_ABORT (63)", Rung.SESSION)]
    assert host.heard() == [{"type": "unload", "model": mine.key}]
    assert rig.flight.room(mine) == 0
    assert rig.flight.room(other) == 2
    rig.says(host, "unload.done", model=mine.key)
    (load,) = host.heard()
    assert (load["type"], str(load["path"])) == ("load", "/models/mine.hef")
    rig.says(host, "load.done", model=load["model"], tensors=tensors_to_json(TENSORS))
    host.heard()
    rig.says(host, "configure.done", model=load["model"], queue_size=8)
    assert rig.flight.room(rig.of(ModelReady)[-1].session) == 2
    assert rig.spawner.killed == []
    assert rig.of(DeviceDown) == []
    assert rig.link.climbed == {Rung.SESSION: 1}


def test_dead_session_is_dropped_when_its_jobs_are_home(rig: Rig) -> None:
    """What the dead model still holds comes home first, as aborts; then it is dropped."""
    host, (session,) = rig.ready()
    first, second = batch(session), batch(session)
    assert [rig.flight.submit(job) for job in (first, second)] == [None, None]
    host.complete(first.job, 63)
    assert rig.flight.receive() is not None
    rig.failed(session)
    assert host.heard() == []
    host.complete(second.job, 63)
    assert rig.flight.receive() is not None
    rig.link.handle(Drained())
    assert host.heard() == [{"type": "unload", "model": session.key}]


def test_dead_session_that_cannot_be_dropped_costs_the_host(rig: Rig) -> None:
    """A destructor that does not return in its time is ended with its process."""
    host, (session,) = rig.ready()
    rig.failed(session)
    rig.pass_time(rig.settings.recovery.unload_timeout + 2 * STEP, beating=host)
    assert rig.spawner.killed == [1]
    assert "unload of two took over 5 s" in rig.of(DeviceDown)[0].text


def test_model_that_fails_again_at_once_costs_the_host(rig: Rig) -> None:
    """A new session that fails as well was no cure: the next rung is a new process, at once the first time."""
    host, (session,) = rig.ready()
    rig.failed(session)
    rig.rebuilt(host, session)
    rig.failed(rig.of(ModelReady)[-1].session, 4, Stage.SUBMIT)
    (down,) = rig.of(DeviceDown)
    assert (down.fault, rig.spawner.killed) == (Fault.SESSION_LOST, [1])
    assert "again at once: submit failed with TIMEOUT (4)" in down.text
    rig.exit(host)
    assert rig.of(DeviceDown)[-1].retry_in == 0.0


def test_model_that_keeps_failing_among_well_ones_goes_into_quarantine(rig: Rig) -> None:
    """Whose fault it is shows by the others: they go on undisturbed, and it is tried again ten minutes later."""
    host, (bad, good) = rig.ready(spec("bad"), spec("good"))
    rig.delivers(host, good)
    for _ in range(2):
        rig.pass_time(STEP, beating=host)
        rig.failed(bad)
        rig.rebuilt(host, bad)
        bad = rig.of(ModelReady)[-1].session
    rig.pass_time(STEP, beating=host)
    rig.failed(bad)
    (quarantined,) = rig.of(ModelQuarantined)
    assert (quarantined.name, quarantined.retry_in) == ("bad", 600.0)
    assert host.heard() == [{"type": "unload", "model": bad.key}]
    rig.says(host, "unload.done", model=bad.key)
    rig.pass_time(598.0, beating=host)
    assert host.heard() == []
    assert rig.flight.room(good) == 2
    rig.pass_time(4.0, beating=host)
    assert [message["type"] for message in host.heard()] == ["load"]
    assert rig.spawner.killed == []


def test_model_that_had_settled_is_only_configured_anew(rig: Rig) -> None:
    """A loss after a time of results is a first loss every time."""
    host, (session,) = rig.ready()
    for _ in range(4):
        rig.delivers(host, session)
        rig.pass_time(rig.settings.recovery.settle_after + STEP, beating=host)
        rig.failed(session)
        rig.rebuilt(host, session)
        session = rig.of(ModelReady)[-1].session
    assert rig.spawner.killed == []
    assert rig.link.climbed == {Rung.SESSION: 4}


def test_failure_of_a_session_that_is_gone_changes_nothing(rig: Rig) -> None:
    """What is told late of a session that was replaced does not cost its successor."""
    host, (session,) = rig.ready()
    rig.failed(session)
    rig.rebuilt(host, session)
    rig.link.handle(SessionFailed(session, 36, Stage.COMPLETION))
    assert rig.spawner.killed == []
    assert len(rig.of(ModelLost)) == 1


def test_driver_errors_cost_the_host_whatever_the_model(rig: Rig) -> None:
    """When the driver is not to be trusted a new session would only fail too."""
    host, (session,) = rig.ready()
    rig.failed(session, 36)
    assert rig.spawner.killed == [1]
    assert rig.of(DeviceDown)[0].fault is Fault.DEVICE_LOST
    assert "dmesg" in rig.of(DeviceDown)[0].fix
    host.close()


# -- late, hot, lent, mended -----------------------------------------------------------------------------------------


def test_late_job_is_counted_and_waited_for(rig: Rig) -> None:
    """A job older than a third of its time is late, not lost: counted once, and its result is taken when it comes."""
    host, (session,) = rig.ready()
    running = batch(session)
    assert rig.flight.submit(running) is None
    rig.pass_time(2.0, beating=host)
    assert rig.link.climbed == {Rung.WAIT: 1}
    host.complete(running.job)
    assert isinstance(rig.flight.receive(), Done)
    rig.pass_time(5.0, beating=host)
    assert (rig.link.climbed, rig.spawner.killed) == ({Rung.WAIT: 1}, [])


def test_load_is_shed_in_steps_and_comes_back(rig: Rig) -> None:
    """The warmer the chip, the smaller the share of its load; when it has cooled all of it comes back."""
    host, _ = rig.ready()
    for temp_c in (80.0, 92.0, 97.0, 97.0, 70.0):
        rig.says(host, "telemetry", temp_c=temp_c)
    assert [changed.heat.share for changed in rig.of(ThermalChanged)] == [0.75, 0.5]
    assert all(changed.max_rate for changed in rig.of(ThermalChanged))
    for _ in range(2):
        rig.pass_time(rig.settings.thermal.hold + STEP, beating=host)
        rig.says(host, "telemetry", temp_c=70.0)
    assert rig.of(ThermalChanged)[-1].max_rate is None
    rig.says(host, "clock", hz=350_000_000, throttled=True)
    assert (rig.of(ThermalChanged)[-1].heat.share, rig.of(ThermalChanged)[-1].heat.throttled) == (0.25, True)


@pytest.mark.parametrize("told", [True, False])
def test_chip_that_stopped_itself_rests_until_it_is_cool(rig: Rig, told: bool) -> None:
    """Too hot is no fault of the host: it stays, its models rest, and they are configured anew when it has cooled."""
    host, (session,) = rig.ready()
    if told:
        rig.says(host, "shutdown", temp_c=121.0)
    else:
        rig.says(host, "telemetry", temp_c=119.0)
        rig.failed(session)
    assert rig.link.state is State.COOLING
    assert rig.of(DeviceDown)[-1].fault is Fault.TOO_HOT
    rig.pass_time(5.0, beating=host)
    assert host.heard() == []
    assert rig.flight.room(session) == 0
    rig.says(host, "telemetry", temp_c=94.0)
    rig.link.tick()
    assert rig.link.state is State.UP
    rig.rebuilt(host, session)
    assert rig.spawner.killed == []


def test_silent_host_is_replaced_while_it_cools(rig: Rig) -> None:
    """A chip that rests is no excuse for a host that hangs."""
    host, _ = rig.ready()
    rig.says(host, "shutdown", temp_c=121.0)
    rig.pass_time(rig.settings.heartbeat_timeout + 2 * STEP)
    assert rig.spawner.killed == [1]


def test_device_is_lent_and_taken_back(rig: Rig) -> None:
    """Released, the host ends and none follows; asked back, another one brings the same models into service."""
    host, (session,) = rig.ready()
    running = batch(session)
    assert rig.flight.submit(running) is None
    rig.link.release()
    assert (rig.spawner.killed, len(rig.abandoned)) == ([1], 1)
    assert rig.of(DeviceReleased) == []
    rig.exit(host)
    assert rig.of(DeviceReleased) == [DeviceReleased()]
    rig.pass_time(100.0)
    rig.link.restart("asked for")
    rig.pass_time(1.0)
    assert rig.spawner.spawned == [1]
    rig.link.acquire()
    assert rig.spawner.spawned == [1, 2]
    assert rig.loaded(rig.up()).spec == session.spec
    assert rig.respawn.failures == 0


def test_device_that_is_asked_back_before_it_was_free(rig: Rig) -> None:
    """Who changes their mind while the host still dies gets the next host as after a restart."""
    host, _ = rig.ready()
    rig.link.release()
    rig.link.acquire()
    rig.exit(host)
    assert rig.of(DeviceReleased) == []
    rig.link.tick()
    assert rig.spawner.spawned == [1, 2]


def test_device_that_is_missing_can_be_lent(rig: Rig) -> None:
    """What waits for a device lets go of it at once."""
    rig.link.start()
    host = rig.birth()
    rig.says(host, "failed", command="open", error="HailoRTException", status=74, text="no device")
    rig.exit(host)
    rig.link.release()
    assert rig.link.state is State.RELEASED
    assert rig.of(DeviceReleased) == [DeviceReleased()]


def test_rejected_device_is_tried_again_when_something_was_mended(rig: Rig) -> None:
    """Another driver, library or model file ends the wait of ten minutes."""
    rig.link.start()
    host = rig.birth()
    rig.says(host, "failed", command="open", error="HailoRTException", status=76, text="version mismatch")
    rig.exit(host)
    rig.pass_time(20.0)
    assert rig.spawner.spawned == [1]
    (rig.root / "usr/lib").mkdir(parents=True)
    (rig.root / "usr/lib/libhailort.so.4.23.0").write_bytes(b"new")
    rig.pass_time(3.0)
    assert rig.spawner.spawned == [1, 2]


def test_refused_model_is_tried_again_when_its_file_is_another(rig: Rig, tmp_path: Path) -> None:
    """A model file that was mended is loaded without anybody asking."""
    model = tmp_path / "bad.hef"
    model.write_bytes(b"half of it")
    rig.link.want([replace(spec("bad"), path=model)])
    host = rig.up()
    key = rig.asked(host)["model"]
    rig.says(host, "failed", command="load", model=key, error="E", status=91, text="no")
    rig.says(host, "unload.done", model=host.heard()[0]["model"])
    rig.pass_time(20.0, beating=host)
    assert host.heard() == []
    model.write_bytes(b"the whole of it")
    rig.pass_time(3.0, beating=host)
    assert [message["type"] for message in host.heard()] == ["load"]


def test_settings_change_while_it_runs(rig: Rig) -> None:
    """Time-outs that are changed hold from then on."""
    host, (session,) = rig.ready()
    rig.link.configure(DeviceSettings(stall_timeout=9.0))
    assert rig.flight.submit(batch(session)) is None
    rig.pass_time(8.0, beating=host)
    assert rig.spawner.killed == []
    rig.link.configure(DeviceSettings(stall_timeout=1.0))
    rig.pass_time(2 * STEP, beating=host)
    assert rig.spawner.killed == [1]


# -- from one host to the next, once more ----------------------------------------------------------------------------


def test_host_that_does_not_die_is_stuck_and_has_no_successor(rig: Rig) -> None:
    """A killed host that does not die within a second is told of once, and no new one starts before it is gone."""
    host, _ = rig.ready()
    rig.link.handle(HostStopped(1))
    assert rig.of(DeviceDown) == [rig.of(DeviceDown)[0]]
    assert rig.of(DeviceDown)[0].retry_in is None
    rig.pass_time(0.9)
    assert rig.of(DeviceStuck) == []
    rig.pass_time(60.0)
    assert rig.of(DeviceStuck) == [DeviceStuck(host.pid)]
    assert rig.spawner.spawned == [1]

    rig.exit(host)
    rig.pass_time(STEP)
    assert rig.spawner.spawned == [1, 2]
    rig.up()
    assert rig.link.state is State.UP


def test_host_that_was_given_up_is_not_listened_to(rig: Rig) -> None:
    """What a host still says after it was killed brings it neither back to life nor its models into service."""
    rig.link.want([spec()])
    rig.link.start()
    host = rig.birth()
    rig.link.restart("asked for")
    rig.says(host, "open.done", identity={"arch": "late"})
    assert rig.link.state is State.DYING
    assert rig.of(DeviceUp) == []
    rig.exit(host)
    assert rig.of(DeviceDown)[-1].asked


def test_what_older_hosts_say_is_dropped(rig: Rig) -> None:
    """Messages and deaths of a host before the present one change nothing, and its channels are closed."""
    first, _ = rig.ready()
    rig.exit(first)
    rig.link.tick()
    rig.up()
    events = list(rig.events)
    stray = FakeHost(1)
    rig.spawner.hosts.append(stray)
    rig.link.handle(stray.started)
    rig.link.handle(stray.message("fault", stage="submit", status=8, text="old"))
    rig.link.handle(HostStopped(1))
    rig.link.handle(HostExited(1, "again", ()))
    assert rig.events == events
    assert rig.spawner.killed == [1]
    assert stray.abandoned


def test_host_that_was_given_up_before_it_ran_is_killed(rig: Rig) -> None:
    """A restart between asking for a host and its birth leaves no host behind that nobody wants."""
    rig.link.start()
    rig.link.restart("asked for")
    host = rig.spawner.birth()
    killed = len(rig.spawner.killed)
    rig.link.handle(host.started)
    assert len(rig.spawner.killed) == killed + 1
    assert host.abandoned
    rig.exit(host)
    rig.link.tick()
    assert rig.spawner.spawned == [1, 2]


def test_restart_that_was_asked_for_is_no_failure(rig: Rig) -> None:
    """However often somebody asks for a restart, the next host comes at once, and no failure is counted."""
    for _ in range(5):
        host = rig.up()
        rig.link.restart("asked for")
        down = rig.of(DeviceDown)[-1]
        assert (down.asked, down.text) == (True, "asked for")
        rig.exit(host)
        assert rig.of(DeviceDown)[-1].retry_in == 0.0
        rig.link.tick()
        assert len(rig.spawner.spawned) == len(rig.spawner.hosts) + 1
    assert rig.respawn.failures == 0


def test_restart_ends_the_wait_for_the_next_host(rig: Rig) -> None:
    """Who mended the cause need not wait for the back-off."""
    rig.link.start()
    host = rig.birth()
    rig.says(host, "failed", command="open", error="HailoRTException", status=76, text="version mismatch")
    rig.exit(host)
    rig.pass_time(1.0)
    assert rig.spawner.spawned == [1]
    rig.link.restart("asked for")
    rig.link.tick()
    assert rig.spawner.spawned == [1, 2]


def test_telemetry_is_summed_over_hosts(rig: Rig) -> None:
    """The processor time of device hosts goes on counting when one is replaced; nonsense counts as nothing."""
    host = rig.up()
    rig.says(host, "beat", cpu_s=3.0, rss_kb=2048)
    rig.says(host, "telemetry", temp_c=51.5)
    assert rig.link.telemetry == {"cpu_s": 3.0, "rss_mb": 2.0, "temp_c": 51.5}
    rig.exit(host)
    rig.link.tick()
    host = rig.up()
    rig.says(host, "beat", cpu_s=1.0, rss_kb=1024)
    assert rig.link.telemetry == {"cpu_s": 4.0, "rss_mb": 1.0, "temp_c": 51.5}
    for nonsense in (float("inf"), float("nan"), 10**400, "3", None, [1]):
        rig.says(host, "beat", cpu_s=nonsense, rss_kb=nonsense)
    assert rig.link.telemetry["rss_mb"] == 0.0


def test_messages_nobody_understands_change_nothing(rig: Rig) -> None:
    """A host that says what was not asked for stays what it was."""
    host, (session,) = rig.ready()
    for kind in ("load.done", "configure.done", "unload.done", "whatever"):
        rig.says(host, kind, model=session.key, tensors=None)
    assert rig.link.state is State.UP
    assert rig.flight.room(session) == 2
    assert len(rig.of(ModelReady)) == 1


def test_close_gives_back_what_is_in_flight(rig: Rig) -> None:
    """At the end every batch on the device comes back once, and nothing is accepted any more."""
    _, (session,) = rig.ready()
    running = batch(session)
    assert rig.flight.submit(running) is None
    failures = rig.link.close()
    assert [failed.batch for failed in failures] == [running]
    assert isinstance(failures[0].error, DeviceLost)
    assert rig.link.close() == []
    assert rig.flight.submit(batch(session)) is not None
    assert rig.link.state is State.OFF
