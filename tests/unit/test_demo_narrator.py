"""What a demo tells people of what a node publishes."""

from __future__ import annotations

import json

import pytest

from hailod.demo.narrator import Line, Narrator, Tone, summary
from hailod.mqtt.topics import Topics

BASE = "hailod/demo"


@pytest.fixture
def narrator() -> Narrator:
    return Narrator(Topics("demo"))


def hear(narrator: Narrator, topic: str, document: object, at: float = 12.3) -> list[str]:
    payload = document.encode() if isinstance(document, str) else json.dumps(document).encode()
    return [line.text for line in narrator.hear(f"{BASE}/{topic}", payload, at)]


def state(**objects: int) -> dict[str, object]:
    return {"objects": objects}


def health(state: str, *reasons: tuple[str, float, str], ts: float = 100.0, balanced: bool = True) -> dict[str, object]:
    return {
        "ts": ts,
        "state": state,
        "reasons": [{"code": code, "since": since, "text": text} for code, since, text in reasons],
        "device_restarts": 1,
        "mqtt": {"reconnects": 2},
        "frames": {"balanced": balanced},
    }


def metrics(
    fps: float = 24.0, p50: float | None = 12.0, p99: float | None = 30.0, frames: int = 96
) -> dict[str, object]:
    return {
        "interval_s": 4.0,
        "fps": fps,
        "latency_ms": {"p50": p50, "p95": p50, "p99": p99},
        "frames_total": frames,
        "frames_dropped_total": 3,
        "host": {"cpu_pct": 20.0, "device_host_cpu_pct": 15.5, "rss_mb": 80.0},
    }


def test_coming_and_going_is_told_per_camera(narrator: Narrator) -> None:
    """Who comes in and who leaves is a line each, with how many there are now."""
    assert hear(narrator, "cam/driveway/state", state(car=0, person=1)) == ["  12.3 s  driveway    person came in"]
    assert hear(narrator, "cam/driveway/state", state(car=2, person=3)) == [
        "  12.3 s  driveway    2 cars came in",
        "  12.3 s  driveway    2 persons came in (3 persons)",
    ]
    assert hear(narrator, "cam/street/state", state(car=1)) == ["  12.3 s  street      car came in"]
    assert hear(narrator, "cam/driveway/state", state(car=1, person=3)) == ["  12.3 s  driveway    car left (1 car)"]
    assert hear(narrator, "cam/driveway/state", state(car=0, person=3)) == ["  12.3 s  driveway    car left"]
    assert hear(narrator, "cam/driveway/state", state(car=0, person=3)) == []
    assert narrator.heard.seen == {"driveway": {"car": 2, "person": 3}, "street": {"car": 1}}


def test_speed_is_told_once_there_is_some(narrator: Narrator) -> None:
    """Metrics become a line of FPS, latency and CPU; before the first frame they are no news."""
    assert hear(narrator, "metrics", metrics(fps=0.0, p50=None, p99=None, frames=0)) == []
    assert hear(narrator, "metrics", metrics()) == [
        "  12.3 s  speed       24.0 FPS, latency 12 ms, 99 % within 30 ms, CPU of the daemon 36 %"
    ]
    assert "0.0 FPS, no results" in hear(narrator, "metrics", metrics(fps=0.0, p50=None, p99=None))[0]


def test_each_condition_of_health_is_told_when_it_comes_and_goes(narrator: Narrator) -> None:
    """A condition is told with its text when it begins and with its length when it is over, and not in between."""
    lost = ("device_lost", 90.0, "device host killed by signal 9 (Killed)")
    assert hear(narrator, "health", health("degraded", lost)) == [
        "  12.3 s  health      degraded: device_lost: device host killed by signal 9 (Killed)"
    ]
    assert hear(narrator, "health", health("degraded", (*lost[:2], "another text"))) == []
    assert hear(narrator, "health", health("ok", ts=91.2)) == [
        "  12.3 s  health      ok: device_lost is over after 1.2 s"
    ]
    assert (narrator.heard.restarts, narrator.heard.reconnects) == (1, 2)


def test_what_is_done_and_what_helps_is_told_with_it(narrator: Narrator) -> None:
    """Below a condition stands what hailod does about it and what people can do, where there is something to say."""
    reason = {"code": "device_unavailable", "since": 90.0, "text": "in use", "doing": "tries again", "fix": "stop it"}
    document = health("degraded") | {"reasons": [reason]}
    assert hear(narrator, "health", document) == [
        "  12.3 s  health      degraded: device_unavailable: in use",
        "  12.3 s                hailod: tries again",
        "  12.3 s                you: stop it",
    ]
    assert narrator.heard.told == {"device_unavailable": 1}


def test_good_news_is_told_with_how_long_it_took(narrator: Narrator) -> None:
    """A recovery says how long it took and what it took, a camera's which camera; a loss is told by health already."""
    recovered = {"event_type": "device_recovered", "duration_s": 0.42, "rung": "session"}
    assert hear(narrator, "event", recovered) == ["  12.3 s  event       device_recovered after 0.4 s, by: session"]
    back = {"event_type": "camera_recovered", "camera": "street"}
    assert hear(narrator, "cam/street/event", back) == ["  12.3 s  event       camera_recovered street"]
    assert hear(narrator, "event", {"event_type": "device_lost"}) == []
    assert narrator.heard.told == {"device_recovered": 1, "camera_recovered": 1, "device_lost": 1}


