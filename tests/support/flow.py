"""A small interpreter of a Node-RED flow: the nodes that our example uses, as Node-RED 4 documents them."""

from __future__ import annotations

import copy
import json
from typing import Any

Message = dict[str, Any]
_MISSING = object()


class Flow:
    """Messages go in at `mqtt in` nodes; `published` and `shown` hold what comes out, by the node's name."""

    def __init__(self, nodes: list[dict[str, Any]]) -> None:
        self.nodes = {node["id"]: node for node in nodes}
        self.published: list[tuple[str, Any]] = []
        self.shown: list[tuple[str, Any]] = []
        self._last: dict[str, Any] = {}

    @property
    def topics(self) -> set[str]:
        return {node["topic"] for node in self.nodes.values() if node["type"] == "mqtt in"}

    def receive(self, topic: str, payload: bytes) -> None:
        """The broker delivers a message."""
        for node in self.nodes.values():
            if node["type"] == "mqtt in" and node["topic"] == topic:
                value = json.loads(payload) if node["datatype"] == "json" else payload
                self._pass_on(node, {"topic": topic, "payload": value})

    def _pass_on(self, node: dict[str, Any], message: Message) -> None:
        for target in node["wires"][0]:
            self._take(self.nodes[target], copy.deepcopy(message))

    def _take(self, node: dict[str, Any], message: Message) -> None:
        match node["type"]:
            case "switch":
                (rule,) = node["rules"]
                if _holds(rule, _get(message, node["property"])):
                    self._pass_on(node, message)
            case "change":
                for rule in node["rules"]:
                    assert (rule["t"], rule["pt"]) == ("set", "msg")
                    value = _value(rule, message)
                    if value is _MISSING:
                        message.pop(rule["p"], None)
                    else:
                        message[rule["p"]] = value
                self._pass_on(node, message)
            case "rbe":
                value = _get(message, node["property"])
                if value is _MISSING:
                    return
                first = node["id"] not in self._last
                changed = first or self._last[node["id"]] != value
                self._last[node["id"]] = value
                if changed and not (first and node["func"] == "rbei"):
                    self._pass_on(node, message)
            case "mqtt out":
                self.published.append((node["topic"] or message["topic"], message["payload"]))
            case "debug":
                self.shown.append((node["name"], _get(message, node["complete"])))
            case other:
                raise AssertionError(f"a node of type {other} is not known here")


def _get(message: Message, path: str) -> Any:
    value: Any = message
    for key in path.split("."):
        if not isinstance(value, dict) or key not in value:
            return _MISSING
        value = value[key]
    return value


def _value(rule: dict[str, Any], message: Message) -> Any:
    match rule["tot"]:
        case "msg":
            return _get(message, rule["to"])
        case "json":
            return json.loads(rule["to"])
        case "str":
            return rule["to"]
        case other:
            raise AssertionError(f"a value of type {other} is not known here")


def _holds(rule: dict[str, Any], value: Any) -> bool:
    match rule["t"]:
        case "null":
            return value is None or value is _MISSING
        case "nempty":
            return value is not None and value is not _MISSING and len(value) > 0
        case "gt":
            return isinstance(value, int | float) and value > float(rule["v"])
        case "neq":
            return bool(value != rule["v"])
        case "eq":
            return bool(value == rule["v"])
        case other:
            raise AssertionError(f"a rule {other} is not known here")
