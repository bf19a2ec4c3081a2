"""`hailod demo faults`: device, camera and broker fail, one after the other; each time the daemon goes on."""

from __future__ import annotations

import os
import signal
from collections.abc import Collection
from pathlib import Path

from hailod.demo.stage import Stage

ABOUT = "kills the device host, fails an inference, takes camera and broker away: what health says, how long it took"
PORCH = True
BETWEEN_S = 1.5
AWAY_S = 2.5
LENT_S = 3.0
RECOVERY_S = 60.0
# Counted from the start of the device host, and long enough after it to see that all is well in between.
FAILS_AFTER_S = 4.0
_TURN_S = 0.1
_FAILS_ONCE = f"""\
[[fault]]
kind = "completion"
status = "STREAM_ABORT"
at = {FAILS_AFTER_S}
times = 1
"""
# What health or an event calls an inference that failed.
_LOSSES = ("device_lost", "model_lost", "device_recovered")


def run(stage: Stage) -> None:
    stage.watch(BETWEEN_S)
    stage.script(_FAILS_ONCE)
    _fell(stage, signal.SIGKILL, "the device host is killed (SIGKILL), as if HailoRT had crashed")
    _fail_one_inference(stage)
    stage.watch(BETWEEN_S)
    _fell(stage, signal.SIGSTOP, "the device host is stopped (SIGSTOP), as if it hung")
    stage.watch(BETWEEN_S)
    _take_camera_away(stage)
    stage.watch(BETWEEN_S)
    _take_broker_away(stage)
    stage.watch(BETWEEN_S)
    _lend_the_device(stage)
    stage.watch(BETWEEN_S)


def _fell(stage: Stage, number: signal.Signals, what: str) -> None:
    stage.until(lambda: device_host(stage.daemon_pid) is not None, RECOVERY_S, "a device host")
    victim = device_host(stage.daemon_pid)
    assert victim is not None
    stage.say(what)
    os.kill(victim, number)
    # Not the detections that were on their way already: those that come once another host is there.
    replaced = stage.until(lambda: device_host(stage.daemon_pid) not in (None, victim), RECOVERY_S, "a new host")
    again = replaced + _detections(stage)
    stage.say(f"its successor was started after {replaced:.1f} s, detections again after {again:.1f} s")


def _fail_one_inference(stage: Stage) -> None:
    before = _told(stage, _LOSSES)
    stage.say("one inference is about to fail with STREAM_ABORT, which kills the model in HailoRT for good")
    for _ in range(int((FAILS_AFTER_S + 6.0) / _TURN_S)):
        if _told(stage, _LOSSES) > before:
            stage.say(f"detections again {_detections(stage):.1f} s after it was told")
            return
        stage.watch(_TURN_S)
    stage.say("it failed before the models were in service, and is over by now")


def _take_camera_away(stage: Stage) -> None:
    stage.until(lambda: stage.heard.status.get("porch") == "online", RECOVERY_S, "the camera porch")
    stage.say(f"the camera porch loses its power for {AWAY_S:.0f} s; the others go on meanwhile")
    stage.stop_camera()
    told = stage.until(lambda: stage.heard.status.get("porch") == "offline", RECOVERY_S, "word of the camera")
    stage.say(f"it was told as offline after {told:.1f} s")
    stage.watch(AWAY_S)
    stage.say("the camera is switched on again")
    stage.start_camera()
    took = stage.until(lambda: stage.heard.status.get("porch") == "online", RECOVERY_S, "the camera's return")
    stage.say(f"it was online after {took:.1f} s, its own start included")


def _take_broker_away(stage: Stage) -> None:
    before = stage.heard.reconnects
    stage.say(f"the broker goes away for {AWAY_S:.0f} s; cameras and device go on meanwhile")
    stage.stop_broker()
    stage.watch(AWAY_S)
    stage.say("the broker comes back")
    stage.start_broker()
    took = stage.until(lambda: stage.heard.reconnects > before, RECOVERY_S, "the daemon's return")
    stage.say(f"the daemon was back after {took:.1f} s, and has told its whole state again")


def _lend_the_device(stage: Stage) -> None:
    stage.say(f"cmd/device.release: the device is lent to another program for {LENT_S:.0f} s")
    if not stage.command("device.release", {"for_s": LENT_S}):
        stage.say("this hailod does not lend its device")
        return
    stage.until(lambda: device_host(stage.daemon_pid) is None, RECOVERY_S, "the device's release")
    taken = stage.until(lambda: device_host(stage.daemon_pid) is not None, RECOVERY_S, "the device's return")
    stage.say(f"taken back by itself after {taken:.1f} s, detections again after {taken + _detections(stage):.1f} s")


def _told(stage: Stage, names: Collection[str]) -> int:
    return sum(stage.heard.told[name] for name in names)


def _detections(stage: Stage) -> float:
    """Wait for the next detections; returns the seconds that took."""
    before = stage.heard.detections
    return stage.until(lambda: stage.heard.detections > before, RECOVERY_S, "detections")


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
