"""The MQTT half of the daemon: an outbox with its client, connected to whatever broker a test has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hailod.clock import SystemClock
from hailod.config.model import MqttSettings
from hailod.mqtt.client import MqttClient
from hailod.mqtt.messages import Inbound, LinkState, Trouble
from hailod.mqtt.outbox import Outbox
from hailod.mqtt.reconnect import ReconnectPolicy
from hailod.mqtt.topics import Topics
from tests.support.waiting import wait_for

TOPICS = Topics("pi")
FRONT = TOPICS.camera("front")
CLOCK = SystemClock()


class Node:
    """An outbox with its client, and what they reported."""

    def __init__(self, port: int, *, client_id: str = "hailod-pi-6f1c", most: float = 0.2, **settings: object) -> None:
        self.inbound: list[Inbound] = []
        self.links: list[LinkState] = []
        self.handler: Callable[[Inbound], None] = self.inbound.append
        self.outbox = Outbox(TOPICS, CLOCK)
        self.client = MqttClient(
            # Not validated, so that a test need not wait for the shortest keep-alive time that users may set.
            MqttSettings(port=port).model_copy(update=settings),
            TOPICS,
            client_id,
            CLOCK,
            self.outbox,
            on_message=self._handle,
            on_link=self.links.append,
            policy=ReconnectPolicy(settings.get("protocol", "auto"), first=0.05, most=most),  # type: ignore[arg-type]
        )

    @property
    def troubles(self) -> list[Trouble | None]:
        """What was said to be wrong with the connection, in order."""
        return [link.trouble for link in self.links]

    def _handle(self, message: Inbound) -> None:
        self.handler(message)

    @property
    def connected(self) -> bool:
        return self.client.protocol is not None

    def __enter__(self) -> Node:
        self.client.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.client.stop(1.5)


@contextmanager
def connected(port: int, **settings: object) -> Iterator[Node]:
    with Node(port, **settings) as node:  # type: ignore[arg-type]
        wait_for(lambda: node.connected, what="the node is connected")
        yield node
