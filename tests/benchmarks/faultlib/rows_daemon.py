"""What happens to the daemon itself, and to the device when it is lent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.benchmarks.faultlib.findings import Unable
from tests.benchmarks.faultlib.patience import wait_for
from tests.benchmarks.faultlib.proxy import Mode
from tests.benchmarks.faultlib.row import Rows
from tests.benchmarks.faultlib.rows_camera import behind
from tests.benchmarks.faultlib.rows_device import ANY_LOSS, fault, held, immortal
from tests.benchmarks.faultlib.trial import SYNTHETIC, Trial
from tests.support.daemon import BASE

daemon = Rows("daemon")
lend = Rows("lend")

FRONT = f"{BASE}/cam/front"


# -- ends --------------------------------------------------------------------------------------------------------------


@daemon("SIGTERM while the device hangs", short=True)
def term_hanging(trial: Trial) -> None:
    trial.start(faults=fault("hang", at=2.0), device="heartbeat_timeout = 5.0\n")
    quiet_since = wait_for(lambda: _silence(trial, 0.3), what="no result comes any more")
    trial.findings.detected = quiet_since
    trial.open_ends = frozenset({"device_lost"})
    trial.end()
    trial.findings.said = "nothing yet"


@daemon("SIGTERM while the device cannot be had")
def term_unavailable(trial: Trial) -> None:
    trial.start(faults=fault("open"), ready=False)
    trial.detected("device_unavailable")
    trial.open_ends = frozenset({"device_lost"})
    trial.end()


@daemon("SIGTERM while a killed host does not die")
def term_stuck(trial: Trial) -> None:
    trial.start()
    host = trial.node.host
    with immortal(host):
        trial.inject(lambda: os.kill(host, signal.SIGKILL))
        trial.detected("device_stuck")
        trial.open_ends = frozenset({"device_lost"})
        trial.end(beyond=[host])


@daemon("SIGTERM while it starts")
def term_starting(trial: Trial) -> None:
    trial.start(ready=False)
    wait_for(lambda: trial.node.logged("mqtt connected"), what="it is connected")
    trial.end()
    trial.findings.said = "nothing: asked for"


@daemon("SIGTERM while a camera is silent")
def term_camera(trial: Trial) -> None:
    mute = behind(trial, 0, Mode.SILENT)
    gate = f'source = "rtsp://127.0.0.1:{mute.port}/cam"\nopen_timeout = 30.0\n'
    trial.start({"front": SYNTHETIC, "gate": gate}, others=["gate"])
    trial.end()
    trial.findings.said = "nothing: asked for"


@daemon("SIGTERM while the broker stalls")
def term_stalled(trial: Trial) -> None:
    trial.start()
    trial.proxy.set(Mode.STALL)
    trial.watch(1.0)
    trial.tells_end = False
    trial.end()
    trial.proxy.set(Mode.FORWARD, cut=True)  # the broker learns of the end, and tells the will
    trial.findings.said = "nothing: asked for"


@daemon("SIGKILL, then started again", short=True)
def killed(trial: Trial) -> None:
    trial.start()
    began = time.monotonic()
    trial.end(kill=True)
    will = wait_for(lambda: trial.recorder.of(f"{BASE}/status", began), what="the will is told")[0]
    trial.check(will.payload == b"offline", f"the will was {will.payload!r}")
    trial.findings.detected = will.at - began
    trial.launch()
    trial.ready()
    first = min(trial.frames(name, trial.started)[0].at for name in trial.online)
    trial.findings.recovered = first - began
    trial.findings.said = "status: offline (the will)"


# -- state -------------------------------------------------------------------------------------------------------------


def set_threshold(trial: Trial, value: float) -> None:
    """Change a setting over MQTT, to one that hides nothing, and wait until it is in effect."""
    trial.recorder.publish(f"{FRONT}/set/threshold", str(value))
    wait_for(
        lambda: (m := trial.recorder.last(f"{FRONT}/settings")) and m.document["threshold"] == value,
        what=f"the threshold is {value}",
    )


@daemon("its folder for state is read-only, then not")
def read_only(trial: Trial) -> None:
    state = trial.folder / "state"
    state.mkdir()
    state.chmod(0o555)
    try:
        trial.start(tame=True)
        trial.from_start()
        # Found when it starts or, at the latest, when there is something to save; which is in effect all the same.
        set_threshold(trial, 0.45)
        trial.detected("state_unsaved")
    finally:
        state.chmod(0o755)
    trial.mend(lambda: set_threshold(trial, 0.55))
    trial.over("state_unsaved", timeout=60.0)


@contextmanager
def tiny_disk(folder: Path) -> Iterator[Path]:
    """A file system of 64 kB at `folder`."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", folder]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, stderr=subprocess.DEVNULL).returncode:
        raise Unable("needs the right to mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@daemon("its disk is full while settings change, then not")
def full_disk(trial: Trial) -> None:
    disk = trial.enter(tiny_disk(trial.folder / "state"))
    trial.start()
    hog = disk / "hog"

    def fill() -> None:
        with suppress(OSError):
            hog.write_bytes(bytes(131_072))

    trial.inject(fill)
    for value in (0.45, 0.4, 0.35):
        set_threshold(trial, value)
    trial.detected("state_unsaved")
    wait_for(lambda: trial.health_says("state_unsaved", "No space left", "make room"), what="health says what to do")

    def make_room() -> None:
        hog.unlink()
        set_threshold(trial, 0.55)

    trial.mend(make_room)
    trial.over("state_unsaved")
    saved = json.loads((disk / "overrides.json").read_text())["set"]
    trial.check(saved == {"cameras.front.threshold": 0.55}, f"what was saved in the end is {saved}")


@daemon("what it saved is damaged")
def damaged_state(trial: Trial) -> None:
    state = trial.folder / "state"
    state.mkdir()
    (state / "overrides.json").write_bytes(b'{"schema":1,"cameras":{"front":{"thresh\x00\xff')
    trial.start(ready=False)
    trial.from_start()
    trial.detected("state_discarded")
    trial.recovered()
    trial.ends = None  # it stays said until a person has seen it


@daemon("SIGKILL right after a setting was changed")
def killed_after_change(trial: Trial) -> None:
    trial.start()
    set_threshold(trial, 0.55)
    # What is told of a setting is kept: it is told only then.
    began = time.monotonic()
    trial.end(kill=True)
    trial.launch()
    trial.ready()
    told = trial.recorder.of(f"{FRONT}/settings", trial.started)
    trial.check(told and told[-1].document["threshold"] == 0.55, "the change is lost")
    trial.findings.recovered = min(trial.frames(name, trial.started)[0].at for name in trial.online) - began
    trial.findings.said = "nothing: asked for"


@daemon("retained commands at the start", short=True)
def retained(trial: Trial) -> None:
    def leave() -> None:
        trial.recorder.publish(f"{BASE}/cmd/device.restart", '{"id":"old"}', retain=True)
        trial.recorder.publish(f"{FRONT}/set/threshold", "0.95", retain=True)

    # Of version 5 brokers are asked to keep such to themselves; 3.1.1 has no word for that.
    trial.start(before=leave, ready=False, mqtt='protocol = "3.1.1"\n')
    reply = wait_for(lambda: trial.recorder.of(f"{BASE}/reply/device.restart"), what="a reply")[0]
    trial.check(reply.document["error"]["code"] == "retained_ignored", f"the reply was {reply.payload.decode()}")
    trial.findings.detected = reply.at - trial.started
    trial.ready()
    told = trial.recorder.last(f"{FRONT}/settings")
    trial.check(told is not None and told.document["threshold"] == 0.5, "a retained setting was obeyed")
    trial.findings.said = "reply: retained_ignored"


# -- lending the device ------------------------------------------------------------------------------------------------


def release(trial: Trial, for_s: float) -> None:
    reply = trial.command("device.release", {"for_s": for_s})
    assert reply["status"] == "ok", f"device.release: {json.dumps(reply)[:200]}"
    wait_for(lambda: not trial.node.hosts(), what="no host has the device")


@lend("released, used by another, acquired by command", short=True)
def lent(trial: Trial) -> None:
    trial.start()
    trial.inject(lambda: release(trial, 60.0))
    trial.detected("device_released")
    with held(trial):
        trial.watch(1.0)
        trial.check(not trial.node.hosts(), "a host was started meanwhile")
    trial.mend(lambda: trial.command("device.acquire", {}))
    trial.recovered()
    trial.over("device_released")
    wait_for(lambda: trial.events("device_acquired"), what="event device_acquired")


@lend("released for 2 s, taken back by itself")
def lent_for_a_while(trial: Trial) -> None:
    trial.start()
    trial.inject(lambda: release(trial, 2.0))
    trial.detected("device_released")
    trial.recovered()
    trial.over("device_released")


@lend("taken back while the other still has it")
def lent_too_long(trial: Trial) -> None:
    trial.start()
    trial.inject(lambda: release(trial, 1.5))
    trial.detected("device_released")
    with held(trial) as holder:
        trial.detected("device_unavailable")
        trial.mend(holder.let_go)
        trial.recovered()


@lend("host killed just before it is released")
def lent_while_broken(trial: Trial) -> None:
    trial.start(faults=fault("process_abort", job=60))
    trial.detected(*ANY_LOSS)
    release(trial, 1.0)
    trial.recovered()
    trial.over("device_released")


def _silence(trial: Trial, seconds: float) -> float:
    """Seconds since the last result of any camera, once they are more than this; else 0."""
    newest = max((m.at for name in trial.online for m in trial.frames(name)[-1:]), default=time.monotonic())
    quiet = time.monotonic() - newest
    return quiet if quiet > seconds else 0.0
