"""What cameras do wrong. All have the camera `gate` fail, and `yard` beside it, which must not lose a frame by it."""

from __future__ import annotations

import itertools
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.benchmarks.faultlib.findings import Unable
from tests.benchmarks.faultlib.mjpeg import MjpegCamera
from tests.benchmarks.faultlib.patience import wait_for
from tests.benchmarks.faultlib.proxy import Mode, Proxy
from tests.benchmarks.faultlib.row import Rows
from tests.benchmarks.faultlib.trial import SEES, SYNTHETIC, Trial
from tests.support.broken_peers import RtspCamera, Unit, access_units
from tests.support.rtsp import RtspServer, rtsp_server

camera = Rows("camera")

QUICK = "backoff_initial = 0.2\nbackoff_max = 0.5\nopen_timeout = 2.0\nread_timeout = 1.0\n"
SLOW = QUICK.replace("read_timeout = 1.0", "read_timeout = 5.0").replace("open_timeout = 2.0", "open_timeout = 10.0")
PATIENT = QUICK.replace("backoff_max = 0.5", "backoff_max = 5.0")
LOST = ("camera_lost", "camera_stuck")
YARD = ("yard",)
# As a password is written into a URL, and as the camera knows it.
WRITTEN, PASSWORD = "geheim%40zu%2Fhaus", "geheim@zu/haus"


def serve(trial: Trial, clip: str = "25", **options: str) -> RtspServer:
    """A real RTSP server, for as long as the trial lasts."""
    return trial.enter(rtsp_server(trial.clips(clip), **options))  # type: ignore[arg-type]


def behind(trial: Trial, target: int, mode: Mode = Mode.FORWARD) -> Proxy:
    """A relay before a camera."""
    relay = trial.enter(Proxy(target))
    relay.set(mode)
    return relay


def begin(
    trial: Trial,
    source: str,
    *,
    delivers: bool,
    more: str = "",
    quick: str = QUICK,
    secrets: Sequence[str] = (),
) -> None:
    """Start with `yard`, and `gate` at `source`; without `delivers` the latter is broken from the start."""
    trial.secrets = list(secrets)
    cameras = {"yard": SYNTHETIC, "gate": f'source = "{source}"\n{quick}{more}'}
    trial.start(cameras, others=() if delivers else ["gate"])
    if not delivers:
        trial.from_start()


def comes(trial: Trial) -> None:
    """From now on `gate` must deliver."""
    trial.others.remove("gate")
    trial.online["gate"] = SEES
    trial.checker.expect("gate", SEES)


def never_comes(trial: Trial, *words: str, seconds: float = 1.5) -> None:
    """`gate` stays away, is told so with what to do, and the row ends so."""
    wait_for(lambda: trial.health_says("camera_lost", *words), what=f"health says {words}")
    trial.baseline()
    trial.watch(seconds)
    trial.ends, trial.open_ends = "degraded", frozenset({"camera_lost"})


@camera("nothing listens, then it does", short=True, undisturbed=YARD)
def refused(trial: Trial) -> None:
    server = serve(trial)
    relay = behind(trial, server.port, Mode.REFUSE)
    begin(trial, f"rtsp://127.0.0.1:{relay.port}/cam", delivers=False)
    trial.detected(*LOST)
    wait_for(lambda: trial.health_says("camera_lost", "nothing listens"), what="health says why")
    trial.baseline()
    trial.watch(1.0)
    comes(trial)
    trial.mend(lambda: relay.set(Mode.FORWARD))
    trial.recovered("gate")


@camera("wrong password, then it is the right one", undisturbed=YARD)
def wrong_password(trial: Trial) -> None:
    strict = serve(trial, auth="digest", user="viewer", password=f"x{PASSWORD}")
    relay = behind(trial, strict.port)
    source = f"rtsp://viewer:{WRITTEN}@127.0.0.1:{relay.port}/cam"
    begin(trial, source, delivers=False, secrets=[WRITTEN, PASSWORD, "geheim"])
    trial.detected(*LOST)
    wait_for(lambda: trial.health_says("camera_lost", "user name or password refused"), what="health says why")
    trial.baseline()
    comes(trial)
    lenient = serve(trial, auth="digest", user="viewer", password=PASSWORD)
    trial.mend(lambda: relay.lead_to(lenient.port))
    trial.recovered("gate")


