"""What every test has: no leak goes unnoticed, no library starts threads of its own, and time limits are the same."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

# Libraries read these when they are loaded, so they come before every other import. Pools of native threads are off, so
# that any thread a test leaves is the product's; ONNX Runtime (1.29 and later) is not to write or send telemetry.
os.environ.update(OPENBLAS_NUM_THREADS="1", OPENCV_FOR_THREADS_NUM="1", ORT_DISABLE_TELEMETRY="1")

import hypothesis
import pytest

from tests.support import leaks
from tests.support.compiled import keep_compiled

REPOSITORY = Path(__file__).resolve().parent.parent

hypothesis.settings.register_profile("local", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")


def pytest_configure() -> None:
    leaks.become_reaper()
    keep_compiled()


@pytest.fixture(autouse=True)
def _leaves_nothing_behind() -> Iterator[None]:
    """Fail the test that leaves a process, file descriptor, shared mapping or thread; kill the processes.

    It is the first fixture of a test to be set up and so the last to be torn down. Fixtures of a wider scope come
    before it, and what they hold is theirs.
    """
    before = leaks.census()
    yield
    if left := leaks.leftovers(before):
        report = f"the test left behind\n{left}"
        leaks.end_processes(left.processes)
        pytest.fail(report, pytrace=False)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder `shared` beside the repository, with clips, models and reference results; skips where it is absent."""
    folder = REPOSITORY.parent / "shared"
    if not folder.is_dir():
        pytest.skip("the folder 'shared' with clips, models and reference results is not beside the repository")
    return folder


@pytest.fixture
def free_port() -> int:
    """A TCP port of the loopback address on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
