"""What the accelerator does wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import psutil

from tests.benchmarks.faultlib.findings import Unable
from tests.benchmarks.faultlib.node import Node
from tests.benchmarks.faultlib.patience import wait_for
from tests.benchmarks.faultlib.row import Rows
from tests.benchmarks.faultlib.trial import SEES, STALL_TIMEOUT_S, SYNTHETIC, TWO_CAMERAS, Trial
from tests.support import hef_encoder
from tests.support.daemon import BASE
from tests.support.models import sees_two
from tests.support.unkillable import unkillable

device = Rows("device")

# With a new host process and opening the device (OPEN_S), and where the device stays open.
NEW_HOST_S = 1.5
SAME_HOST_S = 0.5
HUNG_S = STALL_TIMEOUT_S + 0.5
# The two cameras give 40 jobs a second: so many are over before the fault comes.
JOB = 60
LOST = ("device_lost", "model_lost")
# What was refused is tried again after so many seconds.
TRIES_SOON = "[device.recovery]\nrejected_retry = 2.0\n"
ANY_LOSS = (*LOST, "device_hung")

ANOTHER_PROGRAM = """
import sys
from hailod import simulator
simulator.install(simulator.SimulatorOptions(serial=sys.argv[1]))
import hailo_platform
device = hailo_platform.VDevice()
print("held", flush=True)
sys.stdin.read()
device.release()
"""


def fault(kind: str, **fields: object) -> str:
    """A rule of a script of faults; `for_` is `for`."""
    lines = [f"{key.rstrip('_')} = {_toml(value)}" for key, value in {"kind": kind, **fields}.items()]
    return "[[fault]]\n" + "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True, slots=True)
class Holder:
    """Another process that has the device until `let_go` is called."""

    pid: int
    let_go: Callable[[], None]


@contextmanager
def held(trial: Trial) -> Iterator[Holder]:
    """Another process has the device until it is told to let go, or the block ends."""
    command = [sys.executable, "-c", ANOTHER_PROGRAM, trial.serial]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            assert process.stdout.readline() == "held\n", "another program holds the device"
            yield Holder(process.pid, process.stdin.close)
        finally:
            process.stdin.close()
            process.wait(10)


def job_fault(script: str, *codes: str) -> Callable[[Trial], None]:
    """A fault in the middle of work that the daemon must get over by itself."""

    def play(trial: Trial) -> None:
        trial.start(faults=script, ready=False)
        trial.detected(*codes)
        trial.recovered()

    return play


# -- sessions and hosts ------------------------------------------------------------------------------------------------

device("run_async refuses a job (82)", recover=NEW_HOST_S)(
    job_fault(fault("submit", status="QUEUE_IS_FULL", job=JOB), *LOST)
)
for name, number, within in (
    ("STREAM_ABORT", 63, SAME_HOST_S),
    ("TIMEOUT", 4, SAME_HOST_S),
    ("INVALID_OPERATION", 6, SAME_HOST_S),
    ("DRIVER_OPERATION_FAILED", 36, NEW_HOST_S),
    ("INTERNAL_FAILURE", 8, NEW_HOST_S),
    ("COMMUNICATION_CLOSED", 62, NEW_HOST_S),
):
    device(
        f"a job completes with {name} ({number})",
        short=number == 63,
        recover=within,
        target="completion" if within == SAME_HOST_S else "",
    )(job_fault(fault("completion", status=number, job=JOB), *LOST))
device("stuck on a job for 0.6 s, then TIMEOUT")(job_fault(fault("timeout", after=0.6, job=JOB), *LOST))
device("one callback never comes", short=True, detect=HUNG_S, target="hang")(
    job_fault(fault("hang", job=JOB, times=1), *ANY_LOSS)
)
device("no callback for 3 s, whatever host asks")(job_fault(fault("hang", job=JOB, for_=3.0), *ANY_LOSS))
device("the library aborts the host (SIGABRT)", recover=NEW_HOST_S, target="crash")(
    job_fault(fault("process_abort", job=JOB), "device_lost")
)
device("all streams are aborted", recover=NEW_HOST_S)(job_fault(fault("stream_abort", job=JOB, for_=0.01), *LOST))
device("two failures in a row: the next rung")(
    job_fault(fault("completion", status=63, job=JOB) + fault("completion", status=63, job=JOB + 4), *LOST)
)
device("fails at once after it was rebuilt, three times")(
    job_fault("".join(fault("completion", status=63, job=JOB + n) for n in range(4)), *LOST)
)


@device("host killed (SIGKILL)", short=True, recover=NEW_HOST_S, target="crash")
def killed(trial: Trial) -> None:
    trial.start()
    trial.inject(lambda: os.kill(trial.node.host, signal.SIGKILL))
    trial.detected("device_lost")
    trial.recovered()


@device("host stopped (SIGSTOP)", detect=HUNG_S, target="hang")
def stopped(trial: Trial) -> None:
    trial.start()
    trial.inject(lambda: os.kill(trial.node.host, signal.SIGSTOP))
    trial.detected(*ANY_LOSS)
    trial.recovered()


@device("host killed three times, each as soon as it serves")
def killed_again(trial: Trial) -> None:
    trial.start()
    victim = trial.node.host
    trial.inject(lambda: os.kill(victim, signal.SIGKILL))
    trial.detected("device_lost")
    for _ in range(2):
        trial.recovered()
        victim = trial.node.host
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda before=victim: before not in trial.node.hosts(), what="the host is gone")
    wait_for(trial.node.hosts, what="a new host")
    seen = {name: len(trial.frames(name)) for name in trial.online}
    wait_for(lambda: all(len(trial.frames(n)) > seen[n] + 5 for n in seen), what="all deliver again")


@contextmanager
def immortal(pid: int) -> Iterator[None]:
    """While the block runs, SIGKILL does not end the process, as when its driver holds it."""
    with ExitStack() as stack:
        try:
            stack.enter_context(unkillable(pid))
        except (AssertionError, OSError) as error:
            raise Unable("needs the right to trace another process (ptrace)") from error
        yield


@device("host does not die when killed, until its driver lets go", slow=True)
def stuck(trial: Trial) -> None:
    trial.start()
    host = trial.node.host
    with ExitStack() as driver:
        driver.enter_context(immortal(host))
        trial.inject(lambda: os.kill(host, signal.SIGKILL))
        trial.detected("device_stuck")
        wait_for(lambda: trial.health_says("device_stuck", f"{host} does not die", "reboot"), what="health says it")
        trial.watch(1.0)
        trial.check(trial.node.hosts() == [host], "a second host was started beside it")
        health = trial.recorder.last(f"{BASE}/health")
        trial.check(health is not None and health.document["state"] == "failed", "health does not call for a person")
        trial.mend(driver.close)
        trial.recovered()


@device("host floods its standard error")
def flood(trial: Trial) -> None:
    trial.start()
    pipe = os.open(f"/proc/{trial.node.host}/fd/2", os.O_WRONLY | os.O_NONBLOCK)
    line = b"[HailoRT] [error] CHECK failed - something is wrong with something else\n" * 50
    sent = 0

    def pour() -> None:
        nonlocal sent
        for _ in range(1000):
            try:
                sent += os.write(pipe, line)
            except BlockingIOError:
                threading.Event().wait(0.001)

    try:
        trial.inject(pour)
    finally:
        os.close(pipe)
    before = {name: len(trial.frames(name)) for name in trial.online}
    wait_for(lambda: all(len(trial.frames(n)) > before[n] + 10 for n in before), what="detections go on")
    trial.check(sent > 200_000, f"only {sent} bytes were taken from the flood")
    trial.check(len(trial.node.lines) < 2000, f"{len(trial.node.lines)} lines in the log")
    trial.check(not trial.reasons() & set(ANY_LOSS), "a talkative host was given up")
    trial.findings.said = f"nothing; {sent // 1000} kB drained"


# -- presence ----------------------------------------------------------------------------------------------------------


@device("off the bus for 2 s, and back")
def off_the_bus(trial: Trial) -> None:
    trial.start(faults=fault("lost", job=JOB, for_=2.0), ready=False)
    trial.detected(*ANY_LOSS, "device_unavailable")
    trial.recovered()


@device("missing at the start, comes after 2 s")
def missing(trial: Trial) -> None:
    trial.start(faults=fault("lost", at=0.0, for_=2.0), ready=False)
    trial.detected("device_unavailable")
    trial.recovered()


@device("held by another process at the start")
def in_use(trial: Trial) -> None:
    holders: list[Holder] = []
    trial.start(ready=False, device="backoff_initial = 0.2\n", before=lambda: holders.append(trial.enter(held(trial))))
    trial.from_start()
    trial.detected("device_unavailable")
    words = f"held by {psutil.Process(holders[0].pid).name()} (pid {holders[0].pid})"
    wait_for(lambda: trial.health_says("device_unavailable", words), what=f"health says {words}")
    trial.mend(holders[0].let_go)
    trial.recovered()


@device("another daemon has it, and is ended")
def contended(trial: Trial) -> None:
    rivals: list[Node] = []

    def occupy() -> None:
        rivals.append(trial.rival())
        wait_for(lambda: rivals[0].logged("model in service"), what="the other daemon works")

    trial.start(ready=False, device="backoff_initial = 0.2\n", before=occupy)
    trial.from_start()
    trial.detected("device_unavailable")
    (rival,) = rivals
    words = f"held by hailod (pid {rival.host})"
    wait_for(lambda: trial.health_says("device_unavailable", words), what=f"health says {words}")
    served = rival.host
    trial.watch(1.0)
    trial.check(rival.hosts() == [served], "the daemon that has the device was disturbed")

    def end() -> None:
        trial.findings.problems += [f"the other daemon: {text}" for text in rival.end()[1]]

    trial.mend(end)
    trial.recovered()


@device("cannot be opened three times (74)")
def not_opened(trial: Trial) -> None:
    trial.start(faults=fault("open", times=3), ready=False)
    trial.detected("device_unavailable")
    trial.recovered()


def not_configured(status: int, *codes: str) -> Callable[[Trial], None]:
    """What the driver fails at is tried again with another process, what the library refuses after a while."""

    def play(trial: Trial) -> None:
        trial.start(faults=fault("configure", status=status, times=2), ready=False, device=TRIES_SOON)
        trial.detected(*codes)
        trial.recovered()

    return play


device("a model cannot be configured twice (36)")(not_configured(36, "device_lost"))
device("a model cannot be configured twice (8)")(not_configured(8, "model_failed"))


# -- what retrying does not cure ---------------------------------------------------------------------------------------


@device("a HEF for another chip, then the right one", undisturbed=("front",))
def wrong_hef(trial: Trial) -> None:
    path = trial.folder / "other.sim.toml"
    right = sees_two(96, 128)
    path.write_text(right.replace("[simulator]\n", '[simulator]\nchip = "hailo8"\n'))
    yard = f'{SYNTHETIC}model = "other"\n'
    models = 'model = "two"\n[models.two]\npath = "two.sim.toml"\n[models.other]\npath = "other.sim.toml"\n'
    trial.start(
        {"front": SYNTHETIC, "yard": yard}, others=["yard"], **default_of(models), simulated='arch = "hailo8l"\n'
    )
    trial.from_start()
    trial.detected("model_failed", "device_rejected")
    wait_for(lambda: trial.health_says("model_failed", "compiled for this chip"), what="health says what to do")
    trial.baseline()
    trial.watch(1.0)
    # To configure a model holds up the others.
    trial.undisturbed_so_far()
    _now_online(trial, "yard")
    trial.mend(lambda: path.write_text(right))
    trial.recovered("yard")


@device("a damaged HEF, then repaired", short=True)
def damaged_hef(trial: Trial) -> None:
    whole = hef_encoder.encode_hef(hef_encoder.detector(name="two", size=64, classes=2, max_per_class=4))
    path = trial.folder / "two.hef"
    # A file that a copy ended too early of: its beginning is right.
    path.write_bytes(whole[: len(whole) // 2])
    (trial.folder / "two.toml").write_text(sees_two(64, 64).replace("input = [64, 64]\n", ""))
    trial.start(models='[models.two]\npath = "two.hef"\n', ready=False)
    trial.detected("model_failed", "device_rejected")
    wait_for(
        lambda: trial.health_says("model_failed", "damaged") or trial.health_says("device_rejected", "damaged"),
        what="health says that the file is damaged",
    )
    trial.watch(0.5)
    path.with_suffix(".new").write_bytes(whole)
    trial.mend(lambda: path.with_suffix(".new").replace(path))
    trial.recovered()


def mismatch(of: str) -> Callable[[Trial], None]:
    """Versions that do not fit are named and not retried in a loop; an administrator's command tries again."""

    def play(trial: Trial) -> None:
        trial.start(faults=fault("mismatch", of=of, times=1), ready=False)
        trial.detected("device_rejected")
        wait_for(lambda: trial.health_says("device_rejected", "one version"), what="health says what to do")
        trial.mend(lambda: trial.command("device.restart", {"mode": "reset"}))
        trial.recovered()

    return play


device("driver and library are of different versions (76)")(mismatch("driver"))
device("firmware and library are of different versions (16)")(mismatch("firmware"))


# -- the library -------------------------------------------------------------------------------------------------------


@device("no hailo_platform installed")
def no_library(trial: Trial) -> None:
    trial.start(TWO_CAMERAS, ready=False, others=list(TWO_CAMERAS), real=True)
    trial.detected("device_unavailable")
    wait_for(lambda: trial.health_says("device_unavailable", "hailo-all"), what="health says what to install")
    trial.ends, trial.open_ends = "degraded", frozenset({"device_lost"})
    wait_for(lambda: all(trial.status(n) == "offline" for n in trial.others), what="cameras are offline")


def default_of(models: str) -> dict[str, str]:
    """The default model is named at the top of the file."""
    default, _, rest = models.partition("\n")
    return {"head": f"{default}\n", "models": rest}


def _now_online(trial: Trial, camera: str) -> None:
    trial.others.remove(camera)
    trial.online[camera] = SEES
    trial.checker.expect(camera, SEES)
