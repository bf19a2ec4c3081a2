"""The judge of the fault matrix: what it must let pass, and what it must not."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.benchmarks.faultlib.checker import Checker, Message, leaked, retained_problems

BASE = "hailod/n"
BOTH = {"person": 1, "car": 1}
NOW = 1_795_289_112.0

Told = tuple[str, object]


def info(instance: str = "a1") -> Told:
    return "info", {"v": 1, "instance": instance}


def state(stale: float | None = None, **objects: int) -> Told:
    return "cam/front/state", {"v": 1, "ts": NOW, "stale": stale, "objects": {"person": 0, "car": 0} | objects}


def found(frame: int, *labels: str, ts: float | None = None, latency_ms: float = 12.0, model: str = "two") -> Told:
    dets = [{"l": label, "s": 0.9, "b": [0.1, 0.2, 0.3, 0.8]} for label in labels]
    moment = NOW + frame / 20 if ts is None else ts
    return "cam/front/detections", {
        "v": 1,
        "ts": moment,
        "frame": frame,
        "model": model,
        "latency_ms": latency_ms,
        "dets": dets,
    }


def health(state: str = "ok", *reasons: Mapping[str, object], **changed: object) -> Told:
    books = {"offered": 10, "done": 7, "failed": 1, "superseded": 1, "in_flight": 1}
    frames = {
        "balanced": True,
        "cameras": {"front": {"captured": 12, "offered": 10, "skipped": {"paced": 2}}},
        "models": {"front/two": books},
    }
    return "health", {"v": 1, "state": state, "reasons": list(reasons), "frames": frames | changed}


def event(kind: str, seq: int, topic: str = "event", **more: object) -> Told:
    return topic, {"v": 1, "event_type": kind, "id": f"a1-{seq}", "seq": seq, "ts": NOW, "replayed": False, **more}


def metrics(frames: int, dropped: int = 0) -> Told:
    cameras = {"front": {"dropped_total": dropped}}
    return "metrics", {"v": 1, "frames_total": frames, "latency_ms": {"p50": None}, "cameras": cameras}


def judged(*told: Told, checker: Checker | None = None) -> list[str]:
    judge = checker or Checker(BASE, expects={"front": BOTH})
    for number, (topic, document) in enumerate(told):
        payload = document if isinstance(document, bytes) else json.dumps(document).encode()
        judge.take(Message(f"{BASE}/{topic}", payload, float(number), NOW + number))
    return judge.problems


LOST = {"code": "device_lost", "text": "device host killed by signal 9", "since": NOW, "count": 1}
RECOVERED = {"duration_s": 0.4, "rung": "new host"}
BOOKS = {"balanced": True, "captured": 120, "offered": 100, "done": 90, "expired": 8, "in_flight": 2}
SUMS = {"v": 1, "state": "ok", "reasons": [], "frames": BOOKS}


@pytest.mark.parametrize(
    "told",
    [
        pytest.param([info(), state(person=1, car=1), state(person=2, car=1)], id="counts that are and rise"),
        pytest.param([state(person=1, car=1), state(stale=NOW - 3.0, person=1, car=1)], id="kept counts, flagged"),
        pytest.param([state(stale=NOW - 3.0)], id="nothing known yet, flagged"),
        pytest.param([found(1, "person", "car"), found(7, "person", "car")], id="frames that go forward"),
        pytest.param(
            [found(5, "person", "car"), found(5, "person", "car", model="b", ts=NOW)], id="a frame for two models"
        ),
        pytest.param(
            [info(), found(9, "person", "car"), info("b2"), found(1, "person", "car", ts=NOW + 9)], id="a new process"
        ),
        pytest.param([health(), health("degraded", LOST)], id="balanced books"),
        pytest.param([("health", SUMS)], id="sums of many cameras"),
        pytest.param([event("device_lost", 1), event("device_recovered", 2, **RECOVERED)], id="events in a row"),
        pytest.param([event("model_changed", 1), event("object_new", 1, "cam/front/event")], id="a count per topic"),
        pytest.param([info(), event("device_lost", 1), info("b2"), event("device_lost", 1)], id="events of two lives"),
        pytest.param([metrics(10), metrics(10), metrics(12, 3)], id="totals that rise"),
        pytest.param([info(), metrics(10), info("b2"), metrics(0)], id="totals of a new process"),
        pytest.param([("status", b"online"), ("cam/front/status", b"disabled")], id="words"),
        pytest.param([("cam/front/state", b""), ("cam/front/status", b"")], id="a camera that was removed"),
        pytest.param([("cmd/ping", b"not json"), ("cam/front/set/threshold", b"0.5")], id="what is for the node"),
        pytest.param([("reply/ping", {"v": 1, "status": "ok"}), ("settings", {"v": 1})], id="the rest"),
    ],
)
def test_what_is_right_passes(told: list[Told]) -> None:
    """The judge has no complaint about a node that says what is so."""
    assert judged(*told) == []


@pytest.mark.parametrize(
    ("told", "complaint"),
    [
        pytest.param([state(person=1)], "0 x car, not 1; and not flagged", id="an object is missing"),
        pytest.param([state()], "0 x car, not 1; 0 x person, not 1", id="an empty scene at the start"),
        pytest.param([state(person=2, car=1), state(person=1, car=1)], "1 x person, not 2", id="fewer than before"),
        pytest.param([state(stale=NOW + 60)], "no time of the past", id="stale in the future"),
        pytest.param([state(stale=float("nan"))], "NaN is no JSON", id="NaN"),
        pytest.param([found(1)], "no objects, where there always are some", id="empty detections"),
        pytest.param([found(1, "car")], "less than 1 x person", id="a detection is missing"),
        pytest.param([found(4, "person", "car"), found(4, "person", "car")], "frame 4 after 4", id="published twice"),
        pytest.param(
            [found(4, "person", "car"), found(3, "person", "car", ts=NOW + 9)], "frame 3 after 4", id="out of order"
        ),
        pytest.param(
            [info(), found(9, "person", "car"), info("b2"), found(1, "person", "car", ts=NOW)],
            "ts",
            id="a new process with an old picture",
        ),
        pytest.param([found(1, "person", "car", latency_ms=2600.0)], "2.60 s old", id="old, published as new"),
        pytest.param([health("ok", balanced=False)], "books are not balanced", id="unbalanced"),
        pytest.param(
            [health("ok", models={"front/two": {"offered": 9, "done": 7, "in_flight": 1}})],
            "front/two: frames are unaccounted for",
            id="books that only claim to balance",
        ),
        pytest.param(
            [health("ok", cameras={"front": {"captured": 9, "offered": 7, "skipped": {}}})],
            "captured is not",
            id="captured frames that are nowhere",
        ),
        pytest.param(
            [("health", SUMS | {"frames": BOOKS | {"done": 89}})], "unaccounted for", id="sums that do not add up"
        ),
        pytest.param([health("fine")], "state 'fine'", id="a state that is none"),
        pytest.param([health("degraded")], "degraded without a reason", id="trouble without a reason"),
        pytest.param([health("degraded", LOST | {"code": "oops"})], "closed list", id="a code that is none"),
        pytest.param([health("degraded", LOST | {"text": ""})], "without a text", id="a code alone"),
        pytest.param([event("device_lost", 1), event("device_lost", 3)], "seq 3, where 2 was due", id="a gap"),
        pytest.param([event("device_lost", 1), event("device_lost", 1)], "seq 1, where 2 was due", id="told twice"),
        pytest.param([event("device_lost", 2)], "seq 2, where 1 was due", id="the first is missing"),
        pytest.param([event("device_recovered", 1)], "KeyError", id="a recovery without its duration"),
        pytest.param([event("Device lost!", 1)], "event_type", id="an event that is no word"),
        pytest.param([metrics(10), metrics(9)], "frames_total went down", id="a total that falls"),
        pytest.param([metrics(10, 4), metrics(11, 3)], "cameras.front.dropped_total", id="a total of a camera"),
        pytest.param([("status", b"dead")], "none of", id="a node's word"),
        pytest.param([("status", b"")], "none of", id="a node's status cleared"),
        pytest.param([("cam/front/status", b"on")], "none of", id="a camera's word"),
        pytest.param([("health", b"[]")], "no JSON object", id="no object"),
        pytest.param([("metrics", b'{"v":1,')], "JSONDecodeError", id="half a document"),
        pytest.param([("models", {})], "KeyError: 'v'", id="no version"),
        pytest.param([("models", {"v": 2})], "v is 2", id="another version"),
        pytest.param([("models", {"v": 1, "x": "y" * 17_000})], "bytes are more than", id="too large"),
        pytest.param([("whatever", {"v": 1})], "no topic of the interface", id="an unknown topic"),
    ],
)
def test_what_is_wrong_is_found(told: list[Told], complaint: str) -> None:
    """Each lie and each breach of the contract is named, once."""
    (problem,) = judged(*told)
    assert complaint in problem


def test_what_was_seen_once_is_expected_from_then_on() -> None:
    """Of a camera that nobody vouched for the judge expects what it has shown."""
    checker = Checker(BASE)
    assert judged(state(), state(person=1), state(stale=NOW - 1), checker=checker) == []
    assert "0 x person, not 1" in judged(state(), checker=checker)[0]


def test_messages_that_deny_an_object_are_counted() -> None:
    """How many messages told of less than there is, of how many that were read."""
    checker = Checker(BASE, expects={"front": BOTH})
    judged(state(person=1, car=1), state(car=1), found(1, "person", "car"), found(2), found(3, "car"), checker=checker)
    assert (checker.empty, checker.messages) == (3, 5)


def test_a_document_that_the_broker_does_not_take_may_be_withdrawn() -> None:
    """Empty, where the row says that documents are too large for the broker; a status never is."""
    told: list[Told] = [("health", b""), ("settings", b"")]
    assert len(judged(*told)) == 2
    assert judged(*told, checker=Checker(BASE, clears=True)) == []
    assert judged(("status", b""), checker=Checker(BASE, clears=True)) != []


def test_an_outage_is_no_excuse_for_a_new_process() -> None:
    """What a camera shows is the same for the daemon's next life: an empty scene at its start is a lie."""
    problems = judged(info(), state(person=1, car=1), info("b2"), state(car=1))
    assert len(problems) == 1
    assert "0 x person" in problems[0]


