"""Topics: built, parsed and ranked in one place."""

from __future__ import annotations

import pytest

from hailod.mqtt.topics import Kind, Target, Topics

TOPICS = Topics("pi5-kitchen")


def test_tree_is_the_contract() -> None:
    """The topics are those that the interface document promises."""
    front = TOPICS.camera("front")
    assert (TOPICS.status, TOPICS.info, TOPICS.health) == (
        "hailod/pi5-kitchen/status",
        "hailod/pi5-kitchen/info",
        "hailod/pi5-kitchen/health",
    )
    assert (TOPICS.metrics, TOPICS.settings, TOPICS.models, TOPICS.event) == (
        "hailod/pi5-kitchen/metrics",
        "hailod/pi5-kitchen/settings",
        "hailod/pi5-kitchen/models",
        "hailod/pi5-kitchen/event",
    )
    assert (front.status, front.state, front.settings, front.detections, front.event) == (
        "hailod/pi5-kitchen/cam/front/status",
        "hailod/pi5-kitchen/cam/front/state",
        "hailod/pi5-kitchen/cam/front/settings",
        "hailod/pi5-kitchen/cam/front/detections",
        "hailod/pi5-kitchen/cam/front/event",
    )


@pytest.mark.parametrize(
    ("topic", "target"),
    [
        ("hailod/pi5-kitchen/cmd/model.swap", Target(Kind.COMMAND, "model.swap")),
        ("hailod/pi5-kitchen/set/model", Target(Kind.SET, "model")),
        ("hailod/pi5-kitchen/cam/front/set/threshold", Target(Kind.CAMERA_SET, "threshold", "front")),
        ("homeassistant/status", Target(Kind.HOME_ASSISTANT, "status")),
        ("hailod/pi5-kitchen/status", None),
        ("hailod/pi5-kitchen", None),
        ("hailod/pi5-kitchen/", None),
        ("hailod/pi5-kitchen2/cmd/ping", None),
        ("hailod/other/cmd/ping", None),
        ("hailod/pi5-kitchen/cmd/", None),
        ("hailod/pi5-kitchen/cmd/a/b", None),
        ("hailod/pi5-kitchen/cmd/../x", None),
        ("hailod/pi5-kitchen/cmd/ping\n", None),
        ("hailod/pi5-kitchen/cam/UPPER/set/enabled", None),
        ("hailod/pi5-kitchen/cam//set/enabled", None),
        ("hailod/pi5-kitchen/cam/../set/enabled", None),
        ("hailod/pi5-kitchen/cam/front/set/" + "x" * 49, None),
        ("", None),
    ],
)
def test_parse_knows_only_names_that_can_exist(topic: str, target: Target | None) -> None:
    """An inbound topic is taken apart; one with a name that cannot exist is nobody's."""
    assert TOPICS.parse(topic) == target


def test_discovery_has_a_place_of_its_own_for_each_node() -> None:
    """Home Assistant takes letters, digits, `_` and `-`, so that no two nodes' names are made one."""
    assert TOPICS.discovery == "homeassistant/device/hailod_pi5-kitchen/config"
    assert Topics("pi5_kitchen").discovery != TOPICS.discovery
    assert TOPICS.set("device") == "hailod/pi5-kitchen/set/device"


def test_discovery_comes_after_the_states_and_before_online() -> None:
    """Entities are made when what they show is there, and become available last."""
    front = TOPICS.camera("front")
    ranks = [TOPICS.rank(topic) for topic in (TOPICS.health, front.state, TOPICS.discovery, TOPICS.status)]
    assert ranks == sorted(set(ranks))


def test_nothing_published_is_subscribed() -> None:
    """No subscription matches what the node itself publishes, so that it never hears itself."""
    from paho.mqtt.client import topic_matches_sub

    front = TOPICS.camera("front")
    published = [TOPICS.status, TOPICS.info, TOPICS.health, TOPICS.metrics, TOPICS.settings, TOPICS.models]
    published += [TOPICS.event, TOPICS.reply("ping"), front.status, front.state, front.settings, front.detections]
    assert not [(s, t) for s in TOPICS.subscriptions for t in published if topic_matches_sub(s, t)]
