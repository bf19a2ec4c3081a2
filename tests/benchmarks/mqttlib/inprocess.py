"""Hostile messages straight to the parser and the command queue, with a clock that is turned and a desk by hand."""

from __future__ import annotations

import copy
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from hailod.clock import FakeClock
from hailod.control.commands import Commands
from hailod.control.events import Events
from hailod.mqtt import commands
from hailod.mqtt.lanes import Drop
from hailod.mqtt.outbox import MAX_DOCUMENT, Outbox
from hailod.mqtt.session import MAX_PAYLOAD
from hailod.mqtt.topics import HOME_ASSISTANT_STATUS, Topics
from tests.benchmarks.machine import rss_mb
from tests.benchmarks.mqttlib.corpus import CODES, Hostile, Names, stream
from tests.support.desk import FakeDesk

TOPICS = Topics("pi")
NAMES = Names(TOPICS, ("front", "back"), ("one", "two", "three"))
BLOCK = 50
# Every so many blocks nothing is waited for, so that the queue fills up and the rate limit holds.
PILE_EVERY = 5
# What a desk remembers that is no change: the settings told again.
TELLING = frozenset({"told", "shown", "beside", "tickets"})


@dataclass(slots=True)
class Tally:
    """What became of the messages: how many `ran`, were `refused` by which code, or met with `silence`."""

    messages: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    by: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    rss_before: float = 0.0
    rss_after: float = 0.0
    problems: list[str] = field(default_factory=list)

    def complain(self, text: str) -> None:
        if len(self.problems) < 50:
            self.problems.append(text)


