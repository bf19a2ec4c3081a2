"""The daemon's own account of its frames, asked for over MQTT."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from hailod.mqtt.topics import HOME_ASSISTANT_STATUS, Topics
from tests.benchmarks.mqttlib.corpus import Names, known
from tests.benchmarks.mqttlib.stage import Stage
from tests.support.daemon import BASE, NODE


@dataclass(frozen=True, slots=True)
class Books:
    """Frames of all cameras and models since the start, by how they ended, and what does not balance in them."""

    ended: Counter[str]
    in_flight: int
    problems: list[str] = field(default_factory=list)

    def since(self, before: Books) -> dict[str, int]:
        """What ended between then and now."""
        return {why: count for why in self.ended if (count := self.ended[why] - before.ended[why])}


def books_of(stage: Stage) -> Books:
    """The books as they are now, from health that is asked for: a newborn Home Assistant is told it after some seconds,
    where there is no quicker way."""
    asked = time.monotonic()
    commands, _, _ = known(Names(Topics(NODE), stage.cameras, ()))
    if "state.refresh" in commands:
        # The one after the first tick, so that it was not made before the question.
        threading.Event().wait(1.0)
        assert stage.command("state.refresh")["status"] == "ok", "everything is told again"
    else:
        stage.ear.publish(HOME_ASSISTANT_STATUS, "online")
    topic = f"{BASE}/health"
    heard = stage.ear.first(lambda m: m.topic == topic and m.at > asked + 1.0, asked, 20.0)
    assert heard is not None, "health is told again"
    frames = heard.document["frames"]
    problems = [] if frames["balanced"] else ["the daemon says that its books do not balance"]
    ended: Counter[str] = Counter()
    in_flight = offered = 0
    for name, pair in frames["models"].items():
        counts = {why: count for why, count in pair.items() if why not in ("offered", "in_flight")}
        if pair["offered"] != sum(counts.values()) + pair["in_flight"]:
            problems.append(f"the books of {name} do not balance: {pair}")
        ended.update(counts)
        in_flight += pair["in_flight"]
        offered += pair["offered"]
    for name, camera in frames["cameras"].items():
        if camera["captured"] != camera["offered"] + sum(camera["skipped"].values()):
            problems.append(f"the books of camera {name} do not balance: {camera}")
    if sum(camera["offered"] for camera in frames["cameras"].values()) != offered:
        problems.append("cameras offered other numbers of frames than models were")
    return Books(ended, in_flight, problems)
