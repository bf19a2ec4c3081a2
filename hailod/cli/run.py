"""`hailod run`: the daemon in the foreground, as systemd runs it."""

from __future__ import annotations

import argparse
import faulthandler
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import NoReturn, TextIO

import structlog

from hailod import logs
from hailod.cli import EXIT_FAILED, add_config_option, load_config
from hailod.clock import SystemClock
from hailod.config.load import secrets_in
from hailod.deadman import DeadMansSwitch
from hailod.redact import SecretFilter
from hailod.version import VERSION

log = structlog.get_logger(__name__)

# The control thread is to be back within 50 ms; a start imports and opens things, and a machine that swaps does all of
# it slowly. Also what nobody can look into ends after this: a library that never gives the interpreter back.
CONTROL_BOUND_S = 30.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_option(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; 0 when that was asked for, 1 when a part of the daemon failed."""
    switch = DeadMansSwitch(CONTROL_BOUND_S, SystemClock())
    with _Signals() as signals:
        switch.hold()
        # A library that crashes the process leaves a stack at least.
        if not faulthandler.is_enabled():
            faulthandler.enable(file=2)
        try:
            _serve(args, switch, signals)
        finally:
            # Reached only where it was never begun.
            switch.release()


def _serve(args: argparse.Namespace, switch: DeadMansSwitch, signals: _Signals) -> NoReturn:
    _keep_standard_streams()
    loaded = load_config(args)
    settings = loaded.settings
    secrets = SecretFilter()
    secrets.add(*secrets_in(settings))
    logs.configure(settings.log_level, secrets)

    from hailod import app  # noqa: PLC0415 -- OpenCV and PyAV are slow to import, and their complaints want the log

    for note in loaded.notes:
        log.warning("configuration", note=note)
    if not settings.cameras:
        log.warning("no camera is configured: add a [cameras.NAME] table with a source")
    elif not settings.models:
        log.warning("no model is configured: add a [models.NAME] table with a path")
    # Importing all of this takes its time on a small machine.
    switch.hold()
    daemon = app.build(
        loaded,
        os.environ,
        set_log_level=logs.set_level,
        switch=switch,
        reload=lambda kept: load_config(args, overrides=kept),
        confidential=secrets,
    )
    log.info("hailod starts", version=VERSION, node=settings.node, cameras=len(settings.cameras), pid=os.getpid())
    signals.tell(daemon.quit, daemon.reload)
    try:
        reason = daemon.run(os.environ)
        code = app.exit_code(reason)
        log.info("hailod ends", reason=reason)
    except Exception:
        # Everything that ran has been ended all the same. Who started us is to start us anew.
        code = EXIT_FAILED
        log.critical("hailod ends by an exception of its control thread", exc_info=True)
    _leave(code)


class _Signals:
    """SIGTERM, SIGINT and SIGHUP, from the first line to the last.

    Until there is somebody to tell there is nothing to be ended, and the process leaves at once. A signal that comes
    while the end is under way changes nothing. Files that are about to be read need not be read again.
    """

    def __init__(self) -> None:
        self._quit: Callable[[str], None] | None = None
        self._reload: Callable[[], None] | None = None

    def __enter__(self) -> _Signals:
        self._before = {number: signal.signal(number, self._hear) for number in _SIGNALS}
        self._before[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._hear_again)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def tell(self, quit_: Callable[[str], None], reload: Callable[[], None]) -> None:
        """From now on call `quit_` with the reason, and `reload` on SIGHUP."""
        self._quit, self._reload = quit_, reload

    def _hear_again(self, _: int, __: FrameType | None) -> None:
        if self._reload is not None:
            self._reload()

    def _hear(self, number: int, _: FrameType | None) -> None:
        for further in _SIGNALS:
            # By the kernel, so that no flood of them can nest its handlers until Python gives up.
            signal.signal(further, signal.SIG_IGN)
        if self._quit is None:
            _leave(0)
        self._quit(f"received {signal.Signals(number).name}")


def _keep_standard_streams() -> None:
    """Have something at descriptors 0 to 2, or the next socket would get what libraries write to standard error."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number is this one.
            os.open(os.devnull, os.O_RDWR)
    # Python has none for a descriptor that was closed when it began.
    sys.stdout = _or_nowhere(sys.stdout)
    sys.stderr = _or_nowhere(sys.stderr)


def _or_nowhere(stream: TextIO | None) -> TextIO:
    return open(os.devnull, "w", encoding="utf-8") if stream is None else stream


def _leave(code: int) -> NoReturn:
    """End the process now. A thread in a call that cannot be interrupted (a camera's name look-up) must neither keep it
    nor wake up in an interpreter that is half torn down."""
    for stream in (sys.stdout, sys.stderr):
        # A disk that is full, a reader that is gone, a line that a signal handler interrupts.
        with suppress(OSError, ValueError, AttributeError, RuntimeError):
            stream.flush()
    os._exit(code)
