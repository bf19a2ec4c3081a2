"""What a broker may hold of a node's discovery, and the steps from there to what it should hold. Pure.

Home Assistant binds an entity to the topic on which it was discovered. So what goes, goes by a word on that topic:
a component by a row that holds no more than its platform, told once; a whole document by an empty message. And what
moves to another topic, because the other form of discovery was chosen or a document became too large, is let go there
first (`migrate_discovery`), so that it keeps its name, its settings and its past.

Each step has to be at the broker before the next one is taken, and before the first one it is written down what may
be there after any of them: whoever is killed in between starts again with all of them, which does no harm.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from hailod.config.store import unique_keys
from hailod.mqtt.discovery.device import MIGRATE
from hailod.mqtt.messages import Document
from hailod.mqtt.payloads import Payload
from hailod.mqtt.topics import Topics

VERSION = 1
MAX_BYTES = 4_194_304
MAX_TOPICS = 8_192
MAX_COMPONENTS = 512
# Of keys as long as they may be.
_AT_ONCE = 100

PLATFORMS = frozenset({"binary_sensor", "button", "event", "image", "number", "select", "sensor", "switch"})

# By topic, the platform of each component, by its key.
Contents = Mapping[str, Mapping[str, str]]
# By topic what is to be said there; an empty message clears it.
Step = Mapping[str, Document]

_KEY = re.compile(r"[a-z0-9_-]{1,64}")
_DEVICE = re.compile(r"homeassistant/device/(hailod_[a-z0-9_-]{1,97}?)(?:_L[0-9]{1,2})?/config")
_SINGLE = re.compile(r"homeassistant/([a-z_]{1,32})/(hailod_[a-z0-9_-]{1,97})/([a-z0-9_-]{1,64})/config")
# What was published before there was a record of it.
_FIRST = {"device": "switch", "problem": "binary_sensor", "events": "event"}


@dataclass(frozen=True, slots=True)
class Plan:
    """The documents by topic, and what is in each of them."""

    documents: Mapping[str, Payload] = field(default_factory=dict)
    contents: Contents = field(default_factory=dict)

    @classmethod
    def of(cls, documents: Mapping[str, Payload]) -> Plan:
        """The plan of these documents."""
        return cls(documents, {topic: _contents(topic, document) for topic, document in documents.items()})


def first(topics: Topics) -> Contents:
    """What may be at a broker when nothing is known."""
    return {topics.discovery: _FIRST}


def union(one: Contents, other: Contents) -> Contents:
    """All that is in either."""
    return {topic: {**one.get(topic, {}), **other.get(topic, {})} for topic in {**one, **other}}


def steps(known: Contents, plan: Plan) -> tuple[Step, ...]:
    """What is to be said, one step after the other, to a broker that may hold `known`."""
    place = {
        (_device(topic), key, platform): topic
        for topic, components in plan.contents.items()
        for key, platform in components.items()
    }
    moving: dict[str, Document] = {}
    gone: dict[str, dict[str, str]] = {}
    for topic, components in known.items():
        for key, platform in components.items():
            there = place.get((_device(topic), key, platform))
            if there is None:
                gone.setdefault(topic, {})[key] = platform
            elif there != topic:
                moving[topic] = MIGRATE
    # Of a document that is cleared without more ado all components go at once.
    cleared = {topic: "" for topic in known if topic not in plan.documents}
    # Whoever has let its components go can no more take one away.
    last_words = {
        topic: components
        for topic, components in gone.items()
        if _DEVICE.fullmatch(topic) and (topic in moving or topic not in cleared)
    }
    told: tuple[Step, ...] = (
        *_taken_away(last_words),
        moving,
        {**{topic: word for topic, word in cleared.items() if topic not in moving}, **plan.documents},
        {topic: word for topic, word in cleared.items() if topic in moving},
    )
    return tuple(step for step in told if step)


def encode(contents: Contents) -> bytes:
    """As in the file."""
    return (json.dumps({"v": VERSION, "topics": contents}, sort_keys=True, separators=(",", ":")) + "\n").encode()


def parse(text: str, topics: Topics) -> Contents:
    """What the file says. Raises ValueError, without anything of the text, for one that is not of our form; a topic
    that is none of this node's discovery is left out, so that nobody has us clear what is not ours."""
    try:
        document = json.loads(text, object_pairs_hook=unique_keys)
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except ValueError:
        raise ValueError("is not JSON that can be used") from None
    told = document.get("topics") if isinstance(document, dict) and document.get("v") == VERSION else None
    if not isinstance(told, dict) or len(told) > MAX_TOPICS:
        raise ValueError("is not a list of what was published")
    found = {}
    for topic, components in told.items():
        if not isinstance(components, dict) or len(components) > MAX_COMPONENTS:
            raise ValueError("is not a list of what was published")
        if _is_of(topic, topics):
            found[topic] = {
                key: platform
                for key, platform in components.items()
                if _KEY.fullmatch(key) and isinstance(platform, str) and platform in PLATFORMS
            }
    return found


def _is_of(topic: str, topics: Topics) -> bool:
    """Whether the topic is one of this node's discovery, or of one of its cameras'."""
    if (match := _SINGLE.fullmatch(topic)) is not None:
        if match[1] not in PLATFORMS:
            return False
    elif _DEVICE.fullmatch(topic) is None:
        return False
    device, own = _device(topic), f"hailod_{topics.node}"
    return device == own or device.startswith(f"{own}_")


def _device(topic: str) -> str:
    """The id of the device that a document is of."""
    if (match := _SINGLE.fullmatch(topic)) is not None:
        return match[2]
    match = _DEVICE.fullmatch(topic)
    return match[1] if match else ""


def _contents(topic: str, document: Payload) -> dict[str, str]:
    components = document.get("components")
    if isinstance(components, dict):
        return {key: str(component["platform"]) for key, component in components.items()}
    match = _SINGLE.fullmatch(topic)
    return {match[3]: match[1]} if match else {}


def _taken_away(components: Contents) -> Iterator[Step]:
    """Documents that take these components away and leave all others as they are, so many at a time as fit into one."""
    most = max((len(each) for each in components.values()), default=0)
    for first_of in range(0, most, _AT_ONCE):
        step: dict[str, Document] = {}
        for topic, each in components.items():
            if now := sorted(each.items())[first_of : first_of + _AT_ONCE]:
                step[topic] = {
                    "device": {"identifiers": [_device(topic)]},
                    "origin": {"name": "hailod"},
                    "components": {key: {"platform": platform} for key, platform in now},
                }
        yield step