class _Events(Events):
    """Events that are counted as they are made; the outbox has a rate of its own."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.failed: Counter[str] = Counter()
        self.untold = 0

    def node(self, event_type: str, **details: object) -> None:
        if event_type == "command_failed":
            self.failed[str(details["code"])] += 1
            self.untold += int(str(details.get("untold", 0)))
        super().node(event_type, **details)


class Bench:
    """A command queue under attack."""

    def __init__(self, tally: Tally) -> None:
        self.clock = FakeClock()
        self.outbox = Outbox(TOPICS, self.clock)
        self.outbox.online()
        self.events = _Events(TOPICS, self.clock, self.outbox, "fuzz")
        self.commands = Commands(topics=TOPICS, clock=self.clock, outbox=self.outbox, events=self.events)
        self.desk = FakeDesk()
        self._tally = tally
        self._numbers = 0

    def block(self, messages: list[Hostile], *, pile: bool) -> None:
        """Send these; wait for each answer or, when they `pile` up, for all in the end. Each must have one."""
        self.desk = FakeDesk()
        owed: Counter[bytes] = Counter()
        due_events, before_events, before_untold = 0, self.events.failed.copy(), self.events.untold
        # A repetition of what still runs gets no answer of its own.
        seen: set[tuple[str, bytes]] = set()
        replies: Counter[bytes] = Counter()
        for message in messages:
            self._numbers += 1
            mark = self._numbers.to_bytes(8) + (message.correlation or b"")[8:]
            inbound = Hostile(
                message.topic, message.payload, message.by, message.retain, message.response_topic, mark, message.expiry
            ).inbound(self.clock.monotonic(), MAX_PAYLOAD)
            parsed = commands.parse(inbound, TOPICS)
            self._tally.messages += 1
            self._tally.by[message.by] += 1
            before = _state(self.desk)
            if message.topic != HOME_ASSISTANT_STATUS:
                self.commands.receive(inbound, self.desk)
            if not pile:
                # What was asked for is over, or given up, before the next message can be blamed for it.
                replies += self._settle(over=isinstance(parsed, commands.Request))
            origin = None if parsed is None else parsed.origin
            key = (message.topic, origin.digest if origin is not None and origin.digest else message.payload)
            if parsed is None:
                self._tally.answers["silence: not for us, or empty"] += 1
            elif parsed.origin.reply_to is not None and (parsed.origin.id is None or key not in seen):
                owed[mark] += 1
            elif parsed.origin.reply_to is None and isinstance(parsed, commands.Refusal):
                due_events += 1
            seen.add(key)
            harmless = not isinstance(parsed, commands.Request) or parsed.dry_run
            if harmless and not pile and _state(self.desk) != before:
                self._tally.complain(f"{message.by}: a change by {message.topic} {message.payload[:120]!r}")
        replies += self._settle(over=True)
        unanswered = owed - replies
        if unanswered:
            self._tally.complain(
                f"{unanswered.total()} messages without an answer: {self._named(messages, unanswered)}"
            )
        events = self.events.failed - before_events
        untold = self.events.untold - before_untold
        self._tally.answers["event: counted by the next one"] += untold
        if events.total() + untold < due_events:
            self._tally.complain(f"{due_events} refused settings, {events.total()} events and {untold} counted by them")
        for code, number in events.items():
            self._tally.answers[f"event: {code}"] += number
            if code not in CODES:
                self._tally.complain(f"the code {code!r} is not of the interface")
        if any(waiting > 1000 for waiting in self.outbox.waiting.values()):
            self._tally.complain(f"too much waits in the outbox: {self.outbox.waiting}")

    def _named(self, messages: list[Hostile], unanswered: Counter[bytes]) -> str:
        first = self._numbers - len(messages) + 1
        numbers = [int.from_bytes(mark[:8]) - first for mark in unanswered]
        return "; ".join(f"{messages[n].by}: {messages[n].topic} {messages[n].payload[:80]!r}" for n in numbers[:3])

    def _settle(self, *, over: bool) -> Counter[bytes]:
        """Let time pass, until every deadline is `over` if that is asked for; returns the final replies."""
        replies = self._read()
        self.clock.advance(0.11)
        self.commands.tick(self.clock.monotonic())
        replies += self._read()
        if over:
            for _ in range(3):
                self.clock.advance(61.0)
                self.commands.tick(self.clock.monotonic())
                replies += self._read()
        return replies

    def _read(self) -> Counter[bytes]:
        replies: Counter[bytes] = Counter()
        while (outgoing := self.outbox.take()) is not None:
            self.outbox.done(outgoing)
            if not outgoing.payload:
                if TOPICS.parse(outgoing.topic) is None:
                    self._tally.complain(f"it clears {outgoing.topic!r}, which is not for commands")
                continue
            if not outgoing.topic.startswith((f"{TOPICS.base}/", "hailod/client/")) or set(outgoing.topic) & set(
                "+#\0"
            ):
                self._tally.complain(f"it publishes to {outgoing.topic!r}")
            document = json.loads(outgoing.payload)
            if outgoing.correlation is None or "status" not in document:
                continue
            status = document["status"]
            if status == "accepted":
                continue
            replies[outgoing.correlation] += 1
            code = document["error"]["code"] if status == "error" else None
            self._tally.answers[status if code is None else f"refused: {code}"] += 1
            if code is not None and code not in CODES:
                self._tally.complain(f"the code {code!r} is not of the interface")
            if len(outgoing.payload) > MAX_DOCUMENT:
                self._tally.complain(f"a reply of {len(outgoing.payload)} bytes")
        bad = {why: n for (_, why), n in self.outbox.drops.items() if why in (Drop.NOT_JSON, Drop.TOO_LARGE) and n}
        if bad:
            self._tally.complain(f"replies that could not be sent: {bad}")
        return replies


def attack(count: int, seed: int) -> Tally:
    """So many messages, in blocks."""
    tally = Tally()
    bench = Bench(tally)
    draw = stream(NAMES, seed, broker=False)
    began = time.monotonic()
    number = 0
    while tally.messages < count:
        size = min(BLOCK, count - tally.messages)
        try:
            bench.block([draw() for _ in range(size)], pile=number % PILE_EVERY == PILE_EVERY - 1)
        except Exception as error:  # noqa: BLE001 - that nothing of this kind comes out is what is shown
            tally.complain(f"block {number}: {type(error).__name__}: {str(error)[:300]}")
            bench = Bench(tally)
        number += 1
        if number == 20:
            tally.rss_before = rss_mb()
    tally.rss_after = rss_mb()
    tally.rss_before = tally.rss_before or tally.rss_after
    tally.seconds = time.monotonic() - began
    return tally


def _state(desk: FakeDesk) -> dict[str, object]:
    """What a change would show in."""
    return {key: copy.copy(value) for key, value in vars(desk).items() if key not in TELLING}
