"""The fault matrix as a program: which rows it has, and how it judges and prints what they came to."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import faults
from tests.benchmarks.faultlib.findings import Findings, Unable
from tests.benchmarks.faultlib.row import Row
from tests.benchmarks.faultlib.trial import Trial

ROW = Row("it breaks", "device", lambda trial: None, recover=1.5)


def judged(*found: Findings, bounds: bool = True) -> faults.Verdict:
    """The verdict when each attempt in turn finds this."""
    attempts = iter(found)
    return faults.judge(ROW, lambda _row: next(attempts), bounds=bounds)


def late() -> Findings:
    return Findings(
        detected=0.01, recovered=2.0, said="device_lost: gone", missed=["recovered after 2.00 s, not 1.5 s"]
    )


def test_there_are_rows_for_everything() -> None:
    """Every subject has its rows, each with a name of its own; a dozen or so stand for all."""
    assert len(faults.ROWS) >= 80
    assert len({(row.about, row.name) for row in faults.ROWS}) == len(faults.ROWS)
    about = Counter(row.about for row in faults.ROWS)
    assert set(about) == {"device", "camera", "broker", "daemon", "lend"}
    short = [row for row in faults.ROWS if row.short]
    assert 12 <= len(short) <= 15
    assert {row.about for row in short} == set(about)


def test_rows_are_chosen_by_words(capsys: pytest.CaptureFixture[str]) -> None:
    """`--only` takes rows that have every given word in their name, `--list` names them."""
    assert faults.main(["--list", "--only", "camera:", "--only", "PASSWORD"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert listed[0].strip() == "camera: wrong password, then it is the right one"
    assert listed[1].startswith("1 rows")


def test_a_figure_over_its_bound_is_measured_twice() -> None:
    """Once may be the machine's fault, twice is the product's; and the table says that it was measured twice."""
    lucky = judged(late(), Findings(recovered=1.0))
    assert (lucky.passed, lucky.attempts) == (True, 2)
    assert "measured twice" in "\n".join(faults.lines(lucky))
    slow = judged(late(), late())
    assert not slow.passed
    assert "! recovered after 2.00 s, not 1.5 s" in "\n".join(faults.lines(slow))


def test_what_is_wrong_is_not_tried_again() -> None:
    """Only figures get another chance: a lie or a leak is one, whatever the machine does."""
    verdict = judged(Findings(problems=["books"], missed=["slow"]))
    assert (verdict.passed, verdict.attempts) == (False, 1)


def test_bounds_may_be_left_to_the_reader() -> None:
    """Without bounds a late recovery passes, and is told all the same."""
    verdict = judged(late(), bounds=False)
    assert (verdict.passed, verdict.attempts) == (True, 1)
    assert "not judged here: recovered after 2.00 s" in "\n".join(faults.lines(verdict))


def test_a_row_that_cannot_go_on_has_failed() -> None:
    """What a row waits for in vain is what the table says of it."""

    def play(_trial: Trial) -> None:
        raise AssertionError("not within 10 s: word of device_lost")

    found = faults.attempt(Row("nothing is told", "device", play), faults.Shelf(Path("/nonexistent")))
    assert found.problems == ["not within 10 s: word of device_lost"]


def test_what_cannot_be_played_here_is_said_aloud() -> None:
    """Without the rights that it needs a row neither passes nor fails, and says what it lacks."""

    def play(_trial: Trial) -> None:
        raise Unable("needs the right to mount a file system")

    found = faults.attempt(Row("disk full", "daemon", play), faults.Shelf(Path("/nonexistent")))
    verdict = judged(found)
    assert (verdict.result, found.problems) == ("SKIP", [])
    assert faults.lines(verdict)[1].strip() == "NOT PLAYED HERE: needs the right to mount a file system"


def test_the_summary_has_the_worst_figure_of_each_promise() -> None:
    """What was promised stands below the table, with the worst of all rows that measured it, or a dash."""

    def verdict(target: str, **found: Any) -> faults.Verdict:
        return faults.Verdict(Row(target, "device", lambda trial: None, target=target), Findings(**found), 1, 5.0)

    told = faults.targets(
        [
            verdict("crash", recovered=0.8, heard=100),
            verdict("crash", recovered=1.2, heard=100, others_lost=0),
            verdict("hang", detected=1.1, recovered=9.9, heard=100, others_lost=3, empty=1),
            verdict("", detected=7.0, recovered=7.0),
        ]
    )
    assert [re.split(r" {2,}", line.strip()) for line in told] == [
        ["host crash to next detection", "1.20 s", "(promised: 1.5 s)"],
        ["hang found, after stall_timeout", "0.10 s", "(promised: 0.5 s)"],
        ["completion error to next detection", "-", "(promised: 0.5 s)"],
        ["frames that other cameras lost", "3 in 2 rows", "(promised: 0)"],
        ['false "no objects"', "1 in 300 messages read", "(promised: 0)"],
    ]


def test_the_table_and_the_document_say_the_same() -> None:
    """One line a row for people, and all of it as JSON for machines."""
    verdict = judged(
        Findings(detected=0.012, recovered=1.21, frames_lost=48, streams_dropped=3, said="device_lost: x", seconds=8.0)
    )
    (line,) = faults.lines(verdict)
    assert " ".join(line.split()) == "device: it breaks 0.01 s 1.21 s 48 0+3 8 s device_lost: x pass"
    (row,) = json.loads(json.dumps(faults.document([verdict])))
    assert (row["passed"], row["frames_lost"], row["bounds"]) == (True, 48, {"detect": None, "recover": 1.5})
