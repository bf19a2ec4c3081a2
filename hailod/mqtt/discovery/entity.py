"""What devices and entities are made of, and the words of Home Assistant's templates. Pure.

A template sees a message as `value`, and as `value_json` if it is JSON. It must not fail or warn at anything a broker
may hold: an empty message, a document of another version, a figure that is not known (null). What is not there is
`none`, which Home Assistant shows as unknown.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from hailod.mqtt.payloads import Payload

# Beyond this many seconds without a message a figure is not known any more; less often than that it may not be told.
EXPIRE_AFTER_S = 60


@dataclass(frozen=True, slots=True)
class Entity:
    """One entity of a device: `key` is its own for good, `options` are in Home Assistant's words.

    `control` is what it tells the node, as `commands.controls` names it: without that it is not shown. `group`: it
    belongs to one of many of its kind, such as a label, and may stand in a document beside the device's own.
    """

    key: str
    platform: str
    name: str
    options: Mapping[str, object] = field(default_factory=dict)
    control: str | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Device:
    """A device with the entities that are shown. `id` stands in topics and begins each entity's `unique_id`; `common`
    holds for every entity that says nothing else."""

    id: str
    about: Payload
    origin: Payload
    common: Payload
    entities: tuple[Entity, ...]

    def component(self, entity: Entity) -> Payload:
        """The entity in Home Assistant's words, but for its platform."""
        return {"unique_id": f"{self.id}_{entity.key}", "name": entity.name, **entity.options}


def shown(entities: Collection[Entity], controls: Collection[str]) -> tuple[Entity, ...]:
    """Without those that tell the node something it does not take."""
    return tuple(entity for entity in entities if entity.control is None or entity.control in controls)


def path(*keys: str) -> str:
    """The expression for what a JSON document holds there; undefined when any of it is missing or null."""
    expression = "value_json"
    for key in keys:
        expression = f"({expression}|default({{}},true))[{quoted(key)}]"
    return expression


def value(*keys: str) -> str:
    """The template of what a JSON document holds there; `none` when it does not."""
    return f"{{{{ {path(*keys)}|default(none) }}}}"


def one_of(options: Collection[str], expression: str) -> str:
    """The template of a value that is one of `options`; `none` for any other."""
    listed = ",".join(quoted(option) for option in options)
    return f"{{% set x = {expression}|default(none) %}}{{{{ x if x in [{listed}] else none }}}}"


def on_off(expression: str, *, on: str = "x") -> str:
    """The template of a switch: `on` says of the value `x` of the expression when it is ON; `none` stays so."""
    return f"{{% set x = {expression}|default(none) %}}{{{{ x if x is none else 'ON' if {on} else 'OFF' }}}}"


def quoted(text: str) -> str:
    """A string of the template's language."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'" if escaped.isprintable() else f"'{_unprintable(escaped)}'"


def available(topic: str, *, more: bool = False) -> Payload:
    """Available while `topic` says online; `more`: it says other things too than online and offline."""
    told: Payload = {"topic": topic, "payload_available": "online", "payload_not_available": "offline"}
    return {**told, "value_template": "{{ 'online' if value == 'online' else 'offline' }}"} if more else told


def _unprintable(text: str) -> str:
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in text)
