"""The topic tree: every topic of a node is built and parsed here and nowhere else."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

ROOT = "hailod"
HOME_ASSISTANT = "homeassistant"
HOME_ASSISTANT_STATUS = f"{HOME_ASSISTANT}/status"
# Where clients may have their replies sent; no node can have this name.
CLIENT_REPLIES = f"{ROOT}/client/"

# How a node tells its state at each connect; the cameras come next.
_ORDER = ("info", "models", "schema", "settings", "health")

_NAME = re.compile(r"[a-z0-9_-]{1,48}")
_COMMAND = re.compile(r"[a-z0-9_.-]{1,64}")


class Kind(StrEnum):
    """What an inbound topic asks for."""

    COMMAND = "cmd"
    SET = "set"
    CAMERA_SET = "camera_set"
    HOME_ASSISTANT = "homeassistant"


@dataclass(frozen=True, slots=True)
class Target:
    """An inbound topic taken apart: the command or key it names and, for `camera_set`, the camera."""

    kind: Kind
    name: str
    camera: str | None = None


@dataclass(frozen=True, slots=True)
class CameraTopics:
    """What is published about one camera."""

    base: str

    @property
    def status(self) -> str:
        return f"{self.base}/status"

    @property
    def state(self) -> str:
        return f"{self.base}/state"

    @property
    def settings(self) -> str:
        return f"{self.base}/settings"

    @property
    def detections(self) -> str:
        return f"{self.base}/detections"

    @property
    def event(self) -> str:
        return f"{self.base}/event"

    @property
    def snapshot(self) -> str:
        return f"{self.base}/snapshot"

    def set(self, key: str) -> str:
        """Where a setting of the camera is set."""
        return f"{self.base}/set/{key}"


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one node."""

    node: str

    @property
    def base(self) -> str:
        return f"{ROOT}/{self.node}"

    @property
    def status(self) -> str:
        return f"{self.base}/status"

    @property
    def info(self) -> str:
        return f"{self.base}/info"

    @property
    def health(self) -> str:
        return f"{self.base}/health"

    @property
    def metrics(self) -> str:
        return f"{self.base}/metrics"

    @property
    def settings(self) -> str:
        return f"{self.base}/settings"

    @property
    def models(self) -> str:
        return f"{self.base}/models"

    @property
    def event(self) -> str:
        return f"{self.base}/event"

    @property
    def log(self) -> str:
        return f"{self.base}/log"

    def schema(self, name: str) -> str:
        """Where the form of a document or a command is told."""
        return f"{self.base}/schema/{name}"

    @property
    def discovery(self) -> str:
        """Where Home Assistant looks for the node. The node's name goes in as it is: `a-b` and `a_b` are two."""
        return f"{HOME_ASSISTANT}/device/{ROOT}_{self.node}/config"

    def set(self, key: str) -> str:
        """Where a setting of the node is set."""
        return f"{self.base}/set/{key}"

    def command(self, name: str) -> str:
        """Where a command goes."""
        return f"{self.base}/cmd/{name}"

    def camera(self, name: str) -> CameraTopics:
        return CameraTopics(f"{self.base}/cam/{name}")

    def reply(self, command: str) -> str:
        """Where the reply goes when the request names no place of its own."""
        return f"{self.base}/reply/{command}"

    def job(self, job: str) -> str:
        """How far a command is that was accepted as `job`."""
        return f"{self.base}/job/{job}"

    @property
    def response_prefixes(self) -> tuple[str, ...]:
        """What a request's Response Topic must begin with."""
        return f"{self.base}/reply/", CLIENT_REPLIES

    @property
    def subscriptions(self) -> tuple[str, ...]:
        """All that a controllable node listens to; never a filter that matches what it publishes itself."""
        return (f"{self.base}/set/+", f"{self.base}/cmd/+", f"{self.base}/cam/+/set/+", HOME_ASSISTANT_STATUS)

    @property
    def subscriptions_without_control(self) -> tuple[str, ...]:
        """All that a node listens to that takes no commands: that Home Assistant has started."""
        return (HOME_ASSISTANT_STATUS,)

    def parse(self, topic: str) -> Target | None:
        """What an inbound topic asks for; None when it is not ours or a name in it cannot exist."""
        if topic == HOME_ASSISTANT_STATUS:
            return Target(Kind.HOME_ASSISTANT, "status")
        match self._levels(topic):
            case ["cmd", name] if _COMMAND.fullmatch(name):
                return Target(Kind.COMMAND, name)
            case ["set", name] if _NAME.fullmatch(name):
                return Target(Kind.SET, name)
            case ["cam", camera, "set", name] if _NAME.fullmatch(camera) and _NAME.fullmatch(name):
                return Target(Kind.CAMERA_SET, name, camera)
            case _:
                return None

    def rank(self, topic: str) -> int:
        """The place of a state topic in the announcement at each connect: `status` comes when all else is told."""
        match self._levels(topic):
            case ["status"]:
                return len(_ORDER) + 3
            case ["cam", _, "status"]:
                return len(_ORDER) + 1
            case ["cam", _, _]:
                return len(_ORDER)
            case [first, *_] if first in _ORDER:
                return _ORDER.index(first)
            case _:
                return len(_ORDER) + 2

    def _levels(self, topic: str) -> list[str]:
        """The levels of the topic below this node's; none for any other topic."""
        prefix = f"{self.base}/"
        return topic.removeprefix(prefix).split("/") if topic.startswith(prefix) else []
