"""Who holds the device: a made-up /proc for every case, and a real child for the real one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hailod.checks import Status
from hailod.cli.device_check import DeviceTrial, check_device
from hailod.clock import FakeClock, SystemClock
from hailod.config.model import DeviceSettings, SimulatedSettings
from hailod.device import holders
from hailod.device.holders import Holder, HolderLookup, Survey, describe_holders, find_holders

REAL = DeviceSettings()
IN_USE = 73
HIDDEN = "not visible to this user: sudo fuser -v /dev/hailo0"


class Proc:
    """A /proc with processes that have these files open."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def add(self, pid: int, name: str, *links: str, arguments: str = "") -> Path:
        process = self.root / str(pid)
        (process / "fd").mkdir(parents=True)
        (process / "comm").write_text(f"{name}\n")
        (process / "cmdline").write_bytes(arguments.encode().replace(b" ", b"\0"))
        for number, link in enumerate(links):
            (process / "fd" / str(number)).symlink_to(link)
        return process

    def find(self, device: DeviceSettings = REAL, **more: int) -> Survey:
        return find_holders(device, SystemClock(), proc=self.root, **more)


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    proc = Proc(tmp_path)
    proc.add(1, "systemd", "/dev/null")
    proc.add(7, "kworker")
    (tmp_path / "uptime").write_text("1 1")
    return proc


@pytest.mark.parametrize("device", ["/dev/hailo0", "/dev/hailo1", "/dev/h1x-0"])
def test_holder_is_found_by_its_open_file(proc: Proc, device: str) -> None:
    """Whoever has the device file open is told with number and name, and nobody else."""
    proc.add(4242, "python3", "/dev/null", device, arguments="python3 --token geheim")
    proc.add(4243, "vlc", "/home/pi/hailo0.mp4", "socket:[17]")
    survey = proc.find()
    assert survey == Survey((Holder(4242, "python3"),))
    assert describe_holders(survey) == "held by python3 (pid 4242)"


def test_own_device_host_is_no_stranger(proc: Proc) -> None:
    """A daemon does not accuse its own device host; that of another one goes by hailod's name, not python's."""
    proc.add(50, "python3", "/dev/hailo0", arguments="python3 -m hailod.device.host 3 4 1")
    assert proc.find(own=50) == Survey()
    assert describe_holders(proc.find()) == "held by hailod (pid 50)"


