"""`hailod check`: one line for each thing that must be right, with what is wrong and what to do."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sized
from functools import partial

from hailod import logs
from hailod.checks import Check, Result, Status, run_checks
from hailod.cli import EXIT_FAILED, add_config_option, load_config
from hailod.clock import Clock, SystemClock
from hailod.config.load import Loaded, exposed_files, secrets_in
from hailod.config.model import CameraSettings
from hailod.errors import ConfigError, SourceEnded, SourceError
from hailod.redact import SecretFilter

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
    secrets = SecretFilter()
    secrets.add(*secrets_in(loaded.settings))
    # What is found is told by the results; the log of the parts that are tried is for those who ask for it.
    logs.configure("error", secrets)
    clock = SystemClock()
    worst = Status.OK
    for result in run_checks(list(checks(loaded, clock)), clock):
        _print(result)
        worst = Status.FAIL if result.status is Status.FAIL else worst
    return EXIT_FAILED if worst is Status.FAIL else 0


def checks(loaded: Loaded, clock: Clock) -> Iterator[Check]:
    """Everything to ask about `loaded`, in the order in which it is told."""
    from hailod.cli import device_check  # noqa: PLC0415 -- slow to import, and not needed for a bad configuration
    from hailod.mqtt.probe import probe_broker  # noqa: PLC0415 -- as above

    settings = loaded.settings
    plans, problems = device_check.find_models(loaded)
    trial = device_check.DeviceTrial(settings.device, plans, clock)
    yield Check("config", lambda: check_config(loaded))
    yield Check("broker", lambda: probe_broker(settings.mqtt, clock), timeout=25.0)
    yield Check("device", lambda: device_check.check_device(settings.device, trial), trial.longest + GRACE)
    for name in settings.models:
        ask = partial(device_check.check_model, name, plans.get(name), problems.get(name, ""), settings.device, trial)
        yield Check(f"model {name}", ask, trial.longest + GRACE)
    for name, camera in settings.cameras.items():
        yield _camera_check(name, camera, clock)


def check_config(loaded: Loaded) -> Result:
    """What is valid and yet worth a word."""
    settings = loaded.settings
    if loaded.discarded:
        more = f" (and {len(loaded.discarded) - 1} more)" if len(loaded.discarded) > 1 else ""
        text = f"left out of what was set over MQTT: {loaded.discarded[0]}{more}"
        return Result(Status.WARN, "config", text, "set it again over MQTT if it is still wanted")
    if exposed := exposed_files(loaded):
        return Result(
            Status.WARN,
            "config",
            f"{', '.join(exposed)} holds a password and everybody can read it",
            f"chown root:hailod {' '.join(exposed)} && chmod 640 {' '.join(exposed)}",
        )
    if not settings.cameras:
        return Result(Status.WARN, "config", "no camera is configured", "add a [cameras.NAME] table with a source")
    if not settings.models:
        return Result(Status.WARN, "config", "no model is configured", "add a [models.NAME] table with a path")
    return Result(Status.OK, "config", f"{_count(settings.cameras, 'camera')}, {_count(settings.models, 'model')}")


def check_camera(name: str, settings: CameraSettings, clock: Clock) -> Result:
    """Open the camera and read one picture. Blocks for as long as that takes."""
    from hailod.sources import create_source  # noqa: PLC0415 -- as above
    from hailod.sources.faults import AWAY, fix_of  # noqa: PLC0415 -- as above

    subject = f"camera {name}"
    source = create_source(name, settings, clock)
    began = clock.monotonic()
    try:
        source.open()
        picture = None
        while picture is None:
            picture = source.read().picture
    except SourceEnded:
        return Result(Status.FAIL, subject, "the file holds no picture", f"correct cameras.{name}.source")
    except SourceError as error:
        if settings.sleeps and error.code in AWAY:
            return Result(Status.WARN, subject, str(error), "it is said to sleep: wake it and check again")
        fix = "; ".join(filter(None, (fix_of(error), f"see cameras.{name}.source ({error.code})")))
        return Result(Status.FAIL, subject, str(error), fix)
    finally:
        source.close()
    return Result(Status.OK, subject, f"{picture.width}x{picture.height} after {clock.monotonic() - began:.1f} s")


def _camera_check(name: str, settings: CameraSettings, clock: Clock) -> Check:
    subject = f"camera {name}"
    if not settings.enabled:
        return Check(subject, lambda: Result(Status.OK, subject, "disabled, not tried"))
    timeout = settings.open_timeout + settings.read_timeout + GRACE
    return Check(subject, lambda: check_camera(name, settings, clock), timeout)


def _count(things: Sized, noun: str) -> str:
    return f"{len(things)} {noun}" if len(things) == 1 else f"{len(things)} {noun}s"


def _print(result: Result) -> None:
    fix = f"; {result.fix}" if result.fix else ""
    print(f"{result.status:<5} {result.subject}: {result.text}{fix}", flush=True)
