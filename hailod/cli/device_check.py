"""What `hailod check` asks of device and models: opens the device once and loads every model, as the daemon would."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import queue
import re
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from hailod.app import plan_model
from hailod.checks import Result, Status
from hailod.clock import Clock
from hailod.config.load import Loaded
from hailod.config.model import DeviceSettings, PipelineSettings
from hailod.device.events import DeviceDown, DeviceUp, LinkEvent, ModelFailed, ModelReady
from hailod.device.flight import FlightEvent
from hailod.device.spawner import HostEvent
from hailod.errors import ModelError
from hailod.pipeline.engine import Engine, ModelPlan
from hailod.types import ModelTensors

OLDEST_HAILORT = (4, 18)
_POLL_S = 0.05
_HOST_MODULE = "hailod.device.host"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the trial found: the device's identity, or why there is none; per model its tensors, or why not."""

    identity: Mapping[str, object] | None = None
    trouble: str = ""
    models: Mapping[str, ModelTensors] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)


class DeviceTrial:
    """Runs once, however many ask for its outcome; each of them waits for it."""

    def __init__(self, settings: DeviceSettings, plans: Mapping[str, ModelPlan], clock: Clock) -> None:
        self._settings = settings
        self._plans = plans
        self._clock = clock
        self._lock = threading.Lock()
        self._outcome: Outcome | None = None

    @property
    def longest(self) -> float:
        """Seconds that it may take."""
        return self._settings.start_timeout + len(self._plans) * self._settings.configure_timeout

    def outcome(self) -> Outcome:
        """Open, load, close; blocks for up to `longest` seconds and a little."""
        with self._lock:
            if self._outcome is None:
                self._outcome = self._run()
            return self._outcome

    def _run(self) -> Outcome:
        hosts: queue.SimpleQueue[HostEvent | FlightEvent] = queue.SimpleQueue()
        events: queue.SimpleQueue[LinkEvent] = queue.SimpleQueue()
        engine = Engine(
            self._settings,
            PipelineSettings(),
            self._clock,
            on_result=lambda _: None,
            on_host=hosts.put,
            on_event=events.put,
            on_trouble=lambda _: None,
        )
        engine.want(self._plans)
        identity: Mapping[str, object] | None = None
        models: dict[str, ModelTensors] = {}
        refused: dict[str, str] = {}
        deadline = self._clock.monotonic() + self.longest
        engine.start()
        try:
            while identity is None or len(models) + len(refused) < len(self._plans):
                if self._clock.monotonic() > deadline:
                    return Outcome(identity, "it did not answer in time", models, refused)
                with suppress(queue.Empty):
                    engine.handle(hosts.get(timeout=_POLL_S))
                engine.tick()
                while not events.empty():
                    match events.get():
                        case DeviceUp(identity=told):
                            identity = told
                        case DeviceDown(text=text):
                            return Outcome(None, text, models, refused)
                        case ModelReady(session=session):
                            models[session.spec.name] = session.tensors
                        case ModelFailed(name=name, error=error):
                            refused[name] = str(error)
            return Outcome(identity, "", models, refused)
        finally:
            engine.stop()


def _running_hosts() -> list[int]:
    """Process ids of device hosts of other daemons on this machine."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if _HOST_MODULE.encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def check_device(settings: DeviceSettings, trial: DeviceTrial) -> Result:
    """Whether the device can be opened, and who it is."""
    missing = _missing(settings)
    if missing is not None:
        return missing
    if hosts := _other_hosts(settings):
        held = f"in use by hailod itself (device host {hosts[0]}), so it and the models were not tried"
        return Result(Status.WARN, "device", held, "its health is in the MQTT topic hailod/NODE/health")
    outcome = trial.outcome()
    if outcome.identity is None:
        return Result(Status.FAIL, "device", outcome.trouble)
    told = ", ".join(f"{key} {value}" for key, value in outcome.identity.items() if value)
    if settings.backend == "simulated":
        return Result(
            Status.WARN, "device", f"simulated: detections are computed on the CPU, at a chip's pace ({told})"
        )
    return Result(Status.OK, "device", told)


def _other_hosts(settings: DeviceSettings) -> list[int]:
    """Device hosts that hold the real device; simulated ones are told apart by their serial numbers."""
    return _running_hosts() if settings.backend == "hailo" else []


def _missing(settings: DeviceSettings) -> Result | None:
    """What keeps the device from being opened at all, None for nothing."""
    if settings.backend == "simulated":
        found = importlib.util.find_spec("onnxruntime") is not None
        return None if found else _fail("the simulated device needs onnxruntime", "apt install python3-onnxruntime")
    if importlib.util.find_spec("hailo_platform") is None:
        return _fail(
            "the Python package hailo_platform is not installed",
            "apt install hailo-all (Hailo-8, Hailo-8L) or hailo-h10-all (Hailo-10H), and reboot; "
            "in a virtual environment: --system-site-packages",
        )
    version = _hailort_version()
    if version is not None and version < OLDEST_HAILORT:
        return _fail(f"HailoRT {version[0]}.{version[1]} has no asynchronous API", "apt install --upgrade hailo-all")
    nodes = sorted([*Path("/dev").glob("hailo[0-9]*"), *Path("/dev").glob("h1x-*")])
    if not nodes:
        return _fail(
            "there is no /dev/hailo0: the driver has found no chip",
            "lspci -d 1e60: must show the HAT, dmesg | grep hailo what the driver did; apt install hailo-all, reboot",
        )
    if not os.access(nodes[0], os.R_OK | os.W_OK):
        return _fail(f"this user may not use {nodes[0]}", f"add the user to its group: ls -l {nodes[0]}")
    return None


def _fail(text: str, fix: str) -> Result:
    return Result(Status.FAIL, "device", text, fix)


def find_models(loaded: Loaded) -> tuple[dict[str, ModelPlan], dict[str, str]]:
    """The models whose files are there and whose manifests can be read, and for the others why not."""
    plans, problems = {}, {}
    for name, model in loaded.settings.models.items():
        try:
            plans[name] = plan_model(name, model, loaded.config_dir, loaded.settings.state_dir)
        except ModelError as error:
            problems[name] = str(error)
    return plans, problems


def check_model(name: str, plan: ModelPlan | None, problem: str, device: DeviceSettings, trial: DeviceTrial) -> Result:
    """Whether the file can be found, its manifest read, and the device loads it with outputs that can be decoded."""
    subject = f"model {name}"
    if plan is None:
        return Result(Status.FAIL, subject, problem, f"correct [models.{name}]")
    labels = f"{len(plan.manifest.labels)} labels"
    if _missing(device) is not None or _other_hosts(device):
        return Result(Status.WARN, subject, f"{plan.path} ({labels}), not tried on the device")
    outcome = trial.outcome()
    if name in outcome.refused:
        return Result(Status.FAIL, subject, f"{plan.path}: {outcome.refused[name]}")
    if name not in outcome.models:
        return Result(Status.FAIL, subject, f"{plan.path}: not tried, because the device failed: {outcome.trouble}")
    height, width, *_ = outcome.models[name].inputs[0].shape
    return Result(Status.OK, subject, f"{plan.path} ({width}x{height}, {labels})")


def _hailort_version() -> tuple[int, int] | None:
    try:
        found = re.match(r"(\d+)\.(\d+)", importlib.metadata.version("hailort"))
    except importlib.metadata.PackageNotFoundError:
        return None
    return (int(found[1]), int(found[2])) if found else None
