"""The judge of what a node sends: what it must let pass, and what it must not."""

from __future__ import annotations

import json

import pytest

from tests.support.interface import Interface
from tests.unit.test_mqtt_schema import NOW, documents, examples

BASE = "hailod/pi"
Message = tuple[str, object, int, bool]


def judged(*messages: Message) -> list[str]:
    rules = Interface(BASE)
    for topic, document, qos, retain in messages:
        payload = document.encode() if isinstance(document, str) else json.dumps(document).encode()
        where = topic if topic.startswith("homeassistant") else f"{BASE}/{topic}"
        rules.take(where, payload, qos=qos, retain=retain)
    return rules.problems


def live(topic: str, document: object, qos: int = 1) -> Message:
    return topic, document, qos, False


def kept(topic: str, document: object) -> Message:
    return topic, document, 1, True


def event(seq: int, *, replayed: bool = False) -> Message:
    return live("event", {**examples()["event"], "seq": seq, "replayed": replayed})


def announcement() -> list[Message]:
    """A node that comes, as it should."""
    found = examples()
    return [
        live("info", found["info"]),
        live("models", found["models"]),
        live("schema/index", documents()["index"]),
        live("settings", found["settings"]),
        live("health", found["health"]),
        live("cam/front/state", found["camera_state"]),
        live("cam/front/settings", found["camera_settings"]),
        live("cam/front/status", "starting"),
        live("homeassistant/device/hailod_pi/config", {"device": {}}),
        live("status", "online"),
    ]


def test_what_is_right_passes() -> None:
    """A whole connection as it should be, its end, and the next one give no complaint."""
    found = examples()
    told = [
        *announcement(),
        event(1),
        live("cam/front/event", found["camera_event"]),
        live("metrics", found["metrics"], 0),
        live("cam/front/detections", found["detections"], 0),
        live("reply/ping", found["reply"]),
        live("log", found["log"], 0),
        live("cam/front/state", ""),
        live("status", "offline"),
        *announcement(),
        event(1, replayed=True),
        event(2),
    ]
    assert not judged(*told)


def test_who_comes_late_sees_nothing_wrong() -> None:
    """What a broker had kept comes in any order, and of what was before a late subscriber knows nothing."""
    found = examples()
    assert not judged(
        kept("status", "online"),
        kept("health", found["health"]),
        kept("info", found["info"]),
        event(912),
        event(913),
        live("settings", found["settings"]),
    )


def test_what_is_meant_for_the_node_is_not_judged() -> None:
    """Commands, other nodes and Home Assistant's own words are nobody's fault."""
    rules = Interface(BASE)
    for topic in (f"{BASE}/cmd/ping", f"{BASE}/set/x", f"{BASE}/cam/front/set/y", "hailod/other/info"):
        rules.take(topic, b"nonsense", qos=0)
    rules.take("homeassistant/status", b"online", qos=0)
    assert not rules.problems


@pytest.mark.parametrize(
    ("told", "complaint"),
    [
        pytest.param([live("status", "ready")], "status", id="another word"),
        pytest.param(
            [live("info", {k: v for k, v in examples()["info"].items() if k != "api"})], "'api'", id="a key missing"
        ),
        pytest.param([live("info", {**examples()["info"], "more": 1})], "more", id="a key too many"),
        pytest.param([live("news", {"v": 1})], "no topic", id="a topic nobody knows"),
        pytest.param([live("cam/front/preview", "x")], "no topic", id="a camera's topic nobody knows"),
        pytest.param([live("event", "text")], "cannot be read", id="no JSON"),
        pytest.param([live("metrics", examples()["metrics"], 1)], "QoS 1", id="stream with QoS 1"),
        pytest.param([live("health", examples()["health"], 0)], "QoS 0", id="state with QoS 0"),
        pytest.param([kept("reply/ping", examples()["reply"])], "is retained", id="retained reply"),
        pytest.param([live("reply/ping", "")], "is empty", id="empty reply"),
        pytest.param([event(1), event(3)], "seq 3 after 1", id="a gap"),
        pytest.param([event(2), event(1)], "seq 1 after 2", id="backwards, not replayed"),
        pytest.param([live("log", {**examples()["log"], "text": "x" * 16_384}, 0)], "bytes", id="too large"),
        pytest.param([live("schema/health", {"type": "object"})], "not the schema", id="another schema"),
        pytest.param([live("schema/secret", {})], "not the schema", id="a schema of nothing"),
    ],
)
def test_what_is_wrong_is_found(told: list[Message], complaint: str) -> None:
    """Each breach of the interface is one complaint that names it."""
    problems = judged(*told)
    assert len(problems) == 1
    assert complaint in problems[0]


@pytest.mark.parametrize(("early", "late"), [(1, 4), (3, 5), (5, 7), (7, 8)])
def test_announcement_out_of_order_is_found(early: int, late: int) -> None:
    """At a connect whatever comes after what it belongs before is named."""
    told = announcement()
    told[early], told[late] = told[late], told[early]
    assert any("too late in the announcement" in problem for problem in judged(*told))


def test_nothing_but_state_comes_before_online() -> None:
    """An event or a reply in the middle of an announcement is found, also in that of the second connection."""
    told = announcement()
    told.insert(4, event(1))
    assert judged(*told) == [f"{BASE}/event: is told before the node is online"]
    again = [*announcement(), live("status", "offline"), *announcement()]
    again.insert(-1, live("reply/ping", examples()["reply"]))
    assert judged(*again) == [f"{BASE}/reply/ping: is told before the node is online"]


def test_pictures_are_small_and_jpeg() -> None:
    """A picture may be larger than a document, and is a JPEG, or nothing when it is taken away."""
    where = f"{BASE}/cam/front/snapshot"
    for payload, qos, fine in (
        (b"\xff\xd8\xff" + b"x" * 200_000, 0, True),
        (b"", 1, True),
        (b"\xff\xd8\xff", 1, False),
        (b"\x89PNG", 0, False),
        (b"\xff\xd8\xff" + b"x" * 262_144, 0, False),
    ):
        rules = Interface(BASE)
        rules.take(where, payload, qos=qos)
        assert (not rules.problems) is fine


def test_state_that_is_not_retained_is_found() -> None:
    """Who sees the flags as they were sent finds state without one, and an event with one."""
    rules = Interface(BASE, as_published=True)
    rules.take(f"{BASE}/status", b"online", qos=1, retain=True)
    rules.take(f"{BASE}/metrics", json.dumps(examples()["metrics"]).encode(), qos=0)
    assert not rules.problems
    rules.take(f"{BASE}/cam/front/status", b"online", qos=1)
    rules.take(f"{BASE}/event", json.dumps(examples()["event"]).encode(), qos=1, retain=True)
    assert rules.problems == [f"{BASE}/cam/front/status: is not retained", f"{BASE}/event: is retained"]


def test_another_instance_counts_anew() -> None:
    """After a restart events are numbered from 1, which is no gap."""
    info = examples()["info"]
    told = [live("info", info), live("status", "online"), event(7), live("info", {**info, "instance": "7a"}), event(1)]
    assert not judged(*told)


def test_complaints_are_bounded() -> None:
    """A node that does everything wrong does not fill the memory of who watches it."""
    assert len(judged(*[live("news", {"ts": NOW})] * 200)) == 50
