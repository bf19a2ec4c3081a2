"""The composition root: settings in, a wired daemon out. The only file that names concrete classes."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import structlog

from hailod.clock import Clock, SystemClock
from hailod.config.load import Loaded, secrets_in
from hailod.config.model import ModelSettings, Settings
from hailod.config.store import Overrides, StateFile, Store
from hailod.control.beside import Beside
from hailod.control.cameras import Cameras
from hailod.control.chores import Chores
from hailod.control.commands import Commands
from hailod.control.discovery import Discovery
from hailod.control.events import Events
from hailod.control.frigate import Frigate
from hailod.control.inbox import BesideEvent, Inbox, Quit, Reload
from hailod.control.loop import Control, Parts
from hailod.control.profile import Profile
from hailod.control.recorder import Recorder
from hailod.control.reports import Connection, Reports
from hailod.control.saver import Saver
from hailod.control.snapshots import Snapshots
from hailod.deadman import DeadMansSwitch
from hailod.errors import CommandError, ConfigError, ModelError
from hailod.health import Health
from hailod.logs import Level
from hailod.models.admission import admit
from hailod.models.catalogue import FETCHED, apply_settings, find_model, model_dirs, resolve_manifest
from hailod.models.fetch import fetch
from hailod.mqtt import commands as control_plane
from hailod.mqtt import discovery
from hailod.mqtt.client import MqttClient
from hailod.mqtt.commands import CaptureProfile, Command, ModelAdd, TakeSnapshot
from hailod.mqtt.outbox import Outbox
from hailod.mqtt.redaction import redacted
from hailod.mqtt.topics import Topics
from hailod.pipeline.engine import Engine, ModelPlan
from hailod.pipeline.publisher import Publisher
from hailod.pipeline.stats import Stats
from hailod.redact import SecretFilter
from hailod.sd import Notifier, watchdog_interval
from hailod.sources.stream import limit_name_lookups
from hailod.timesync import TimeSync
from hailod.worker import Worker

log = structlog.get_logger(__name__)

# Reads the configuration files again, with these overrides over them; raises ConfigError.
Reread = Callable[[Overrides], Loaded]

# Whatever happens, the process is over less than 5 s after it was told to end. One after the other, at the most:
CAMERAS_STOP_S = 0.7
ENGINE_STOP_S = 2.0
SAVER_STOP_S = 0.25
RECORDER_STOP_S = 0.05
CHORES_STOP_S = 0.05
MQTT_FAREWELL_S = 1.0
# With the grace of the MQTT thread that is 4.55 s. What takes longer is cut short then, by `deadman`.
END_WITHIN_S = 4.6
# A frame changes threads several times on its way, and at each waits so long for the interpreter while others have
# work: with Python's 5 ms a flood of commands makes its latency ten times what it is.
SWITCH_INTERVAL_S = 0.0005


def plan_model(name: str, model: ModelSettings, config_dir: Path, state_dir: Path | None = None) -> ModelPlan:
    """A configured model with its file found and its manifest read; ModelError if that cannot be."""
    path = find_model(model.path, config_dir, state_dir)
    manifest = apply_settings(resolve_manifest(path), model, config_dir)
    return ModelPlan(name, path, manifest, model.batch_size, model.max_same_source_frames, model.max_delay_ms / 1000)


def plan_models(loaded: Loaded) -> dict[str, ModelPlan]:
    """Every configured model; ConfigError lists all that cannot be used."""
    plans: dict[str, ModelPlan] = {}
    problems = []
    for name, model in loaded.settings.models.items():
        try:
            plans[name] = plan_model(name, model, loaded.config_dir, loaded.settings.state_dir)
        except ModelError as error:
            problems.append(f"{loaded.provenance[f'models.{name}.path'].where}: models.{name}: {error}")
    if problems:
        raise ConfigError("\n".join(problems))
    return plans


def find_added(settings: Settings, wish: ModelAdd, arch: str | None) -> Path:
    """The file of a model to be added, verified; downloaded first where that is asked for. Raises HailodError."""
    folders = model_dirs(settings.state_dir)
    if wish.url is None:
        return admit(Path(wish.path or ""), folders, arch, wish.sha256)
    if not settings.models_hosts:
        fix = "this node downloads no models: models_hosts of its configuration names no host"
        raise CommandError("forbidden", fix, field="args.url")
    if wish.sha256 is None:
        raise CommandError("bad_args", "a download needs its sha256", field="args.sha256")
    fetched = fetch(wish.url, wish.sha256, settings.state_dir / FETCHED, allowed_hosts=settings.models_hosts)
    return admit(fetched, folders, arch, wish.sha256)


def pictured(settings: Settings) -> Collection[str]:
    """The cameras of which the broker keeps a picture."""
    return settings.cameras if settings.mqtt.snapshots == "retained" else ()


def _no_files(_: Overrides) -> Loaded:
    raise ConfigError("this hailod was not started from files")


def client_id(node: str) -> str:
    """A client id that two nodes never share: `hailod-<node>-<4 hex of the machine id>`."""
    try:
        machine = Path("/etc/machine-id").read_text(encoding="ascii").strip()[:4]
    except (OSError, UnicodeDecodeError):
        machine = ""
    return f"hailod-{node}-{machine or secrets.token_hex(2)}"


@dataclass(frozen=True, slots=True, eq=False)
class Daemon:
    """The wired daemon: `run` until told to quit, then end everything in reverse order, each with its deadline."""

    control: Control
    inbox: Inbox
    engine: Engine
    cameras: Cameras
    mqtt: MqttClient
    saver: Saver
    recorder: Recorder
    chores: Chores[BesideEvent]
    clock: Clock
    switch: DeadMansSwitch

    def quit(self, reason: str) -> None:
        """Have `run` end; the process is over in END_WITHIN_S, whatever becomes of that. May be called by a signal
        handler, before `run` too, and more than once."""
        self.switch.end_within(END_WITHIN_S)
        self.inbox.put(Quit(reason))

    def reload(self) -> None:
        """Have the configuration files read again. May be called by a signal handler."""
        self.inbox.put(Reload())

    def run(self, env: Mapping[str, str]) -> str:
        """Serve on this thread, which must be the main one; returns why it ended.

        Everything is ended in any case: an exception that comes out of here is told after that.
        """
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        with ExitStack() as ends:
            # The last one to be named here is the first to end; each is ended whatever happened to those before it.
            ends.callback(self._stop_mqtt)
            ends.callback(self._stop_recorder)
            ends.callback(self._stop_saver)
            ends.callback(self._stop_chores)
            ends.callback(self._stop_engine)
            ends.callback(self._stop_cameras)
            ends.callback(self.switch.end_within, END_WITHIN_S)
            self.chores.start()
            self.control.start()
            # Only now, so that the first connection is told everything before `online`.
            self.mqtt.start()
            return self.control.serve(watchdog_interval(env))

    def _stop_cameras(self) -> None:
        left = self.cameras.stop(CAMERAS_STOP_S)
        if left:
            # In a call that cannot be interrupted, such as a name look-up; they are daemon threads and mute.
            log.warning("camera threads left behind", cameras=left)

    def _stop_engine(self) -> None:
        # On a thread of its own, so that nothing of the device can keep us from saying farewell.
        stopper = Worker("engine end", lambda _: self.engine.stop(), self.clock, daemon=True)
        stopper.start()
        if not stopper.join(ENGINE_STOP_S):
            log.error("engine left behind", waited_s=ENGINE_STOP_S)
        books = self.engine.mailboxes.snapshot()
        balanced = books.balanced and not any(pair.in_flight for pair in books.pairs.values())
        done = sum(pair.ended.get("done", 0) for pair in books.pairs.values())
        log.info("frames accounted for" if balanced else "frames unaccounted for", done=done, balanced=balanced)

    def _stop_saver(self) -> None:
        if not self.saver.stop(SAVER_STOP_S):
            log.warning("what was set over MQTT is not on the disk")

    def _stop_recorder(self) -> None:
        self.recorder.stop(RECORDER_STOP_S)

    def _stop_chores(self) -> None:
        if not self.chores.stop(CHORES_STOP_S):
            log.warning("a picture or a profile was left behind")

    def _stop_mqtt(self) -> None:
        self.mqtt.stop(MQTT_FAREWELL_S)


def exit_code(reason: str) -> int:
    """0 when a signal ended the daemon, 1 when one of its parts did."""
    return 0 if reason.startswith("received") else 1


def build(
    loaded: Loaded,
    env: Mapping[str, str],
    *,
    set_log_level: Callable[[Level], None],
    switch: DeadMansSwitch,
    reload: Reread | None = None,
    confidential: SecretFilter | None = None,
) -> Daemon:
    """Wire a daemon; nothing is started, opened or connected. Raises ConfigError where a model cannot be used.

    `switch` is held by the control thread for as long as it is alive. `reload` reads the files again, with these
    overrides over them. `confidential` cleans what is published, and is told the secrets of all settings that are to
    run.
    """
    settings = loaded.settings
    plans = plan_models(loaded)
    # One thread per picture: the cores belong to cameras, dispatcher and host.
    cv2.setNumThreads(1)
    limit_name_lookups()
    clock = SystemClock()
    hidden = confidential or SecretFilter()
    inbox = Inbox()
    topics = Topics(settings.node)
    outbox = Outbox(topics, clock, redact=partial(redacted, scrub=hidden.scrub))
    stats = Stats(clock.monotonic())
    publisher = Publisher(outbox, topics, clock, stats)
    health = Health()
    instance = secrets.token_hex(2)
    engine = Engine(
        settings.device,
        settings.pipeline,
        clock,
        on_result=publisher.publish,
        on_host=inbox.put,
        on_event=inbox.put,
        on_trouble=inbox.put,
    )
    events = Events(topics, clock, outbox, instance)
    cameras = Cameras(
        topics=topics,
        clock=clock,
        outbox=outbox,
        mailboxes=engine.mailboxes,
        publisher=publisher,
        events=events,
        on_state=inbox.put,
    )
    mqtt = MqttClient(
        settings.mqtt,
        topics,
        client_id(settings.node),
        clock,
        outbox,
        on_message=inbox.put_inbound,
        on_link=inbox.put,
    )
    saver = Saver(Store(settings.state_dir), loaded.overrides, clock, inbox.put, put_aside=loaded.unusable)
    chores: Chores[BesideEvent] = Chores(clock, inbox.put)
    reports = Reports(
        topics=topics,
        clock=clock,
        outbox=outbox,
        engine=engine,
        health=health,
        stats=stats,
        instance=instance,
        connection=lambda: Connection(mqtt.protocol, mqtt.reconnects, inbox.dropped),
        fps_in=lambda: cameras.fps_in,
    )
    recorder = Recorder(StateFile(settings.state_dir, discovery.FILE), clock)
    parts = Parts(
        clock=clock,
        inbox=inbox,
        engine=engine,
        cameras=cameras,
        publisher=publisher,
        health=health,
        reports=reports,
        notifier=Notifier.from_env(env),
        watched=lambda: (*engine.workers, mqtt.worker, saver.worker, recorder.worker, chores.worker),
        set_log_level=set_log_level,
        events=events,
        clock_synced=TimeSync(clock).synced,
        saver=saver,
        hold=switch.hold,
        discovery=Discovery(topics, clock, outbox, recorder, controls=control_plane.controls(), snapshots=pictured),
        plan_model=lambda name, model: plan_model(name, model, loaded.config_dir, settings.state_dir),
        reload=reload or _no_files,
        find_model=partial(find_added, settings),
        frigate=Frigate(clock, outbox, publisher, {name: plan.manifest.labels for name, plan in plans.items()}),
        keep_secret=lambda settings: hidden.add(*secrets_in(settings)),
    )
    snapshots = Snapshots(
        topics=topics, clock=clock, outbox=outbox, cameras=cameras, ask=chores.ask, on_event=inbox.put
    )
    profile = Profile(clock=clock, stats=stats, events=events, ask=chores.ask)
    beside: dict[type[Command], Beside] = {TakeSnapshot: snapshots, CaptureProfile: profile}
    commands = Commands(topics=topics, clock=clock, outbox=outbox, events=events, beside=beside)
    control = Control(
        settings,
        plans,
        parts,
        commands,
        revision=loaded.overrides.revision,
        discarded=loaded.discarded,
        files=loaded.files,
    )
    return Daemon(control, inbox, engine, cameras, mqtt, saver, recorder, chores, clock, switch)