def test_process_that_may_not_be_looked_into_is_said(proc: Proc, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where another user's processes stay hidden nobody is said to be the holder, but how to see it."""
    proc.add(60, "frigate", "/dev/hailo0")
    listdir = os.listdir

    def guarded(path: str | Path) -> list[str]:
        # root, as whom the tests may run, may look into everything.
        if "/60/" in str(path):
            raise PermissionError(13, "Permission denied")
        return listdir(path)

    monkeypatch.setattr("hailod.device.holders.os.listdir", guarded)
    survey = proc.find()
    assert survey == Survey(hidden=True)
    assert HIDDEN in describe_holders(survey)


def test_nobody_holds_it(proc: Proc) -> None:
    """When all could be seen and nobody has it, nothing is said."""
    assert describe_holders(proc.find()) == ""


def test_process_that_ends_meanwhile_is_passed_over(proc: Proc) -> None:
    """What is gone before it was looked at is no trouble."""
    (proc.root / "99").mkdir()
    gone = proc.add(98, "python3", "/dev/hailo0")
    (gone / "comm").unlink()
    assert describe_holders(proc.find()) == "held by a program (pid 98)"


def test_name_is_made_printable(proc: Proc) -> None:
    """A process may call itself anything; what cannot be printed is left out."""
    proc.add(70, "evil\x1b[2J", "/dev/hailo0")
    assert describe_holders(proc.find()) == "held by evil[2J (pid 70)"


def test_many_holders_are_counted(proc: Proc) -> None:
    """A device that many share is told by the first three of them and the number of the others."""
    for pid in range(100, 105):
        proc.add(pid, f"p{pid}", "/dev/hailo0")
    assert describe_holders(proc.find()) == "held by p100 (pid 100), p101 (pid 101), p102 (pid 102) and 2 more"


class Hurried(FakeClock):
    """A clock on which every look at a process takes 9 ms."""

    def monotonic(self) -> float:
        self.advance(0.009)
        return super().monotonic()


def test_search_has_its_time_and_goes_on_later(proc: Proc) -> None:
    """A search never holds up its caller for long; what it did not get to is looked at the next time."""
    for pid in range(100, 110):
        proc.add(pid, "idle")
    proc.add(20, "python3", "/dev/hailo0")
    clock = Hurried()
    first = find_holders(REAL, clock, proc=proc.root)
    assert first == Survey(rest=108)
    assert HIDDEN in describe_holders(first)
    lookup = HolderLookup(REAL, clock, proc=proc.root)
    said = []
    for _ in range(6):
        said.append(lookup.describe(IN_USE))
        clock.advance(holders.KEEP_S)
    assert HIDDEN in said[0]
    assert "held by python3 (pid 20)" in said


def test_search_is_bounded_in_processes(proc: Proc, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many processes there are, so many are looked at and no more."""
    monkeypatch.setattr("hailod.device.holders.MAX_PROCESSES", 1)
    assert proc.find() == Survey(rest=2)


def test_what_was_found_is_kept_for_a_while(proc: Proc) -> None:
    """A device that is tried again and again is not searched for each time."""
    clock = FakeClock()
    lookup = HolderLookup(REAL, clock, proc=proc.root)
    process = proc.add(80, "python3", "/dev/hailo0")
    assert lookup.describe(IN_USE) == "held by python3 (pid 80)"
    (process / "fd" / "0").unlink()
    clock.advance(holders.KEEP_S - 0.1)
    assert lookup.describe(IN_USE) == "held by python3 (pid 80)"
    clock.advance(0.2)
    assert lookup.describe(IN_USE) == ""


@pytest.mark.parametrize(("status", "asked"), [(73, True), (74, True), (64, False), (None, False)])
def test_holder_is_looked_for_where_there_may_be_one(proc: Proc, status: int | None, asked: bool) -> None:
    """Only a device that is in use, or of which none is left, can be held by somebody."""
    proc.add(80, "python3", "/dev/hailo0")
    assert bool(HolderLookup(REAL, FakeClock(), proc=proc.root).describe(status)) is asked


@pytest.mark.parametrize(("status", "said"), [(73, True), (74, False)])
def test_hidden_holder_is_no_excuse_for_a_missing_device(
    proc: Proc, monkeypatch: pytest.MonkeyPatch, status: int, said: bool
) -> None:
    """A device that is in use has a holder, if only a hidden one; of one that may be missing nothing is said."""
    monkeypatch.setattr("hailod.device.holders.MAX_PROCESSES", 1)
    assert (HIDDEN in HolderLookup(REAL, FakeClock(), proc=proc.root).describe(status)) is said


HOLD = """
import sys, time
from hailod import simulator
simulator.install(simulator.SimulatorOptions(serial=sys.argv[1]))
from hailo_platform import VDevice
with VDevice():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def child() -> Iterator[Callable[[str, str], int]]:
    """Starts a program that says `held` when it holds something, and holds it until the test is over."""
    running: list[subprocess.Popen[str]] = []

    def start(program: str, argument: str) -> int:
        process = subprocess.Popen(
            [sys.executable, "-c", program, argument], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        running.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process.pid

    yield start
    for process in running:
        process.communicate("")


def test_real_process_that_holds_a_real_file(
    child: Callable[[str, str], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A running program that has the device open is found among all processes of this machine."""
    device = tmp_path / "hailo0"
    device.touch()
    monkeypatch.setattr("hailod.device.holders._DEVICE_FILES", (str(device),))
    monkeypatch.setattr("hailod.device.holders.BUDGET_S", 10.0)
    pid = child("import sys\nf = open(sys.argv[1])\nprint('held', flush=True)\nsys.stdin.read()", str(device))
    name = Path(f"/proc/{pid}/comm").read_text().strip()
    assert find_holders(REAL, SystemClock()).holders == (Holder(pid, name),)
    assert find_holders(REAL, SystemClock(), own=pid).holders == ()


def test_holder_of_the_simulated_device_is_found(
    child: Callable[[str, str], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that has opened the simulated chip is found by the name that it owns, one of another chip is not."""
    monkeypatch.setattr("hailod.device.holders.BUDGET_S", 10.0)
    serial = f"holders-{os.getpid()}"
    device = DeviceSettings(backend="simulated", simulated=SimulatedSettings(serial=serial))
    other = DeviceSettings(backend="simulated", simulated=SimulatedSettings(serial=f"{serial}-2"))
    assert find_holders(device, SystemClock()) == Survey()
    pid = child(HOLD, serial)
    assert [holder.pid for holder in find_holders(device, SystemClock()).holders] == [pid]
    assert find_holders(other, SystemClock()) == Survey()


def test_check_names_who_holds_the_device(child: Callable[[str, str], int], monkeypatch: pytest.MonkeyPatch) -> None:
    """`hailod check` on a device that another program uses says which program that is."""
    monkeypatch.setattr("hailod.device.holders.BUDGET_S", 10.0)
    serial = f"check-{os.getpid()}"
    device = DeviceSettings(backend="simulated", simulated=SimulatedSettings(serial=serial))
    pid = child(HOLD, serial)
    result = check_device(device, DeviceTrial(device, {}, SystemClock()))
    assert result.status is Status.FAIL
    assert f"(pid {pid})" in result.text
