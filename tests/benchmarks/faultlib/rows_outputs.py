"""What the accelerator gives: nonsense, late, or while it is too warm."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

from tests.benchmarks.faultlib.patience import wait_for
from tests.benchmarks.faultlib.row import Rows
from tests.benchmarks.faultlib.rows_device import ANY_LOSS, JOB, LOST, TRIES_SOON, default_of, fault
from tests.benchmarks.faultlib.trial import SYNTHETIC, Trial
from tests.support.models import sees_two

outputs = Rows("device")

# A step of shedding is left as soon as it may be.
COOLS_SOON = "[device.thermal]\nhold = 1.0\n"


# -- outputs and speed -------------------------------------------------------------------------------------------------


def garbage(fill: str) -> Callable[[Trial], None]:
    """Outputs that cannot be: the model is taken out of service, which is told, and tried again until it is well."""

    def play(trial: Trial) -> None:
        # More than one quarantine takes: what is left of it is spent on the model's next life.
        trial.start(faults=fault("garbage", job=JOB, fill=fill, times=22), ready=False, device=TRIES_SOON)
        trial.detected("decode_errors")
        wait_for(lambda: trial.events("model_quarantined"), what="event model_quarantined")
        wait_for(lambda: trial.health_says("model_quarantined", "right decoder"), what="health says what to do")
        trial.over("model_quarantined")
        trial.recovered()
        trial.ends = None  # the last bad outputs are told for a while

    return play


outputs("outputs are random bytes")(garbage("random"))
outputs("outputs are NaN")(garbage("nan"))


@outputs("two frames of garbage, then sense again", short=True)
def glitch(trial: Trial) -> None:
    trial.start(faults=fault("garbage", job=JOB, fill="nan", times=2), ready=False)
    trial.detected("decode_errors")
    trial.recovered()
    trial.check("model_quarantined" not in trial.reasons(), "two bad frames put the model into quarantine")
    trial.ends = None


@outputs("one of two models fails at each job")
def one_of_two(trial: Trial) -> None:
    (trial.folder / "other.sim.toml").write_text(sees_two(96, 128))
    models = 'model = "two"\n[models.two]\npath = "two.sim.toml"\n[models.other]\npath = "other.sim.toml"\n'
    cameras = {"front": SYNTHETIC, "yard": f'{SYNTHETIC}model = "other"\n'}
    script = fault("completion", status=63, model="other", rate=1.0)
    trial.start(cameras, others=["yard"], faults=script, ready=False, **default_of(models))
    trial.detected(*LOST, "model_failed", "model_quarantined")
    # It may take a few attempts to see which of the two it is; then the good one is left in peace.
    wait_for(lambda: undisturbed_for(trial, "front", 3.0), what="the good model goes on for 3 s")
    trial.recovered("front")
    trial.ends, trial.open_ends = None, frozenset({"device_lost", "camera_lost"})


@outputs("fifty times slower for 2 s")
def slow(trial: Trial) -> None:
    trial.start(faults=fault("slow", factor=50.0, at=2.0, for_=2.0))
    host = trial.node.host
    trial.inject(lambda: trial.watch(4.0))
    trial.check(trial.node.hosts() == [host], "a slow device was given up")
    trial.findings.said = "nothing: late is not lost"


@outputs("a job is 0.7 s late")
def late(trial: Trial) -> None:
    trial.start(faults=fault("hang", at=2.0, for_=0.7))
    host = trial.node.host
    trial.inject(lambda: trial.watch(3.0))
    trial.check(trial.node.hosts() == [host], "a late device was given up")
    trial.findings.said = "nothing: late is not lost"


def undisturbed_for(trial: Trial, camera: str, seconds: float) -> bool:
    """Whether the camera's results have come without a gap for so long."""
    now = time.monotonic()
    times = [now - seconds, *(message.at for message in trial.frames(camera, now - seconds)), now]
    return max(later - sooner for sooner, later in itertools.pairwise(times)) < 0.8


# -- heat and current --------------------------------------------------------------------------------------------------


@outputs("too warm: the clock falls for 4 s")
def throttled(trial: Trial) -> None:
    trial.start(faults=fault("throttle", level=3, at=2.0, for_=4.0), device=COOLS_SOON)
    trial.detected("thermal_throttle")
    trial.over("thermal_throttle")
    wait_for(lambda: trial.events("thermal_normal"), what="event thermal_normal")


@outputs("the firmware tells of a lower clock, then of the full one")
def announced(trial: Trial) -> None:
    def clock(at: float, before: int, after: int) -> str:
        fields = {"previous_clock": before, "current_clock": after}
        told = ", ".join(f"{key} = {hertz}" for key, hertz in fields.items())
        identity = "HEALTH_MONITOR_CLOCK_CHANGED_EVENT"
        return f"{fault('notification', at=at, id=identity)}fields = {{ {told} }}\n"

    full, low = 400_000_000, 200_000_000
    trial.start(faults=clock(4.0, full, low) + clock(6.0, low, full), device=COOLS_SOON)
    host = trial.node.host
    trial.detected("thermal_throttle")
    wait_for(lambda: trial.health_says("thermal_throttle", "lowered its clock"), what="health says what the chip did")
    trial.over("thermal_throttle")
    wait_for(lambda: trial.events("thermal_normal"), what="event thermal_normal")
    trial.check(trial.node.hosts() == [host], "a warm device was given up")


@outputs("too hot: dataflow is shut down for 3 s")
def shut_down(trial: Trial) -> None:
    trial.start(faults=fault("thermal_shutdown", job=JOB, for_=3.0), ready=False, device=COOLS_SOON)
    trial.detected(*ANY_LOSS, "device_hot", "thermal_throttle")
    trial.recovered()


@outputs("heats up to 106 degrees and cools down again")
def heats_up(trial: Trial) -> None:
    trial.start(faults="temperature = [[0, 48], [3, 106], [6, 106], [8, 60]]\n", device=COOLS_SOON)
    trial.detected("thermal_throttle")
    trial.over("thermal_throttle")


@outputs("overcurrent alarm")
def overcurrent(trial: Trial) -> None:
    trial.start(faults=fault("overcurrent", at=1.5, for_=1.0))
    host = trial.node.host
    trial.inject(lambda: trial.watch(2.5))
    trial.check(trial.node.hosts() == [host], "an alarm is no reason to give the device up")
    trial.findings.said = "nothing that stops the work"