@camera("404: no such path", undisturbed=YARD)
def no_such_path(trial: Trial) -> None:
    begin(trial, serve(trial).url().replace("/cam", "/nothing"), delivers=False)
    trial.detected(*LOST)
    never_comes(trial, "check the path")


@camera("the name cannot be resolved", undisturbed=YARD)
def no_such_name(trial: Trial) -> None:
    begin(trial, "rtsp://camera.invalid/cam", delivers=False)
    trial.detected(*LOST)
    never_comes(trial, "name")


@contextmanager
def silent_name_server() -> Iterator[socket.socket]:
    """A name server on a loopback address of its own that takes questions and never answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        try:
            server.bind(("127.0.0.78", 53))
        except OSError as error:
            raise Unable("needs the right to be a name server, on port 53") from error
        server.settimeout(30.0)
        yield server


def asking(folder: Path, address: str) -> tuple[str, ...]:
    """A command that has what follows it ask the name server at `address`, and wait long for it."""
    (folder / "resolv.conf").write_text(f"nameserver {address}\noptions timeout:20 attempts:2\n")
    unshare = shutil.which("unshare")
    script = f'mount --bind {folder}/resolv.conf /etc/resolv.conf && exec "$@"'
    prefix = (unshare or "unshare", "--mount", "sh", "-c", script, "sh")
    if not unshare or subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode:
        raise Unable("needs a mount namespace of its own")
    return (*prefix, "env", "RES_OPTIONS=timeout:20")


@camera("its name server never answers", undisturbed=YARD, slow=True)
def mute_name_server(trial: Trial) -> None:
    server = trial.enter(silent_name_server())
    prefix = asking(trial.folder, server.getsockname()[0])
    gate = f'source = "rtsp://camera.example/cam"\n{QUICK}'
    trial.start({"yard": SYNTHETIC, "gate": gate}, others=["gate"], prefix=prefix)
    trial.from_start()
    trial.baseline()
    trial.check(b"camera" in server.recv(512), "the name server was not asked")
    trial.detected(*LOST)
    trial.detected("camera_stuck")
    wait_for(lambda: trial.health_says("camera_stuck", "do not return", "reconnect"), what="health says what to do")
    daemon = psutil.Process(trial.node.process.pid)
    threads = daemon.num_threads()
    trial.watch(3.0)
    trial.check(daemon.num_threads() <= threads, f"{threads} threads, 3 s later {daemon.num_threads()}")
    trial.ends, trial.open_ends = "degraded", frozenset({"camera_lost"})


@camera("a web page instead of a picture", undisturbed=YARD)
def web_page(trial: Trial) -> None:
    server = trial.enter(MjpegCamera())
    server.page = True
    begin(trial, server.url, delivers=False)
    trial.detected(*LOST)
    trial.baseline()
    comes(trial)

    def show() -> None:
        server.page = False

    trial.mend(show)
    trial.recovered("gate")


@camera("silent after connect, then it answers", undisturbed=YARD)
def silent_at_first(trial: Trial) -> None:
    relay = behind(trial, serve(trial).port, Mode.SILENT)
    begin(trial, f"rtsp://127.0.0.1:{relay.port}/cam", delivers=False)
    trial.detected(*LOST)
    trial.baseline()
    comes(trial)
    trial.mend(lambda: relay.set(Mode.FORWARD, cut=True))
    trial.recovered("gate")


@camera("silent in mid-stream (SIGSTOP), then it goes on", undisturbed=YARD)
def silent_later(trial: Trial) -> None:
    server = serve(trial)
    begin(trial, server.url(), delivers=True)
    trial.inject(server.freeze)
    trial.detected(*LOST)
    trial.watch(0.5)
    trial.mend(server.thaw)
    trial.recovered("gate")


@camera("its network is cut in mid-stream, no packet comes", undisturbed=YARD)
def cut_off(trial: Trial) -> None:
    relay = behind(trial, serve(trial).port)
    begin(trial, f"rtsp://127.0.0.1:{relay.port}/cam", delivers=True)
    trial.inject(lambda: relay.set(Mode.DEAF))
    trial.detected(*LOST)
    trial.mend(lambda: relay.set(Mode.FORWARD, cut=True))
    trial.recovered("gate")


@camera("server gone, and back", short=True, undisturbed=YARD)
def gone(trial: Trial) -> None:
    server = serve(trial)
    relay = behind(trial, server.port)
    begin(trial, f"rtsp://127.0.0.1:{relay.port}/cam", delivers=True)
    trial.inject(server.kill)
    trial.detected(*LOST)
    trial.watch(1.0)
    successor = serve(trial)
    trial.mend(lambda: relay.lead_to(successor.port))
    trial.recovered("gate")


@camera("the same picture for 2 s, then others", undisturbed=YARD)
def frozen(trial: Trial) -> None:
    server = trial.enter(MjpegCamera())
    begin(trial, server.url, delivers=True, more="frozen_after = 1.0\n")

    def freeze(*, still: bool = True) -> None:
        server.still = still

    trial.inject(freeze)
    trial.detected("camera_frozen", "camera_lost")
    trial.mend(lambda: freeze(still=False))
    trial.recovered("gate")
    trial.over("camera_frozen", "camera_lost")


@camera("a stream full of errors for 3 s", undisturbed=YARD)
def corrupt(trial: Trial) -> None:
    relay = behind(trial, serve(trial).port)
    begin(trial, f"rtsp://127.0.0.1:{relay.port}/cam", delivers=True)
    trial.inject(lambda: relay.set(Mode.CORRUPT))
    trial.detected(*LOST, "camera_corrupt", "camera_stale")
    trial.watch(2.0)
    trial.mend(lambda: relay.set(Mode.FORWARD, cut=True))
    trial.recovered("gate")
    trial.over(*LOST, "camera_corrupt", "camera_stale")


class Stream:
    """The access units of clips, over and over, `frames` of each in turn; `ahead` is added to their time stamps."""

    TICKS = 90_000 // 25

    def __init__(self, *clips: Path, frames: int) -> None:
        self.ahead = 0
        self._clips = [access_units(clip)[:frames] for clip in clips]

    def __iter__(self) -> Iterator[Unit]:
        units = itertools.cycle(unit for clip in self._clips for unit in clip)
        return ((unit, number * self.TICKS + self.ahead) for number, unit in enumerate(units))


def not_lost(trial: Trial) -> None:
    """`gate` was not offline, nor did health say anything of a camera, since the fault began."""
    words = trial.statuses_since("gate")
    trial.check("offline" not in words, f"its status was {words}")
    told = {code for code in trial.told_since() if code.startswith("camera")}
    trial.check(not told, f"health said {told}")
    trial.findings.said = "nothing: there is nothing to say"


@camera("its time stamps jump, an hour ahead and further back", undisturbed=(*YARD, "gate"))
def jumping(trial: Trial) -> None:
    stream = Stream(trial.clips("25"), frames=50)
    begin(trial, trial.enter(RtspCamera(stream)).url, delivers=True)

    def jump() -> None:
        for seconds in (3600, -5000, 5):
            stream.ahead += seconds * 90_000
            trial.watch(1.0)

    trial.inject(jump)
    not_lost(trial)


@camera("another resolution in mid-stream, over RTSP", undisturbed=YARD)
def other_size_rtsp(trial: Trial) -> None:
    stream = Stream(trial.clips("25"), trial.clips("25@320x240"), frames=25)
    begin(trial, trial.enter(RtspCamera(stream)).url, delivers=True)

    def sizes() -> set[tuple[int, int]]:
        return {(message.document["w"], message.document["h"]) for message in trial.frames("gate")}

    trial.inject(lambda: wait_for(lambda: len(sizes()) > 1, what="results in both resolutions"))
    trial.check((320, 240) in sizes(), f"the sizes were {sizes()}")
    not_lost(trial)


@camera("another resolution in mid-stream", undisturbed=YARD)
def other_size(trial: Trial) -> None:
    server = trial.enter(MjpegCamera())
    begin(trial, server.url, delivers=True)

    def grow() -> None:
        server.size = (320, 240)
        trial.watch(1.0)
        server.size = (80, 64)
        trial.watch(1.0)

    trial.inject(grow)

    def sizes() -> set[tuple[int, int]]:
        return {(message.document["w"], message.document["h"]) for message in trial.frames("gate")}

    wait_for(lambda: {(160, 120), (320, 240), (80, 64)} <= sizes(), what="results in every resolution")
    not_lost(trial)


def steady(clip: str, seconds: float, least: int) -> Callable[[Trial], None]:
    """A camera of an unusual rate is well: never offline, stale or behind, and its results are young."""

    def play(trial: Trial) -> None:
        begin(trial, serve(trial, clip).url(), delivers=True, quick=SLOW)
        trial.inject(lambda: trial.watch(seconds))
        not_lost(trial)
        trial.check(len(trial.frames("gate")) >= least, f"only {len(trial.frames('gate'))} results")

    return play


camera("1 FPS", undisturbed=YARD)(steady("1", 6.0, 4))
camera("120 FPS", undisturbed=YARD)(steady("120", 4.0, 60))


@camera("sleeps and wakes twice, as battery cameras do", undisturbed=YARD)
def sleeping(trial: Trial) -> None:
    relay = behind(trial, serve(trial).port)
    begin(trial, f"rtsp://127.0.0.1:{relay.port}/cam", delivers=True, more="sleeps = true\n")
    for turn in (trial.inject, lambda action: action()):
        turn(lambda: relay.set(Mode.REFUSE, cut=True))
        wait_for(lambda: trial.status("gate") == "offline", what="it sleeps")
        woken = time.monotonic()
        relay.set(Mode.FORWARD)
        first = wait_for(lambda since=woken: trial.frames("gate", since), what="it is awake")[0]
        trial.findings.recovered = first.at - woken
    told = {code for code in trial.told_since() if code.startswith("camera")}
    trial.check(not told, f"health said {told}")
    trial.check(not trial.events("camera_lost", "gate"), "its sleep was told as a loss")
    trial.findings.said = "nothing: offline, and no fault"


LIVE = tuple(f"live{number}" for number in range(5))
DEAD = 45


@camera(f"{DEAD} of {DEAD + len(LIVE)} are dead", undisturbed=LIVE, slow=True)
def many_dead(trial: Trial) -> None:
    mute = behind(trial, 0, Mode.SILENT)
    nobody = behind(trial, 0, Mode.REFUSE)
    page = trial.enter(MjpegCamera())
    page.page = True
    sources = (f"rtsp://127.0.0.1:{mute.port}/cam", f"rtsp://127.0.0.1:{nobody.port}/cam", page.url)
    turns = itertools.islice(itertools.cycle(sources), DEAD)
    dead = {f"dead{number:02}": f'source = "{source}"\n{PATIENT}' for number, source in enumerate(turns)}
    live = dict.fromkeys(LIVE, SYNTHETIC.replace("fps=20", "fps=5"))
    trial.start({**live, **dead}, others=list(dead))
    trial.from_start()
    trial.detected(*LOST)
    wait_for(lambda: all(trial.status(name) == "offline" for name in dead), what="all of them are told")
    daemon = psutil.Process(trial.node.process.pid)
    trial.baseline()
    before, threads = sum(daemon.cpu_times()[:2]), daemon.num_threads()
    trial.watch(3.0)
    used = (sum(daemon.cpu_times()[:2]) - before) / 3.0
    trial.check(daemon.num_threads() <= threads + 5, f"{threads} threads, 3 s later {daemon.num_threads()}")
    trial.check(threads < 3 * (DEAD + len(LIVE)) + 15, f"{threads} threads for {DEAD + len(LIVE)} cameras")
    trial.check(used < 0.8, f"{100 * used:.0f} % of a core with {DEAD} dead cameras")
    trial.ends, trial.open_ends = "degraded", frozenset({"camera_lost"})
    trial.findings.notes.append(f"{threads} threads, {100 * used:.0f} % of a core")
