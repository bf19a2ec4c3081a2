"""What holds for any sequence of hostile messages.

`python -m tests.benchmarks.fuzz_mqtt` does the same a hundred thousand times, and through a broker to the daemon.
"""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from hailod.mqtt import commands
from hailod.mqtt.messages import Inbound
from tests.benchmarks.mqttlib.corpus import CODES, MUTATIONS, Hostile, known, valid
from tests.benchmarks.mqttlib.inprocess import NAMES, TOPICS, attack


@settings(max_examples=15)
@given(st.integers(0, 2**32))
def test_every_hostile_message_is_answered_and_changes_nothing(seed: int) -> None:
    """Alone, or so many at once that the queue is full and the rate too high: each has an answer with a code of the
    list, or is met with silence by rule; what was refused changed nothing; nothing is published elsewhere."""
    with capture_logs():
        assert attack(100, seed).problems == []


def test_every_command_and_every_key_is_attacked() -> None:
    """What the parser knows is what is mutated, so that a new command is attacked as soon as there is one."""
    found, node_keys, camera_keys = known(NAMES)
    attacked = {message.topic for message in valid(NAMES)}
    assert {f"{TOPICS.base}/cmd/{name}" for name in found} <= attacked
    assert {TOPICS.set(key) for key in node_keys} <= attacked
    assert {f"{TOPICS.camera('front').base}/set/{key}" for key in camera_keys} <= attacked


@settings(max_examples=200)
@given(st.sampled_from(valid(NAMES)), st.sampled_from(MUTATIONS), st.integers(0, 2**32))
def test_a_refusal_has_a_code_of_the_list(message: Hostile, mutation: object, seed: int) -> None:
    """Whatever one mutation makes of a valid command, the parser gives a request, a coded refusal or nothing."""
    assert callable(mutation)
    mutated = mutation(message, random.Random(seed))
    parsed = commands.parse(Inbound(mutated.topic, mutated.payload[:8193], mutated.retain, 0.0), TOPICS)
    if isinstance(parsed, commands.Refusal):
        assert parsed.error.code in CODES
        assert parsed.clear == mutated.retain
