"""`hailod check`: one line for each thing that must be right, with what is wrong and what to do."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import re
import stat
from collections.abc import Callable, Iterator, Sized
from pathlib import Path

from hailod.checks import Check, Result, Status, run_checks
from hailod.cli import EXIT_FAILED, add_config_option, load_config
from hailod.clock import Clock, SystemClock
from hailod.config.load import Layer, Loaded
from hailod.config.model import CameraSettings, DeviceSettings, ModelSettings, Settings
from hailod.errors import ConfigError, ModelError, SourceEnded, SourceError
from hailod.redact import secrets_of

DeviceProbe = Callable[[DeviceSettings], Result]

DRIVER_NODE = Path("/dev/hailo0")
OLDEST_HAILORT = (4, 18)
# A camera may use its own time-outs to the full; this much more and it hangs.
GRACE = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_option(parser)


def run(args: argparse.Namespace) -> int:
    try:
        loaded = load_config(args)
    except ConfigError as error:
        for problem in str(error).splitlines():
            _print(Result(Status.FAIL, "config", problem))
        return error.exit_code
    clock = SystemClock()
    worst = Status.OK
    for result in run_checks(list(checks(loaded, clock)), clock):
        _print(result)
        worst = Status.FAIL if result.status is Status.FAIL else worst
    return EXIT_FAILED if worst is Status.FAIL else 0


def checks(loaded: Loaded, clock: Clock, device_probe: DeviceProbe | None = None) -> Iterator[Check]:
    """Everything to ask about `loaded`, in the order in which it is told."""
    from hailod.mqtt.probe import probe_broker  # noqa: PLC0415 -- paho is not needed to report a bad configuration

    settings = loaded.settings
    yield Check("config", lambda: check_config(loaded))
    yield Check("broker", lambda: probe_broker(settings.mqtt, clock), timeout=25.0)
    probe = device_probe or check_device
    yield Check("device", lambda: probe(settings.device), timeout=settings.device.start_timeout + GRACE)
    for name, model in settings.models.items():
        yield _model_check(name, model, loaded.config_dir)
    for name, camera in settings.cameras.items():
        yield _camera_check(name, camera, clock)


def check_config(loaded: Loaded) -> Result:
    """What is valid and yet worth a word."""
    settings = loaded.settings
    if not settings.cameras:
        return Result(Status.WARN, "config", "no camera is configured", "add a [cameras.NAME] table with a source")
    if not settings.models:
        return Result(Status.WARN, "config", "no model is configured", "add a [models.NAME] table with a path")
    if exposed := _exposed_files(loaded):
        return Result(
            Status.WARN,
            "config",
            f"{', '.join(exposed)} holds a password and everybody can read it",
            f"chown root:hailod {' '.join(exposed)} && chmod 640 {' '.join(exposed)}",
        )
    return Result(Status.OK, "config", f"{_count(settings.cameras, 'camera')}, {_count(settings.models, 'model')}")


def check_device(settings: DeviceSettings) -> Result:
    """What can be told of the accelerator without opening it, which would take it from a running daemon."""
    if settings.backend == "simulated":
        return Result(Status.WARN, "device", "simulated: what is reported was computed on the CPU, at a chip's pace")
    if importlib.util.find_spec("hailo_platform") is None:
        return Result(
            Status.FAIL,
            "device",
            "the Python package hailo_platform is not installed",
            "apt install hailo-all (or python3-hailort), and reboot; in a virtual environment: --system-site-packages",
        )
    if (version := _hailort_version()) is not None and version < OLDEST_HAILORT:
        found = ".".join(map(str, version))
        return Result(
            Status.FAIL,
            "device",
            f"HailoRT {found} has no asynchronous API",
            "apt install --upgrade hailo-all (>= 4.18)",
        )
    if not DRIVER_NODE.exists():
        return Result(
            Status.FAIL,
            "device",
            f"there is no {DRIVER_NODE}: the driver has found no chip",
            "see lspci | grep Hailo for the HAT, dmesg | grep hailo for the driver; apt install hailo-all, reboot",
        )
    if not os.access(DRIVER_NODE, os.R_OK | os.W_OK):
        return Result(Status.FAIL, "device", f"this user may not use {DRIVER_NODE}", "see its owner with ls -l")
    return Result(Status.OK, "device", f"{DRIVER_NODE} and hailo_platform are there")


def check_model(name: str, settings: ModelSettings, config_dir: Path) -> Result:
    """Whether the file can be found and its manifest read."""
    from hailod.models.catalogue import find_model, resolve_manifest  # noqa: PLC0415 -- as above

    subject = f"model {name}"
    try:
        path = find_model(settings.path, config_dir)
        manifest = resolve_manifest(path)
    except ModelError as error:
        return Result(Status.FAIL, subject, str(error), f"correct models.{name}.path")
    decoder = settings.decoder or manifest.decoder or "decoder by its outputs"
    return Result(Status.OK, subject, f"{path} ({decoder}, {_count(manifest.labels, 'label')})")


def check_camera(name: str, settings: CameraSettings, clock: Clock) -> Result:
    """Open the camera and read one picture. Blocks for as long as that takes."""
    from hailod.sources import create_source  # noqa: PLC0415 -- as above

    subject = f"camera {name}"
    source = create_source(name, settings, clock)
    began = clock.monotonic()
    try:
        source.open()
        picture = source.read().picture
    except SourceEnded:
        return Result(Status.FAIL, subject, "the file holds no picture", f"correct cameras.{name}.source")
    except SourceError as error:
        return Result(Status.FAIL, subject, str(error), f"see cameras.{name}.source ({error.code})")
    finally:
        source.close()
    return Result(Status.OK, subject, f"{picture.width}x{picture.height} after {clock.monotonic() - began:.1f} s")


def _camera_check(name: str, settings: CameraSettings, clock: Clock) -> Check:
    subject = f"camera {name}"
    if not settings.enabled:
        return Check(subject, lambda: Result(Status.OK, subject, "disabled, not tried"))
    timeout = settings.open_timeout + settings.read_timeout + GRACE
    return Check(subject, lambda: check_camera(name, settings, clock), timeout)


def _model_check(name: str, settings: ModelSettings, config_dir: Path) -> Check:
    return Check(f"model {name}", lambda: check_model(name, settings, config_dir))


def _exposed_files(loaded: Loaded) -> list[str]:
    """Files that hold a password and can be read by everybody."""
    origins = {loaded.provenance[key] for key in _secret_keys(loaded.settings)}
    files = sorted({origin.where for origin in origins if origin.layer in {Layer.FILE, Layer.DROP_IN}})
    return [file for file in files if Path(file).stat().st_mode & stat.S_IROTH]


def _secret_keys(settings: Settings) -> Iterator[str]:
    if settings.mqtt.password is not None:
        yield "mqtt.password"
    for name, camera in settings.cameras.items():
        if secrets_of(camera.source.get_secret_value()):
            yield f"cameras.{name}.source"


def _hailort_version() -> tuple[int, int] | None:
    try:
        found = re.match(r"(\d+)\.(\d+)", importlib.metadata.version("hailort"))
    except importlib.metadata.PackageNotFoundError:
        return None
    return (int(found[1]), int(found[2])) if found else None


def _count(things: Sized, noun: str) -> str:
    return f"{len(things)} {noun}" if len(things) == 1 else f"{len(things)} {noun}s"


def _print(result: Result) -> None:
    fix = f"; {result.fix}" if result.fix else ""
    print(f"{result.status:<5} {result.subject}: {result.text}{fix}", flush=True)
