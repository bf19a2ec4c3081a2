"""The command queue at a desk without a control loop, and what it says."""

from __future__ import annotations

import json
from typing import Any

from hailod.clock import FakeClock
from hailod.control.commands import Commands
from hailod.control.errands import ErrandDone
from hailod.control.events import Events
from hailod.control.transactions import TransactionEvent
from hailod.device.events import ModelReady
from hailod.errors import HailodError
from hailod.mqtt.messages import Inbound
from hailod.mqtt.outbox import Outbox
from hailod.mqtt.topics import Topics
from tests.support.desk import FakeDesk
from tests.support.device import session

TOPICS = Topics("pi")


class Rig:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.outbox = Outbox(TOPICS, self.clock)
        self.outbox.online()
        self.commands = Commands(
            topics=TOPICS, clock=self.clock, outbox=self.outbox, events=Events(TOPICS, self.clock, self.outbox, "e")
        )
        self.desk = FakeDesk()

    def send(self, topic: str, payload: str | bytes, *, retain: bool = False, expiry: float | None = None) -> None:
        data = payload if isinstance(payload, bytes) else payload.encode()
        inbound = Inbound(f"{TOPICS.base}/{topic}", data, retain, self.clock.monotonic(), expiry=expiry)
        self.commands.receive(inbound, self.desk)

    def command(self, name: str, **envelope: object) -> None:
        self.send(f"cmd/{name}", json.dumps(envelope))

    def event(self, event: TransactionEvent) -> None:
        self.commands.device_event(event)

    def ready(self, model: str) -> None:
        self.desk.serving.add(model)
        self.event(ModelReady(session(model), 250.0))

    def tick(self, seconds: float = 0.1) -> None:
        self.clock.advance(seconds)
        self.commands.tick(self.clock.monotonic())

    def told(self) -> list[tuple[str, Any]]:
        found = []
        while (outgoing := self.outbox.take()) is not None:
            self.outbox.done(outgoing)
            found.append((outgoing.topic, json.loads(outgoing.payload) if outgoing.payload else None))
        return found

    def reply(self, topic: str) -> Any:
        """The one reply that goes out now."""
        (document,) = [document for where, document in self.told() if where == topic]
        return document

    def ask(self, name: str, args: object = None, **envelope: object) -> Any:
        """Give a command; its reply, None while there is none."""
        self.clock.advance(0.2)
        self.told()
        self.command(name, args=args, **envelope)
        replies = [document for where, document in self.told() if where == TOPICS.reply(name)]
        return replies[0] if replies else None

    def errand(self) -> None:
        """The last errand is done, with what comes of it."""
        work = self.desk.errands[-1]
        try:
            self.event(ErrandDone(len(self.desk.errands), work()))
        except HailodError as error:
            self.event(ErrandDone(len(self.desk.errands), error=error))
