"""Which commands and scalars there are: the arguments of each, and what it needs. A new one is an entry here and one
among the handlers of the control thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, JsonValue, SecretStr

from hailod.config.model import CameraSettings, ModelSettings, Name
from hailod.mqtt.commands import scalars


class Args(BaseModel):
    """The arguments of a command: immutable, of the very types, and no other keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


Command: TypeAlias = Args
Values: TypeAlias = dict[str, JsonValue]
Path: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,256}$")]


class Ping(Args):
    """`cmd/ping`: the reply holds `args` as they came."""

    args: JsonValue = None


class ModelSwap(Args):
    """`cmd/model.swap`: of one camera, or of the node's default, which is also `N/set/model`."""

    model: Name
    camera: Name | None = None


class ModelAdd(Args):
    """`cmd/model.add`: a file below the model directories, or one to download; `settings` as in `[models.NAME]`."""

    name: Name
    path: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    url: Annotated[str, Field(min_length=1, max_length=2048)] | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    settings: Values = {}


class ModelRemove(Args):
    """`cmd/model.remove`: of one that no camera uses; its file stays."""

    name: Name


class ModelsList(Args):
    """`cmd/models.list`."""


class HealthGet(Args):
    """`cmd/health.get`."""


class StateRefresh(Args):
    """`cmd/state.refresh`: everything that is retained is published again."""


class SettingsSet(Args):
    """`cmd/settings.set`: any number of settings, all of them or none. `node` holds all that is neither a camera's nor
    a model's, as in the configuration file."""

    node: Values = {}
    models: dict[Name, Values] = {}
    cameras: dict[Name, Values] = {}


class SettingsReset(Args):
    """`cmd/settings.reset`: what was set is forgotten, all of it or what lies at `path` and below."""

    path: Path | None = None


class SettingsGet(Args):
    """`cmd/settings.get`: the settings in effect, all of them or those at `path` and below."""

    path: Path | None = None


class CameraEnable(Args):
    """`cmd/camera.enable`."""

    camera: Name


class CameraDisable(Args):
    """`cmd/camera.disable`: its stream is closed."""

    camera: Name


class CameraRestart(Args):
    """`cmd/camera.restart`: its stream is opened anew."""

    camera: Name


class CameraAdd(Args):
    """`cmd/camera.add`: `settings` as in `[cameras.NAME]`. The source may hold a password."""

    camera: Name
    source: Annotated[SecretStr, Field(min_length=1, max_length=2048)]
    settings: Values = {}


class CameraRemove(Args):
    """`cmd/camera.remove`."""

    camera: Name


class DeviceRestart(Args):
    """`cmd/device.restart`: `soft` makes a new configured model, `reset` a new host process."""

    mode: Literal["soft", "reset"] = "soft"
    force: bool = False


class DeviceRelease(Args):
    """`cmd/device.release`, and `N/set/device` OFF: lend the device to other programs for so many seconds."""

    for_s: Annotated[float, Field(ge=1.0, le=86_400.0, allow_inf_nan=False)] = 3600.0


class DeviceAcquire(Args):
    """`cmd/device.acquire`, and `N/set/device` ON: take the device back before its time."""


class TakeSnapshot(Args):
    """`cmd/snapshot.take`: the next picture of a camera, once."""

    camera: Name


class CaptureProfile(Args):
    """`cmd/profile.capture`: the timings of every frame for so many seconds."""

    duration_s: Annotated[float, Field(ge=1.0, le=60.0, allow_inf_nan=False)] = 10.0


class DaemonRestart(Args):
    """`cmd/daemon.restart`: the process ends half a second after its reply, in a way that systemd starts it again."""


class SetNode(Args):
    """`N/set/<key>`: one setting of the node, or of its default model."""

    key: str
    value: bool | int | float | str


class SetCamera(Args):
    """`C/set/<key>`: one setting of one camera; `value` is of the setting's type and within its range."""

    camera: Name
    key: str
    value: bool | int | float | str


@dataclass(frozen=True, slots=True)
class Spec:
    """One command. `changes`: it waits until those before it are done; else it is answered at once. `device`: it is
    refused while the device is lent."""

    args: type[Args]
    changes: bool = True
    device: bool = False


COMMANDS: Mapping[str, Spec] = {
    "ping": Spec(Ping, changes=False),
    "settings.set": Spec(SettingsSet),
    "settings.reset": Spec(SettingsReset),
    "settings.get": Spec(SettingsGet, changes=False),
    "models.list": Spec(ModelsList, changes=False),
    "health.get": Spec(HealthGet, changes=False),
    "state.refresh": Spec(StateRefresh, changes=False),
    "model.swap": Spec(ModelSwap),
    "model.add": Spec(ModelAdd),
    "model.remove": Spec(ModelRemove),
    "camera.enable": Spec(CameraEnable),
    "camera.disable": Spec(CameraDisable),
    "camera.restart": Spec(CameraRestart),
    "camera.add": Spec(CameraAdd),
    "camera.remove": Spec(CameraRemove),
    "device.restart": Spec(DeviceRestart, device=True),
    "device.release": Spec(DeviceRelease),
    "device.acquire": Spec(DeviceAcquire),
    "snapshot.take": Spec(TakeSnapshot, changes=False),
    "profile.capture": Spec(CaptureProfile, changes=False),
    "daemon.restart": Spec(DaemonRestart),
}


def arguments() -> Mapping[str, type[Args]]:
    """The model of what each command takes, by the command's name; of `ping` it holds `args`, which may be anything."""
    return {name: spec.args for name, spec in COMMANDS.items()}


@dataclass(frozen=True, slots=True)
class Scalar:
    """One key of `set/...`: how its text is read, and which command the value makes. `read` and what `command` makes of
    it raise CommandError and ValidationError."""

    read: Callable[[bytes, str], bool | int | float | str]
    command: Callable[[str, str | None, bool | int | float | str], Command]


def _of_node(key: str, _: str | None, value: bool | float | str) -> Command:
    return SetNode(key=key, value=value)


def _of_camera(key: str, camera: str | None, value: bool | float | str) -> Command:
    return SetCamera.model_validate({"camera": camera, "key": key, "value": value})


NODE_SCALARS: Mapping[str, Scalar] = {
    "model": Scalar(scalars.text, lambda _, __, value: ModelSwap.model_validate({"model": value})),
    "batch_size": Scalar(scalars.number_of(ModelSettings, "batch_size"), _of_node),
    "max_delay_ms": Scalar(scalars.number_of(ModelSettings, "max_delay_ms"), _of_node),
    "log_level": Scalar(scalars.word("debug", "info", "warning", "error"), _of_node),
    "privacy": Scalar(scalars.switch, _of_node),
    "device": Scalar(scalars.switch, lambda _, __, on: DeviceAcquire() if on else DeviceRelease()),
}

CAMERA_SCALARS: Mapping[str, Scalar] = {
    "enabled": Scalar(scalars.switch, _of_camera),
    "privacy": Scalar(scalars.switch, _of_camera),
    "threshold": Scalar(scalars.number_of(CameraSettings, "threshold"), _of_camera),
    "max_fps": Scalar(scalars.number_of(CameraSettings, "max_fps"), _of_camera),
}


def controls() -> frozenset[str]:
    """All that a node can be told: `cmd/<name>`, `set/<key>`, and `cam/set/<key>` of a camera."""
    return frozenset(
        (
            *(f"cmd/{name}" for name in COMMANDS),
            *(f"set/{key}" for key in NODE_SCALARS),
            *(f"cam/set/{key}" for key in CAMERA_SCALARS),
        )
    )
