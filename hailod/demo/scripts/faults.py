"""`hailod demo faults`: the device host dies, then hangs, then the broker goes away; each time the daemon goes on."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from hailod.demo.stage import Stage

ABOUT = "kills the device host, stops it, takes the broker away: what health says, and how long it took"
BETWEEN_S = 2.0
BROKER_AWAY_S = 3.0
RECOVERY_S = 60.0


def run(stage: Stage) -> None:
    stage.watch(BETWEEN_S)
    _fell(stage, signal.SIGKILL, "the device host is killed (SIGKILL), as if HailoRT had crashed")
    stage.watch(BETWEEN_S)
    _fell(stage, signal.SIGSTOP, "the device host is stopped (SIGSTOP), as if it hung")
    stage.watch(BETWEEN_S)
    _take_broker_away(stage)
    stage.watch(BETWEEN_S)


def _fell(stage: Stage, number: signal.Signals, what: str) -> None:
    stage.until(lambda: device_host(stage.daemon_pid) is not None, RECOVERY_S, "a device host")
    victim = device_host(stage.daemon_pid)
    assert victim is not None
    stage.say(what)
    os.kill(victim, number)
    # Not the detections that were on their way already: those that come once another host is there.
    replaced = stage.until(lambda: device_host(stage.daemon_pid) not in (None, victim), RECOVERY_S, "a new host")
    before = stage.heard.detections
    again = replaced + stage.until(lambda: stage.heard.detections > before, RECOVERY_S, "detections")
    stage.say(f"its successor was started after {replaced:.1f} s, detections again after {again:.1f} s")


def _take_broker_away(stage: Stage) -> None:
    before = stage.heard.reconnects
    stage.say(f"the broker goes away for {BROKER_AWAY_S:.0f} s; cameras and device go on meanwhile")
    stage.stop_broker()
    stage.watch(BROKER_AWAY_S)
    stage.say("the broker comes back")
    stage.start_broker()
    took = stage.until(lambda: stage.heard.reconnects > before, RECOVERY_S, "the daemon's return")
    stage.say(f"the daemon was back after {took:.1f} s, and has told its whole state again")


def device_host(daemon: int) -> int | None:
    """The process id of a daemon's device host; None while there is none."""
    for children in Path(f"/proc/{daemon}/task").glob("*/children"):
        for child in _read(children).split():
            # A process that has died and was not reaped yet has no command line.
            if "hailod.device.host" in _read(Path(f"/proc/{child}/cmdline")).split("\0"):
                return int(child)
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
