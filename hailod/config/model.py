"""The settings: frozen models, one leaf per thing a user may write, each with its reach.

A new setting is a field here; the loader, the error messages, the environment and the planner take it from there.
"""

from __future__ import annotations

import re
import socket
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    field_validator,
    model_validator,
)

from hailod.types import MAX_BATCH

SCHEMA = 1


class Reach(IntEnum):
    """What must restart for a changed leaf to take effect; a plan takes the greatest of its changes."""

    LIVE = 0
    CAMERA = 1
    MODEL = 2
    BROKER = 3
    DEVICE = 4
    PROCESS = 5


def slug(text: str) -> str:
    """`text` as an id that is valid in topics and in Home Assistant: `[a-z0-9_-]`, at most 48 characters."""
    return re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-")[:48] or "node"


def _not_client(value: str) -> str:
    if value == "client":
        raise ValueError("'client' is reserved: replies of clients live below hailod/client/")
    return value


NAME_PATTERN = r"^[a-z0-9_-]{1,48}$"
HOST_PATTERN = r"^[A-Za-z0-9._:%-]{1,253}$"
WEB_HOST_PATTERN = r"^[a-z0-9.-]{1,253}(:[0-9]{1,5})?$"

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
WebHost = Annotated[str, StringConstraints(pattern=WEB_HOST_PATTERN)]
NodeName = Annotated[Name, AfterValidator(_not_client)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Crop = tuple[Fraction, Fraction, Fraction, Fraction]


class Section(BaseModel):
    """A table of the configuration file: immutable, and a key it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class TlsSettings(Section):
    """`[mqtt.tls]`: on when present. Without `ca` the system's certificate authorities are trusted."""

    ca: Annotated[Path | None, Reach.BROKER] = None
    cert: Annotated[Path | None, Reach.BROKER] = None
    key: Annotated[Path | None, Reach.BROKER] = None
    insecure: Annotated[bool, Reach.BROKER] = False


class MqttSettings(Section):
    """`[mqtt]`: the broker, and how much is said to it."""

    host: Annotated[str, Field(pattern=HOST_PATTERN), Reach.BROKER] = "127.0.0.1"
    port: Annotated[int | None, Field(ge=1, le=65535), Reach.BROKER] = None
    username: Annotated[str | None, Reach.BROKER] = None
    password: Annotated[SecretStr | None, Reach.BROKER] = None
    # Read when the settings are; its first line becomes `password`.
    password_file: Annotated[Path | None, Reach.BROKER] = None
    protocol: Annotated[Literal["auto", "5", "3.1.1"], Reach.BROKER] = "auto"
    keepalive: Annotated[int, Field(ge=5, le=600), Reach.BROKER] = 15
    tls: TlsSettings | None = None
    allow_control: Annotated[bool, Reach.BROKER] = True
    # Home Assistant finds node and cameras by itself: one message for each device, or ("single") for each entity, as
    # some other readers of its discovery want it; "off" takes them away again.
    discovery: Annotated[Literal["device", "single", "off"], Reach.LIVE] = "device"
    # The form of every document and command, as JSON Schema, for programs that read or write them.
    schemas: Annotated[bool, Reach.LIVE] = True
    # Lines of the log from this level on, for a node whose log nobody can see.
    log: Annotated[Literal["off", "warning", "error"], Reach.LIVE] = "off"
    metrics_interval: Annotated[float, Field(ge=1.0, le=3600.0), Reach.LIVE] = 10.0
    detections_max_hz: Annotated[float, Field(ge=0.0, le=30.0), Reach.LIVE] = 5.0

    # Pictures that were asked for are sent once; "retained": the broker keeps the last of each camera for a day.
    snapshots: Annotated[Literal["off", "retained"], Reach.LIVE] = "off"

    @property
    def effective_port(self) -> int:
        """The port to connect to: as set, else 8883 with TLS and 1883 without."""
        return self.port or (8883 if self.tls is not None else 1883)


class FrigateSettings(Section):
    """`[frigate]`: counts and events also as Frigate publishes them, for what knows Frigate already."""

    enabled: Annotated[bool, Reach.LIVE] = False
    # Not to be changed over MQTT, where it would let whoever may command publish anywhere. One node for each.
    prefix: Annotated[Name, Reach.PROCESS] = "frigate"

    @field_validator("prefix")
    @classmethod
    def _prefix_is_free(cls, value: str) -> str:
        if value in ("hailod", "homeassistant"):
            raise ValueError(f"'{value}' has another meaning; 'frigate' is what others expect")
        return value


class SimulatedSettings(Section):
    """`[device.simulated]`: the chip that `backend = "simulated"` stands for."""

    arch: Annotated[Literal["hailo8", "hailo8l"], Reach.DEVICE] = "hailo8"
    configure_s: Annotated[float, Field(ge=0.0, le=60.0), Reach.DEVICE] = 0.2
    # How long it takes to open the device.
    open_s: Annotated[float, Field(ge=0.0, le=60.0), Reach.DEVICE] = 0.0
    # Daemons of one user that simulate the same serial contend for the same device, as they would for a real one.
    serial: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$"), Reach.DEVICE] = "HLSIM00000000001"
    # A TOML file of scripted failures (`hailod.simulator.Faults`), to see how the daemon takes them. Read at each start
    # of a device host; jobs and spent faults count on over all of them.
    faults: Annotated[Path | None, Reach.DEVICE] = None

    @field_validator("faults")
    @classmethod
    def _faults_are_found_anywhere(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_absolute():
            raise ValueError("faults is an absolute path")
        return value


class RecoverySettings(Section):
    """`[device.recovery]`: how a fault is answered; `hailod/device/recovery.py` has the ladder. Times in seconds."""

    # A frame whose inference failed is sent again so often, while it is fresh. A second time would only serve frames
    # that kill the device.
    frame_retries: Annotated[int, Field(ge=0, le=3), Reach.LIVE] = 1
    # A dead model is dropped by its destructor, which waits 10 s per queue place on a hung device; a new process is
    # quicker than that.
    unload_timeout: Annotated[float, Field(ge=0.5, le=60.0), Reach.LIVE] = 5.0
    # A model that fails within so many seconds of its first result has failed again at once.
    settle_after: Annotated[float, Field(ge=0.0, le=600.0), Reach.LIVE] = 10.0
    # So many losses in a row, with other models well on the same device, are the model's own fault.
    losses_to_quarantine: Annotated[int, Field(ge=2, le=100), Reach.LIVE] = 3
    # So many undecodable outputs in a row are no accident: a tenth of a second at 100 FPS, ten seconds at 1 FPS.
    garbage_to_quarantine: Annotated[int, Field(ge=1, le=10_000), Reach.LIVE] = 10
    # A model in quarantine, or refused, is tried again so often; sooner when its file changes.
    rejected_retry: Annotated[float, Field(ge=1.0, le=86_400.0), Reach.LIVE] = 600.0
    # A minute of results: the next fault is a first one.
    healthy_after: Annotated[float, Field(ge=1.0, le=3600.0), Reach.LIVE] = 60.0
    # A killed process is gone within milliseconds; one that is not is held by the driver.
    kill_timeout: Annotated[float, Field(ge=0.2, le=60.0), Reach.LIVE] = 1.0


class ThermalSettings(Section):
    """`[device.thermal]`: load is shed before the chip protects itself (104 degrees: slower, 120: off)."""

    # Where shedding begins (degrees Celsius), and how much further each of the three steps lies: 75, 50, 25 % of the
    # rate. The chip's own limit must not be reached by the last one.
    shed_at: Annotated[float, Field(ge=40.0, le=104.0), Reach.LIVE] = 92.0
    shed_step: Annotated[float, Field(ge=0.5, le=20.0), Reach.LIVE] = 4.0
    # A step is left so much below where it was entered, and kept for so many seconds at least.
    hysteresis: Annotated[float, Field(ge=0.5, le=30.0), Reach.LIVE] = 5.0
    hold: Annotated[float, Field(ge=0.0, le=600.0), Reach.LIVE] = 10.0
    # After the chip stopped itself: resumed below this.
    resume_below: Annotated[float, Field(ge=20.0, le=110.0), Reach.LIVE] = 95.0
    # And where the temperature cannot be read: after so long.
    resume_after: Annotated[float, Field(ge=1.0, le=3600.0), Reach.LIVE] = 60.0
    # How often the chip is asked.
    interval: Annotated[float, Field(ge=0.2, le=60.0), Reach.DEVICE] = 2.0


class DeviceSettings(Section):
    """`[device]`: the accelerator and when to give it up. Times in seconds."""

    backend: Annotated[Literal["hailo", "simulated"], Reach.DEVICE] = "hailo"
    scheduler: Annotated[Literal["round_robin", "none"], Reach.DEVICE] = "round_robin"
    id: Annotated[str | None, Reach.DEVICE] = None
    # The device's own NMS drops what scores less; a camera's threshold can only be above it.
    score_floor: Annotated[float, Field(ge=0.01, le=0.95), Reach.MODEL] = 0.1
    # Below HailoRT's own 10 s, so that we decide and not its destructor.
    stall_timeout: Annotated[float, Field(ge=0.5, le=9.0), Reach.LIVE] = 3.0
    # The host beats every 0.25 s; eight missed beats in a row are no scheduling accident.
    heartbeat_timeout: Annotated[float, Field(ge=1.0, le=30.0), Reach.LIVE] = 2.0
    start_timeout: Annotated[float, Field(ge=1.0, le=300.0), Reach.LIVE] = 30.0
    configure_timeout: Annotated[float, Field(ge=1.0, le=300.0), Reach.LIVE] = 30.0
    backoff_initial: Annotated[float, Field(ge=0.05, le=60.0), Reach.LIVE] = 0.5
    backoff_max: Annotated[float, Field(ge=0.1, le=600.0), Reach.LIVE] = 30.0
    recovery: RecoverySettings = RecoverySettings()
    thermal: ThermalSettings = ThermalSettings()
    simulated: SimulatedSettings = SimulatedSettings()


class PipelineSettings(Section):
    """`[pipeline]`: between camera and device."""

    prep_workers: Annotated[int, Field(ge=1, le=8), Reach.PROCESS] = 1
    # Live frames are perishable: older than this they are not sent (again).
    max_frame_age: Annotated[float, Field(ge=0.05, le=60.0), Reach.LIVE] = 1.0
    stale_after: Annotated[float, Field(ge=1.0, le=3600.0), Reach.LIVE] = 10.0


class ModelSettings(Section):
    """`[models.NAME]`: a model file; what is left out comes from its manifest or from the catalogue."""

    path: Annotated[Path, Reach.MODEL]
    decoder: Annotated[str | None, Reach.MODEL] = None
    labels: Annotated[list[str] | Path | None, Reach.MODEL] = None
    resize: Annotated[Literal["letterbox", "stretch"] | None, Reach.MODEL] = None
    align: Annotated[Literal["center", "top_left"] | None, Reach.MODEL] = None
    pad: Annotated[int | None, Field(ge=0, le=255), Reach.MODEL] = None
    batch_size: Annotated[int, Field(ge=1, le=MAX_BATCH), Reach.MODEL] = 1
    max_same_source_frames: Annotated[int, Field(ge=1, le=MAX_BATCH), Reach.LIVE] = 1
    # Milliseconds that less than a batch may wait for more frames although the device is idle.
    max_delay_ms: Annotated[float, Field(ge=0.0, le=1000.0), Reach.LIVE] = 0.0


class CameraSettings(Section):
    """`[cameras.NAME]`: a source of frames and what is looked for in them."""

    source: Annotated[SecretStr, Field(min_length=1, max_length=2048), Reach.CAMERA]
    model: Annotated[Name | None, Reach.LIVE] = None
    enabled: Annotated[bool, Reach.LIVE] = True
    # Nobody looks: the stream is closed and no picture is to be had, whatever `enabled` says.
    privacy: Annotated[bool, Reach.LIVE] = False
    threshold: Annotated[float, Field(ge=0.05, le=0.95), Reach.LIVE] = 0.5
    labels: Annotated[list[str] | None, Reach.LIVE] = None
    max_fps: Annotated[float | None, Field(gt=0.0, le=1000.0), Reach.LIVE] = None
    rotate: Annotated[Literal[0, 90, 180, 270], Reach.CAMERA] = 0
    flip: Annotated[Literal["none", "horizontal", "vertical", "both"], Reach.CAMERA] = "none"
    crop: Annotated[Crop, Reach.CAMERA] = (0.0, 0.0, 1.0, 1.0)
    loop: Annotated[bool, Reach.CAMERA] = False
    open_timeout: Annotated[float, Field(ge=0.5, le=120.0), Reach.CAMERA] = 10.0
    read_timeout: Annotated[float, Field(ge=0.5, le=120.0), Reach.CAMERA] = 5.0
    max_lag: Annotated[float, Field(ge=0.1, le=60.0), Reach.CAMERA] = 1.0
    # The same picture for so long is no picture of now. Not shorter than the camera's distance of key frames: between
    # them an encoder may repeat a still scene to the bit.
    frozen_after: Annotated[float | None, Field(ge=1.0, le=86400.0), Reach.CAMERA] = None
    # A camera on a battery, which is there only now and then.
    sleeps: Annotated[bool, Reach.CAMERA] = False
    # For a picture polled over HTTP, and what a capture device is asked for.
    poll_interval: Annotated[float, Field(ge=0.1, le=3600.0), Reach.CAMERA] = 1.0
    size: Annotated[tuple[int, int] | None, Reach.CAMERA] = None
    fps: Annotated[float | None, Field(gt=0.0, le=1000.0), Reach.CAMERA] = None
    input_format: Annotated[str | None, Field(pattern=r"^[a-z0-9_]{1,16}$"), Reach.CAMERA] = None
    backoff_initial: Annotated[float, Field(ge=0.05, le=60.0), Reach.CAMERA] = 0.5
    backoff_max: Annotated[float, Field(ge=0.1, le=600.0), Reach.CAMERA] = 30.0

    @field_validator("crop")
    @classmethod
    def _crop_has_area(cls, value: Crop) -> Crop:
        x1, y1, x2, y2 = value
        if x2 - x1 < 0.01 or y2 - y1 < 0.01:
            raise ValueError("crop is [x1, y1, x2, y2] with x1 < x2 and y1 < y2, as fractions of the frame")
        return value

    @field_validator("size")
    @classmethod
    def _size_is_a_picture(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        if value is not None and not all(16 <= side <= 8192 for side in value):
            raise ValueError("size is [width, height], each from 16 to 8192")
        return value


class Settings(Section):
    """Everything: one immutable snapshot."""

    schema_version: Annotated[int, Field(alias="schema"), Reach.PROCESS] = SCHEMA
    node: Annotated[NodeName, Reach.PROCESS] = Field(default_factory=lambda: slug(socket.gethostname().split(".")[0]))
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Reach.LIVE] = "info"
    model: Annotated[Name | None, Reach.LIVE] = None
    # The same as the `privacy` of every camera.
    privacy: Annotated[bool, Reach.LIVE] = False
    state_dir: Annotated[Path, Reach.PROCESS] = Path("/var/lib/hailod")
    # Where models may be fetched from. Not to be changed over MQTT: it limits those who give commands there.
    models_hosts: Annotated[list[WebHost], Field(max_length=32), Reach.PROCESS] = []
    mqtt: MqttSettings = MqttSettings()
    frigate: FrigateSettings = FrigateSettings()
    device: DeviceSettings = DeviceSettings()
    pipeline: PipelineSettings = PipelineSettings()
    models: dict[Name, ModelSettings] = {}
    cameras: dict[Name, CameraSettings] = {}

    @model_validator(mode="after")
    def _models_exist(self) -> Settings:
        known = ", ".join(sorted(self.models)) or "none is configured"
        problems = []
        if self.model is not None and self.model not in self.models:
            problems.append(f"model: no model '{self.model}' (known: {known})")
        for name, camera in self.cameras.items():
            if camera.model is not None and camera.model not in self.models:
                problems.append(f"cameras.{name}.model: no model '{camera.model}' (known: {known})")
            if self.models and self.model_of(name) is None:
                problems.append(f"cameras.{name}.model: which of {known}? Name one here, or a default as `model = ...`")
        if problems:
            raise ValueError("\n".join(problems))
        return self

    @property
    def default_model(self) -> str | None:
        """The model of cameras that name none: `model`, else the only one there is."""
        if self.model is not None:
            return self.model
        return next(iter(self.models)) if len(self.models) == 1 else None

    def model_of(self, camera: str) -> str | None:
        """The name of the model that `camera` runs."""
        return self.cameras[camera].model or self.default_model

    def is_private(self, camera: str) -> bool:
        """Whether nobody may look through `camera`, by its own switch or by the node's."""
        return self.privacy or self.cameras[camera].privacy
