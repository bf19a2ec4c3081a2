"""`hailod run`: the daemon in the foreground, as systemd runs it."""

from __future__ import annotations

import argparse
import os
import sys

import structlog

from hailod import logs
from hailod.cli import add_config_option, load_config
from hailod.config.load import secrets_in
from hailod.version import VERSION

log = structlog.get_logger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_option(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; 0 when that was asked for, 1 when a part of the daemon failed."""
    loaded = load_config(args)
    settings = loaded.settings
    secrets = logs.SecretFilter()
    for secret in secrets_in(settings):
        secrets.add(secret)
    logs.configure(settings.log_level, secrets)

    from hailod import app  # noqa: PLC0415 -- OpenCV and PyAV are slow to import, and their complaints want the log

    for note in loaded.notes:
        log.warning("configuration", note=note)
    if not settings.cameras:
        log.warning("no camera is configured: add a [cameras.NAME] table with a source")
    elif not settings.models:
        log.warning("no model is configured: add a [models.NAME] table with a path")
    daemon = app.build(loaded, os.environ, set_log_level=logs.set_level)
    log.info("hailod starts", version=VERSION, node=settings.node, cameras=len(settings.cameras), pid=os.getpid())
    reason = daemon.run(os.environ)
    log.info("hailod ends", reason=reason)
    sys.stdout.flush()
    sys.stderr.flush()
    # Everything is closed. A thread in a call that cannot be interrupted (a camera's name look-up) must neither keep
    # the process nor wake up in an interpreter that is half torn down.
    os._exit(app.exit_code(reason))