def test_what_began_must_end() -> None:
    """A loss that was told wants a recovery that is told; which may stay open is the caller's to say."""
    checker = Checker(BASE)
    judged(event("device_lost", 1), event("camera_lost", 1, "cam/front/event", camera="front"), checker=checker)
    assert len(checker.unfinished()) == 2
    judged(event("device_recovered", 2, **RECOVERED), checker=checker)
    assert checker.unfinished(frozenset({"camera_lost"})) == []
    judged(event("camera_recovered", 2, "cam/front/event", camera="front"), checker=checker)
    assert checker.unfinished() == []


def test_secrets_are_looked_for_everywhere() -> None:
    """A password is found on any topic, and in the log; no complaint repeats it."""
    checker = Checker(BASE, secrets=["geheim"])
    checker.take(Message("homeassistant/device/x/config", b'{"url":"rtsp://u:geheim@host"}'))
    problems = checker.problems + leaked(["all well", "cannot open rtsp://u:geheim@host"], ["geheim"])
    assert problems == ["homeassistant/device/x/config: holds a secret", "line 2 of the log holds a secret"]


def test_complaints_are_bounded() -> None:
    """A node that lies without end does not fill the judge's memory."""
    assert len(judged(*[("status", b"dead")] * 500)) == 50


def retained(**changed: object) -> dict[str, bytes]:
    documents: dict[str, Any] = {
        "info": {"v": 1},
        "models": {"v": 1},
        "settings": {"v": 1},
        "health": {"state": "ok"},
        "status": "online",
        "cam/front/status": "online",
        "cam/front/settings": {"v": 1},
        "cam/front/state": {"stale": None, "objects": BOTH},
        "cam/dead/status": "offline",
        "cam/dead/settings": {"v": 1},
    } | {key.replace("__", "/"): value for key, value in changed.items()}
    encode: Callable[[object], bytes] = lambda value: (value if isinstance(value, str) else json.dumps(value)).encode()  # noqa: E731
    return {f"{BASE}/{key}": encode(value) for key, value in documents.items() if value is not None}


def test_what_a_broker_keeps_is_right() -> None:
    """After an outage every retained document is there and true."""
    assert retained_problems(BASE, retained(), online={"front": BOTH}, others=["dead"]) == []


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"status": "offline"}, "status is b'offline'"),
        ({"models": None}, "models is not retained"),
        ({"health": {"state": "degraded"}}, "health is degraded, not ok"),
        ({"cam__front__state": None}, "state is not retained"),
        ({"cam__front__state": {"stale": NOW, "objects": BOTH}}, "state is stale"),
        ({"cam__front__state": {"stale": None, "objects": {"person": 1}}}, "shows {'person': 1}"),
        ({"cam__front__status": "offline"}, "cam/front/status is b'offline'"),
        ({"cam__dead__status": "online"}, "cam/dead/status is b'online'"),
        ({"cmd__device.restart": "{}"}, "cmd/device.restart is retained"),
    ],
)
def test_what_a_broker_keeps_wrongly_is_found(changed: dict[str, object], complaint: str) -> None:
    """A document that is missing, old or false is named."""
    (problem,) = retained_problems(BASE, retained(**changed), online={"front": BOTH}, others=["dead"])
    assert complaint in problem