def test_the_simulated_device_is_told_as_no_fault(narrator: Narrator) -> None:
    """That the device is simulated is said, and not as something that is wrong."""
    document = health("degraded", ("simulated", 1.0, "the device is simulated"))
    payload = json.dumps(document).encode()
    line = Line("   1.5 s  health      simulated: the device is simulated", Tone.PLAIN)
    assert narrator.hear(f"{BASE}/health", payload, 1.5) == [line]


def test_replies_are_told_with_what_they_cost(narrator: Narrator) -> None:
    """The reply to a command tells its outcome, and a swap's its gap; that it was accepted is no outcome."""
    swapped = {"id": "demo-1", "cmd": "model.swap", "status": "ok", "took_ms": 298}
    assert hear(narrator, "reply/model.swap", {**swapped, "status": "accepted", "job": "j-1"}) == []
    assert list(narrator.heard.replies) == []
    assert hear(narrator, "reply/model.swap", {**swapped, "data": {"model": "fast", "gap_ms": 228.6}}) == [
        "  12.3 s  reply       model.swap: ok, model fast, gap_ms 228.6, took 298 ms"
    ]
    assert list(narrator.heard.replies) == ["demo-1"]
    refused = {"id": None, "cmd": "model.swap", "status": "error", "error": {"code": "bad_args", "message": "no"}}
    assert hear(narrator, "reply/model.swap", refused) == ["  12.3 s  reply       model.swap: bad_args: no"]
    hear(narrator, "reply/model.swap", refused | {"id": "demo-2"})
    assert list(narrator.heard.refused)[-1] == "demo-2"


def test_a_setting_is_told_when_it_changes(narrator: Narrator) -> None:
    """A new threshold is told with the old one; one that is refused, with the reason."""
    assert hear(narrator, "cam/driveway/settings", {"threshold": 0.5}) == []
    assert hear(narrator, "cam/driveway/settings", {"threshold": 0.7}) == [
        "  12.3 s  driveway    threshold is 0.7 now, it was 0.5"
    ]
    failed = {"event_type": "command_failed", "cmd": "set/threshold", "camera": "driveway", "code": "c", "message": "m"}
    assert hear(narrator, "event", failed) == ["  12.3 s  refused     driveway set/threshold: c: m"]


def test_cameras_come_and_go(narrator: Narrator) -> None:
    """A camera's status is told when it changes."""
    assert hear(narrator, "cam/street/status", "online") == ["  12.3 s  street      camera online"]
    assert hear(narrator, "cam/street/status", "online") == []
    assert hear(narrator, "cam/street/status", "offline") == ["  12.3 s  street      camera offline"]


@pytest.mark.parametrize(
    "payload", [b"", b"\xff", b"[]", b"{}", b'{"objects": 3}', b'{"objects": {"car": "x"}}', b"null"]
)
@pytest.mark.parametrize("topic", ["cam/c/state", "metrics", "health", "event", "reply/x", "cam/c/settings"])
def test_strange_messages_end_nothing(narrator: Narrator, topic: str, payload: bytes) -> None:
    """Anybody on the machine can publish at the demo's broker: what is none of the daemon's is told as such."""
    lines = narrator.hear(f"{BASE}/{topic}", payload, 1.0)
    assert all("none of the daemon's documents" in line.text for line in lines)
    assert len(lines) <= 1


def test_control_characters_do_not_reach_the_terminal(narrator: Narrator) -> None:
    """What stands in a message cannot move the cursor or colour the screen."""
    (line,) = hear(narrator, "cam/c/status", "\x1b[2Jonline\n")
    assert line.isprintable()


def test_summary_tells_what_was_seen(narrator: Narrator) -> None:
    """The end of a demo tells frames, FPS without the start-up, latency, classes by camera, books and CPU."""
    hear(narrator, "metrics", metrics(fps=5.0, p50=90.0, p99=200.0))
    hear(narrator, "metrics", metrics(fps=24.0, p99=31.0, frames=200))
    hear(narrator, "metrics", metrics(fps=22.0, frames=300))
    hear(narrator, "cam/driveway/state", state(cat=1, person=2))
    hear(narrator, "cam/street/state", state(car=0))
    lines = [line.text for line in summary(narrator.heard, seconds=20.4, balanced=True, cpu_pct=61.2)]
    assert lines == [
        "20 s, 300 frames, 23.0 FPS, 3 frames dropped",
        "latency 12 ms, at worst 99 % within 31 ms",
        "driveway saw 1 cat, 2 persons",
        "street saw nothing",
        "books balanced: every frame is accounted for",
        "CPU of the demo, all of its processes: 61 % of one core",
    ]


@pytest.mark.parametrize(("told", "at_the_end"), [(False, True), (True, False)])
def test_unbalanced_books_are_told(narrator: Narrator, told: bool, at_the_end: bool) -> None:
    """Frames that were unaccounted for at any time, or at the end, are said to be."""
    hear(narrator, "health", health("ok", balanced=told))
    lines = [line.text for line in summary(narrator.heard, seconds=1.0, balanced=at_the_end, cpu_pct=1.0)]
    assert "books not balanced: frames are unaccounted for" in lines
