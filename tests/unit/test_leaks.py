"""The leak guard finds what it is there to find, and nothing else."""

from __future__ import annotations

import _thread
import gc
import mmap
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.support import leaks
from tests.support.waiting import wait_for

SLEEPER = [sys.executable, "-S", "-c", "import time; print(flush=True); time.sleep(60)"]


@pytest.fixture
def before() -> leaks.Census:
    return leaks.census()


@pytest.fixture
def sleeper(before: leaks.Census) -> Iterator[subprocess.Popen[bytes]]:
    """A child process that does nothing for a minute."""
    with subprocess.Popen(SLEEPER, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        yield child
        child.kill()


def found(before: leaks.Census) -> leaks.Census:
    return leaks.leftovers(before, settle=0)


def test_clean_test_passes(before: leaks.Census) -> None:
    """A test that closes what it opens has left nothing."""
    with open(os.devnull, "rb"):
        subprocess.run(["true"], check=True)
    assert not found(before)


def test_running_child_is_found(before: leaks.Census, sleeper: subprocess.Popen[bytes]) -> None:
    """A child that still runs is named with its command line."""
    left = found(before)
    assert {process.pid for process in left.processes} == {sleeper.pid}
    assert f"process {sleeper.pid}: {sys.executable}" in str(left)


def test_zombie_is_found(before: leaks.Census, sleeper: subprocess.Popen[bytes]) -> None:
    """A child that ended and was never waited for is found."""
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert f"process {sleeper.pid}: zombie" in str(found(before))


def test_orphaned_grandchild_is_found_and_ended(before: leaks.Census) -> None:
    """A grandchild whose parent is dead comes to the test process, which finds it and ends it."""
    script = f"import subprocess as s; print(s.Popen({SLEEPER!r}, stdout=s.DEVNULL).pid)"
    parent = subprocess.run([sys.executable, "-S", "-c", script], stdout=subprocess.PIPE, check=True)
    grandchild = int(parent.stdout)
    left = found(before)
    assert [process.pid for process in left.processes] == [grandchild]

    leaks.end_processes(left.processes)
    assert not found(before).processes


def test_family_is_ended(before: leaks.Census) -> None:
    """Ending a leftover child ends its children too, though they become ours only by its death."""
    script = f"import subprocess, time; subprocess.Popen({SLEEPER!r}); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-S", "-c", script], stdout=subprocess.PIPE) as child:
        wait_for(lambda: len(found(before).processes) == 2, what="a child and its child run")
        leaks.end_processes(found(before).processes)
        child.returncode = -signal.SIGKILL  # reaped here and not by Popen
    assert not found(before).processes


def test_descriptor_is_found(before: leaks.Census) -> None:
    """An open file is named with its path."""
    with open(os.devnull, "rb") as file:
        assert str(found(before)) == f"file descriptor {file.fileno()}: {os.devnull}"


def test_memfd_is_found(before: leaks.Census) -> None:
    """A memfd is found by its descriptor."""
    memfd = os.memfd_create("slots")
    try:
        assert "/memfd:slots (deleted)" in str(found(before))
    finally:
        os.close(memfd)


def test_mapping_without_descriptor_is_found(before: leaks.Census) -> None:
    """A shared mapping is found although its descriptor was closed."""
    memfd = os.memfd_create("slots")
    os.truncate(memfd, mmap.PAGESIZE)
    with mmap.mmap(memfd, mmap.PAGESIZE) as mapping:
        os.close(memfd)
        mapping.write(b"touched")
        left = {target for target in found(before).mappings if target.startswith("/memfd:slots")}
        assert len(left) == 1


def test_thread_is_found(before: leaks.Census) -> None:
    """A thread that still runs is found and named."""
    end = threading.Event()
    thread = threading.Thread(target=end.wait, name="forgotten")
    thread.start()
    try:
        assert str(found(before)) == f"thread {thread.native_id}: forgotten"
    finally:
        end.set()
        thread.join()


def test_thread_unknown_to_threading_is_found(before: leaks.Census) -> None:
    """A thread that Python's threading module does not know, such as a native one, is found."""
    end = threading.Lock()
    end.acquire()
    _thread.start_new_thread(end.acquire, ())
    try:
        assert wait_for(lambda: "not of the threading module" in str(found(before)), what="the thread runs")
    finally:
        end.release()


def test_what_ends_by_itself_is_waited_for(before: leaks.Census) -> None:
    """A child and a thread that are about to end are no leaks."""
    child = subprocess.Popen(["sleep", "0.1"])
    reaper = threading.Thread(target=child.wait)
    reaper.start()
    assert found(before)
    assert not leaks.leftovers(before)
    reaper.join()


def test_garbage_is_no_leak(before: leaks.Census) -> None:
    """A descriptor that only a reference cycle still holds is collected first."""
    gc.disable()
    try:
        memfd = os.memfd_create("garbage")
        mapping: list[object] = [os.fdopen(memfd, "rb", closefd=False)]
        mapping.append(mapping)
        del mapping
        os.close(memfd)
        assert not found(before)
    finally:
        gc.enable()


def test_guard_fails_the_test_that_leaks_and_spares_the_next(tmp_path: Path) -> None:
    """Each test that leaks fails by name; the next one starts clean."""
    (tmp_path / "conftest.py").write_text(
        "from tests.conftest import *\nfrom tests.conftest import _leaves_nothing_behind\n"
    )
    (tmp_path / "test_leaky.py").write_text(
        textwrap.dedent(
            f"""
            import os, subprocess
            from tests.support import leaks
            leaks.SETTLE = leaks.leftovers.__kwdefaults__["settle"] = 0.05

            kept = []

            def test_child():
                kept.append(subprocess.Popen({SLEEPER!r}, stdout=subprocess.DEVNULL))

            def test_descriptor():
                kept.append(os.open(os.devnull, os.O_RDONLY))

            def test_clean():
                kept[0].wait(0)
            """
        )
    )
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, tmp_path],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "3 passed, 2 errors" in run.stdout, run.stdout + run.stderr
    assert "ERROR at teardown of test_child" in run.stdout
    assert "ERROR at teardown of test_descriptor" in run.stdout
