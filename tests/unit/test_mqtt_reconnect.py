"""When and how the client connects again."""

from __future__ import annotations

import random

import pytest

from hailod.mqtt.bucket import TokenBucket
from hailod.mqtt.reconnect import MQTT_3_1_1, MQTT_5, End, ReconnectPolicy


def policy(**changes: object) -> ReconnectPolicy:
    return ReconnectPolicy(rng=random.Random(1), **changes)  # type: ignore[arg-type]


def test_delays_double_up_to_a_minute() -> None:
    """Without jitter the delays are 1, 2, 4 ... 60, 60 seconds."""
    chosen = policy(jitter=0.0)
    assert [chosen.ended(End.UNREACHABLE, 0.0) for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]


def test_jitter_spreads_by_thirty_percent() -> None:
    """A fleet does not come back at the same moment."""
    delays = [policy(first=10.0).ended(End.UNREACHABLE, 0.0)] + [
        ReconnectPolicy(first=10.0, rng=random.Random(seed)).ended(End.UNREACHABLE, 0.0) for seed in range(200)
    ]
    assert min(delays) >= 7.0
    assert max(delays) <= 13.0
    assert max(delays) - min(delays) > 4.0


def test_a_good_connection_resets_the_delay_and_a_short_one_does_not() -> None:
    """A broker that accepts and throws out at once is not hammered."""
    chosen = policy(jitter=0.0)
    for _ in range(3):
        chosen.ended(End.UNREACHABLE, 0.0)
    chosen.connected(0.0)
    assert chosen.ended(End.LOST, 1.0) == 8.0
    chosen.connected(10.0)
    assert chosen.ended(End.LOST, 70.0) == 1.0


def test_connections_that_never_last_are_told_apart() -> None:
    """Three connections in a row that the broker closed within a minute make the link unstable; a good one ends that,
    and connections that the network breaks do not count."""
    chosen = policy()
    for number in range(4):
        assert chosen.unstable == (number >= 3)
        for end in (End.LOST, End.CLOSED):
            chosen.connected(100.0 * number)
            chosen.ended(end, 100.0 * number + 1)
    chosen.connected(1000.0)
    chosen.ended(End.CLOSED, 1060.0)
    assert not chosen.unstable


def test_a_stolen_session_slows_down_at_once() -> None:
    """Two clients with one id do not throw each other out in a tight circle."""
    chosen = policy(jitter=0.0)
    chosen.connected(0.0)
    assert chosen.ended(End.TAKEN_OVER, 100.0) == 60.0


def test_a_session_stolen_without_a_word_slows_down_once_it_is_likely() -> None:
    """Where the broker does not say that another client came, the third connection that it soon closes is enough."""
    chosen = policy(jitter=0.0)
    delays = []
    for number in range(4):
        chosen.connected(100.0 * number)
        delays.append(chosen.ended(End.CLOSED, 100.0 * number + 1))
    assert delays == [1.0, 2.0, 60.0, 60.0]


@pytest.mark.parametrize("lasted", [1.0, 100.0])
def test_another_client_is_suspected_until_a_connection_has_lasted(lasted: float) -> None:
    """Whoever was thrown out is wary of the next connection too, until it has lasted longer than the other waits."""
    chosen = policy(jitter=0.0)
    assert not chosen.contested(0.0)
    chosen.connected(0.0)
    chosen.ended(End.TAKEN_OVER, 10.0)
    for begun in (100.0, 300.0):
        chosen.connected(begun)
        assert chosen.contested(begun + lasted)
        assert chosen.ended(End.LOST, begun + lasted) == 60.0
    chosen.connected(500.0)
    assert not chosen.contested(680.0)
    assert chosen.ended(End.LOST, 681.0) == 1.0


def test_refused_version_is_tried_as_3_1_1_at_once() -> None:
    """A broker that refuses MQTT 5 is asked for 3.1.1 without delay, and what worked is remembered."""
    chosen = policy()
    assert chosen.protocol == MQTT_5
    assert chosen.ended(End.PROTOCOL_REFUSED, 0.0) == 0.0
    assert chosen.protocol == MQTT_3_1_1
    chosen.connected(1.0)
    assert chosen.ended(End.LOST, 100.0) > 0
    assert chosen.ended(End.NO_ANSWER, 110.0) > 0
    assert chosen.protocol == MQTT_3_1_1


def test_silent_broker_is_tried_with_both_versions_in_turn() -> None:
    """A broker too old to refuse politely is found with 3.1.1; one that is merely down is tried with both."""
    chosen = policy(jitter=0.0)
    delays = []
    protocols = []
    for _ in range(4):
        protocols.append(chosen.protocol)
        delays.append(chosen.ended(End.NO_ANSWER, 0.0))
    assert protocols == [MQTT_5, MQTT_3_1_1, MQTT_5, MQTT_3_1_1]
    assert delays == [0.0, 1.0, 0.0, 2.0]


def test_broker_that_was_merely_silent_is_asked_for_version_5_again() -> None:
    """A broker that hung and was found by 3.1.1 gets another chance at version 5 with the next connection; one that
    cannot read it costs one more time-out."""
    chosen = policy(jitter=0.0)
    assert chosen.ended(End.NO_ANSWER, 0.0) == 0.0
    chosen.connected(5.0)
    assert chosen.ended(End.LOST, 100.0) > 0
    assert chosen.protocol == MQTT_5
    assert chosen.ended(End.NO_ANSWER, 106.0) == 0.0
    assert chosen.protocol == MQTT_3_1_1
    chosen.connected(107.0)


def test_version_5_is_tried_again_after_a_long_outage() -> None:
    """After ten minutes the broker may be another one."""
    chosen = policy()
    chosen.ended(End.PROTOCOL_REFUSED, 0.0)
    chosen.connected(0.0)
    chosen.ended(End.LOST, 1000.0)
    chosen.ended(End.UNREACHABLE, 1500.0)
    assert chosen.protocol == MQTT_3_1_1
    chosen.ended(End.UNREACHABLE, 1601.0)
    assert chosen.protocol == MQTT_5


@pytest.mark.parametrize(("setting", "protocol"), [("5", MQTT_5), ("3.1.1", MQTT_3_1_1)])
def test_a_version_that_is_set_is_kept(setting: str, protocol: int) -> None:
    """Who sets a version gets it, whatever the broker says."""
    chosen = policy(protocol=setting)
    for end in End:
        assert chosen.ended(end, 0.0) > 0
        assert chosen.protocol == protocol


def test_bucket_gives_its_burst_and_then_its_rate() -> None:
    """A bucket allows its burst at once and its rate afterwards, and says when the next token comes."""
    bucket = TokenBucket(5.0, 3.0)
    assert [bucket.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert bucket.ready_at(0.0) == pytest.approx(0.2)
    assert bucket.take(bucket.ready_at(0.0))
    assert bucket.ready_at(100.0) == 100.0
