"""Questions that `hailod check` asks of the system: each answered by one `Result`, none able to hold up the others."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from hailod.clock import Clock
from hailod.errors import HailodError

MAX_PARALLEL = 8


class Status(StrEnum):
    """How a check ended; only `FAIL` makes the whole fail."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Result:
    """The answer for people: what is so, and for anything but `ok` what to do. No text holds a credential."""

    status: Status
    subject: str
    text: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """`run` answers within `timeout` seconds, or is given up."""

    subject: str
    run: Callable[[], Result]
    timeout: float = 15.0


def run_checks(checks: Sequence[Check], clock: Clock, *, parallel: int = MAX_PARALLEL) -> Iterator[Result]:
    """Run them side by side, at most `parallel` at a time, and yield the results in the order of `checks`.

    A check that raises has failed. One that is overdue has failed too, and its daemon thread is left behind: what it
    waits for (name look-ups, drivers) cannot be interrupted.
    """
    answers: queue.SimpleQueue[tuple[int, Result]] = queue.SimpleQueue()
    results: dict[int, Result] = {}
    running: dict[int, tuple[threading.Thread, float]] = {}
    started = told = 0
    while told < len(checks):
        while started < len(checks) and len(running) < parallel:
            thread = threading.Thread(
                target=_answer, args=(started, checks[started], answers), name=f"check-{started}", daemon=True
            )
            running[started] = thread, clock.monotonic() + checks[started].timeout
            thread.start()
            started += 1
        first = min(running, key=lambda index: running[index][1])
        try:
            index, result = answers.get(timeout=max(0.0, running[first][1] - clock.monotonic()))
        except queue.Empty:
            del running[first]
            overdue = checks[first]
            results[first] = Result(Status.FAIL, overdue.subject, f"no answer within {overdue.timeout:g} s")
        else:
            # One that was given up may still answer; too late.
            if index in running:
                running.pop(index)[0].join()
                results[index] = result
        while told in results:
            yield results[told]
            told += 1


def _answer(index: int, check: Check, answers: queue.SimpleQueue[tuple[int, Result]]) -> None:
    try:
        result = check.run()
    except HailodError as error:
        result = Result(Status.FAIL, check.subject, str(error))
    except Exception as error:  # noqa: BLE001 -- a thread ends here; the type says enough, a foreign text may hold a URL
        result = Result(Status.FAIL, check.subject, f"the check itself failed with {type(error).__name__}")
    answers.put((index, result))
