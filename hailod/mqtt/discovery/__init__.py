"""Home Assistant's discovery: node and cameras become devices, and what they tell and take become entities. Pure.

    entities    `entity` (a row of data), `node` and `camera` (the rows)
    documents   `device` (one document for a device) or `single` (one for each entity), chosen by `plan`
    changes     `history`: what a broker may hold already, and the steps from there to a new plan

Home Assistant refuses a whole device for an unknown key or a component without `unique_id`, drops event types, options
and enum values that were not declared with a warning each, and keeps a component that is merely left out: it goes when
its row says no more than its platform.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from hailod.mqtt.discovery import device, single
from hailod.mqtt.discovery.camera import CAMERA_EVENTS, CameraView, camera_device
from hailod.mqtt.discovery.entity import Device, Entity
from hailod.mqtt.discovery.history import Plan
from hailod.mqtt.discovery.node import NODE_EVENTS, NodeView, node_device
from hailod.mqtt.payloads import Payload
from hailod.mqtt.topics import Topics

__all__ = [
    "CAMERA_EVENTS",
    "FILE",
    "NODE_EVENTS",
    "CameraView",
    "Device",
    "Entity",
    "NodeView",
    "Plan",
    "View",
    "left_out",
    "plan",
]

# In the state directory: what may be at the broker.
FILE = "discovery.json"

Mode = Literal["device", "single", "off"]

# So many entities for labels in all; beyond that a camera shows its first labels only, and its total.
MAX_LABEL_ENTITIES = 3_000
MAX_LABELS = 100


@dataclass(frozen=True, slots=True)
class View:
    """All that the documents are made of. `controls`: what the node can be told, as `commands.controls` names it."""

    node: NodeView
    cameras: tuple[CameraView, ...] = ()
    controls: frozenset[str] = frozenset()


def plan(topics: Topics, view: View, mode: Mode) -> Plan:
    """Every document that a broker should hold of this node, by topic, and which entity is in which of them."""
    if mode == "off":
        return Plan()
    documents = dict(_laid_out(node_device(topics, view.node, view.controls), mode))
    for camera in view.cameras:
        documents |= _camera_documents(
            topics, view.node.version, camera, view.controls, most_labels=_most_labels(view), mode=mode
        )
    return Plan.of(documents)


def left_out(view: View) -> dict[str, int]:
    """How many labels of which camera have no entities of their own, being too many."""
    most = _most_labels(view)
    return {camera.name: more for camera in view.cameras if (more := len(set(camera.labels)) - most) > 0}


def _most_labels(view: View) -> int:
    return min(MAX_LABELS, MAX_LABEL_ENTITIES // (2 * max(len(view.cameras), 1)))


# Of many cameras a change concerns one; the documents of the others need not be made again.
@lru_cache(maxsize=128)
def _camera_documents(
    topics: Topics, version: str, camera: CameraView, controls: frozenset[str], *, most_labels: int, mode: Mode
) -> Mapping[str, Payload]:
    return _laid_out(camera_device(topics, version, camera, controls, most_labels), mode)


def _laid_out(each: Device, mode: Mode) -> Mapping[str, Payload]:
    return single.documents(each) if mode == "single" else device.documents(each)
