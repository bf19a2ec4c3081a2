"""The four ways in which a message waits, one class each: pure, without lock or clock, used by `Outbox` alone.

Each lane has `pick(now)`, the next message that may go at `now`, and `ready_at(now)`, when there will be one by the
passing of time alone. What a lane gives up is counted in the `drops` it was given.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from hailod.mqtt.bucket import TokenBucket
from hailod.mqtt.messages import Document

MAX_TOPICS = 4096
MAX_EVENTS = 1000
MAX_REPLIES = 64
EVENT_TTL = 600.0
REPLY_TTL = 60.0
REPLAY_RATE = 50.0
# Some credit, so that a 30 FPS camera with its jitter reaches 5 Hz and not 4.3.
_STREAM_BURST = 1.5


class Kind(StrEnum):
    """The kinds of message."""

    STATE = "state"
    STREAM = "stream"
    EVENT = "event"
    REPLY = "reply"
    PICTURE = "picture"


class Drop(StrEnum):
    """Why a message was not sent."""

    OFFLINE = "offline"
    PACED = "paced"
    BUSY = "busy"
    OVERFLOW = "overflow"
    EXPIRED = "expired"
    TOO_LARGE = "too_large"
    NOT_JSON = "not_json"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"


Drops = Counter[tuple[str, Drop]]


@dataclass(frozen=True, slots=True, eq=False)
class Queued:
    """A message picked to be sent or, with `born` (monotonic seconds), one that waits in order. With `expiry` (seconds)
    the broker retains it, and forgets it by itself."""

    kind: Kind
    topic: str
    document: Document
    born: float = 0.0
    correlation: bytes | None = None
    expiry: int | None = None


@dataclass(frozen=True, slots=True)
class StatePolicy:
    """When a state document is worth telling again.

    It counts as unchanged when it equals the one sent last but for the top-level keys in `ignore` and for numbers that
    moved by less than the `deadband` of their key, at any depth. Unchanged, it is told again only `keep_alive` seconds
    after the last time (None: never); changed, at most every `min_interval` seconds, the latest then.
    """

    keep_alive: float | None = None
    min_interval: float = 0.0
    ignore: frozenset[str] = frozenset({"ts"})
    deadband: Mapping[str, float] = field(default_factory=dict)

    def unchanged(self, sent: Document, new: Document) -> bool:
        """Whether a reader of `sent` would learn nothing from `new`."""
        if isinstance(sent, str | bytes) or isinstance(new, str | bytes):
            return sent == new
        return all(
            key in self.ignore or (key in sent and key in new and self._equal(key, sent[key], new[key]))
            for key in sent.keys() | new.keys()
        )

    def _equal(self, key: str, sent: object, new: object) -> bool:
        if key in self.deadband and isinstance(sent, int | float) and isinstance(new, int | float):
            return abs(new - sent) < self.deadband[key]
        if isinstance(sent, Mapping) and isinstance(new, Mapping):
            return sent.keys() == new.keys() and all(self._equal(inner, sent[inner], new[inner]) for inner in sent)
        return sent == new


@dataclass(slots=True, eq=False)
class _State:
    document: Document
    sent: Document | None = None
    sent_at: float = 0.0
    due: float | None = None


class StateLane:
    """The latest document of each topic, kept for good so that it can be announced at every connect."""

    def __init__(self, rank: Callable[[str], int], drops: Drops) -> None:
        self._rank = rank
        self._drops = drops
        self._states: dict[str, _State] = {}
        self._announcement: deque[str] = deque()
        self._forgotten: dict[str, None] = {}
        # Topics whose state cannot be sent, and of which the broker is told to hold nothing.
        self._blank: set[str] = set()
        # What was picked last of each topic, until the broker has it.
        self._flying: dict[str, Document] = {}

    def __len__(self) -> int:
        return sum(entry.due is not None for entry in self._states.values()) + len(self._forgotten)

    @property
    def announcing(self) -> bool:
        return bool(self._announcement)

    def put(self, topic: str, document: Document, policy: StatePolicy, now: float) -> None:
        entry = self._states.get(topic)
        if entry is None:
            if len(self._states) >= MAX_TOPICS:
                self._drops[Kind.STATE, Drop.OVERFLOW] += 1
                return
            entry = self._states[topic] = _State(document)
        if topic not in self._blank:
            self._forgotten.pop(topic, None)
        entry.document = document
        if entry.sent is None:
            entry.due = now
        elif not policy.unchanged(entry.sent, document):
            entry.due = max(now, entry.sent_at + policy.min_interval)
        elif policy.keep_alive is not None and now - entry.sent_at >= policy.keep_alive:
            entry.due = now
        else:
            entry.due = None

    def present(self) -> dict[str, Document]:
        return {topic: entry.document for topic, entry in self._states.items()}

    def blank(self, topic: str) -> None:
        """The topic's document, just picked, cannot be sent: better nothing at the broker than an older one."""
        if topic in self._states and topic not in self._blank:
            self._blank.add(topic)
            self._forgotten[topic] = None

    def fits(self, topic: str) -> None:
        """The topic's document, just picked, can be sent."""
        self._blank.discard(topic)

    def landed(self, topic: str, document: Document) -> None:
        """The broker has the document, or will never have it."""
        if self._flying.get(topic) is document:
            del self._flying[topic]

    def settled(self, topic: str) -> bool:
        """Whether the broker has the latest of the topic, its clearing included."""
        entry = self._states.get(topic)
        told = entry is None or (entry.sent is not None and entry.due is None)
        return told and topic not in self._flying and topic not in self._forgotten

    def restore_clearing(self, topic: str) -> None:
        """It is not known whether the broker cleared the topic; a state that it has by now is announced anyway."""
        if topic not in self._states:
            self.forget(topic)

    def forget(self, topic: str) -> None:
        self._states.pop(topic, None)
        self._blank.discard(topic)
        if topic not in self._forgotten and len(self._forgotten) >= MAX_TOPICS:
            self._drops[Kind.STATE, Drop.OVERFLOW] += 1
            return
        self._forgotten[topic] = None

    def repeat(self, topic: str, now: float) -> None:
        """The topic's document is due although it has not changed."""
        entry = self._states.get(topic)
        if entry is not None:
            entry.due = now

    def announce(self) -> None:
        """Everything is due again, in order of rank."""
        for entry in self._states.values():
            entry.sent, entry.due = None, None
        for topic in self._blank:
            self._forgotten.pop(topic, None)
        self._blank.clear()
        self._announcement = deque(sorted(self._states, key=self._rank))

    def interrupt(self) -> None:
        """The announcement cannot go on."""
        self._announcement.clear()

    def pick(self, now: float) -> Queued | None:
        while self._announcement:
            topic = self._announcement.popleft()
            if topic in self._states:
                return self._picked(topic, self._states[topic], now)
        if self._forgotten:
            topic = next(iter(self._forgotten))
            del self._forgotten[topic]
            self._flying[topic] = ""
            return Queued(Kind.STATE, topic, "")
        for topic, entry in self._states.items():
            if entry.due is not None and entry.due <= now:
                return self._picked(topic, entry, now)
        return None

    def ready_at(self, now: float) -> float | None:
        if self._announcement or self._forgotten:
            return now
        return min((entry.due for entry in self._states.values() if entry.due is not None), default=None)

    def _picked(self, topic: str, entry: _State, now: float) -> Queued:
        entry.sent, entry.sent_at, entry.due = entry.document, now, None
        self._flying[topic] = entry.document
        return Queued(Kind.STATE, topic, entry.document)


@dataclass(slots=True, eq=False)
class _Stream:
    name: str
    max_hz: float
    bucket: TokenBucket
    waiting: Document | None = None
    in_flight: bool = False


class StreamLane:
    """At most one message of each topic on its way; one that cannot go at once is skipped."""

    def __init__(self, drops: Drops) -> None:
        self._drops = drops
        self._streams: dict[str, _Stream] = {}

    def __len__(self) -> int:
        return sum(entry.waiting is not None for entry in self._streams.values())

    def put(self, topic: str, document: Document, max_hz: float, now: float, *, online: bool) -> bool:
        """Says whether it will be sent, if nothing happens to the connection."""
        entry = self._streams.get(topic)
        if entry is None:
            if len(self._streams) >= MAX_TOPICS:
                self._drops[Kind.STREAM, Drop.OVERFLOW] += 1
                return False
            entry = _Stream(topic.rpartition("/")[2], max_hz, TokenBucket(max_hz, _STREAM_BURST))
            self._streams[topic] = entry
        elif entry.max_hz != max_hz:
            entry.max_hz, entry.bucket = max_hz, TokenBucket(max_hz, _STREAM_BURST)
        if not online:
            self._drops[entry.name, Drop.OFFLINE] += 1
        elif entry.in_flight:
            self._drops[entry.name, Drop.BUSY] += 1
        elif not entry.bucket.take(now):
            self._drops[entry.name, Drop.PACED] += 1
        else:
            if entry.waiting is not None:
                self._drops[entry.name, Drop.BUSY] += 1
            entry.waiting = document
            return True
        return False

    def landed(self, topic: str) -> None:
        """The message on its way is out of the process, or came to nothing."""
        self._streams[topic].in_flight = False

    def clear(self) -> None:
        """The connection is gone, and all that was on its way with it."""
        for entry in self._streams.values():
            self._drops[entry.name, Drop.OFFLINE] += entry.in_flight + (entry.waiting is not None)
            entry.in_flight, entry.waiting = False, None

    def pick(self, _now: float) -> Queued | None:
        for topic, entry in self._streams.items():
            if entry.waiting is not None:
                document, entry.waiting, entry.in_flight = entry.waiting, None, True
                return Queued(Kind.STREAM, topic, document)
        return None

    def ready_at(self, now: float) -> float | None:
        return now if len(self) else None


@dataclass(slots=True, eq=False)
class _EventQueue:
    bucket: TokenBucket | None
    seq: int = 0
    backlog: deque[Queued] = field(default_factory=deque)
    live: deque[Queued] = field(default_factory=deque)

    @property
    def oldest(self) -> Queued | None:
        return self.backlog[0] if self.backlog else self.live[0] if self.live else None

    def pop(self) -> Queued:
        return (self.backlog or self.live).popleft()


class EventLane:
    """Events in order per topic, numbered; those from before the connection go first, marked, and not all at once."""

    def __init__(self, limits: Mapping[str, tuple[float, float]], drops: Drops) -> None:
        self._limits = limits
        self._drops = drops
        self._queues: dict[str, _EventQueue] = {}
        self._replay = TokenBucket(REPLAY_RATE)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def put(self, topic: str, document: Mapping[str, object], now: float) -> None:
        queue = self._queues.get(topic)
        if queue is None:
            if len(self._queues) >= MAX_TOPICS:
                self._drops[Kind.EVENT, Drop.OVERFLOW] += 1
                return
            limit = self._limits.get(topic)
            queue = self._queues[topic] = _EventQueue(TokenBucket(*limit) if limit is not None else None)
        queue.seq += 1
        queue.live.append(Queued(Kind.EVENT, topic, {**document, "seq": queue.seq, "replayed": False}, now))
        self._count += 1
        self._bound(now)

    def restore(self, message: Queued) -> None:
        """Put back in front what was taken and not acknowledged; the last taken first."""
        self._queues[message.topic].backlog.appendleft(message)
        self._count += 1

    def age(self) -> None:
        """A new connection: everything that waits is from before it."""
        for queue in self._queues.values():
            queue.backlog.extend(queue.live)
            queue.live.clear()

    def pick(self, now: float) -> Queued | None:
        self._bound(now)
        ready = [queue for queue in self._queues.values() if queue.oldest and self._allowed_at(queue, now) <= now]
        if not ready:
            return None
        queue = min(ready, key=_born)
        replayed = bool(queue.backlog)
        message = queue.pop()
        self._count -= 1
        if queue.bucket is not None:
            queue.bucket.take(now)
        if not replayed:
            return message
        self._replay.take(now)
        document = message.document
        assert not isinstance(document, str | bytes), "an event is a JSON object"
        return Queued(Kind.EVENT, message.topic, {**document, "replayed": True}, message.born)

    def ready_at(self, now: float) -> float | None:
        return min((self._allowed_at(queue, now) for queue in self._queues.values() if queue.oldest), default=None)

    def _allowed_at(self, queue: _EventQueue, now: float) -> float:
        own = now if queue.bucket is None else queue.bucket.ready_at(now)
        return max(own, self._replay.ready_at(now)) if queue.backlog else own

    def _bound(self, now: float) -> None:
        for queue in self._queues.values():
            while queue.oldest is not None and now - queue.oldest.born > EVENT_TTL:
                self._drop_oldest(queue, Drop.EXPIRED)
        while self._count > MAX_EVENTS:
            self._drop_oldest(min((queue for queue in self._queues.values() if queue.oldest), key=_born), Drop.OVERFLOW)

    def _drop_oldest(self, queue: _EventQueue, reason: Drop) -> None:
        queue.pop()
        self._count -= 1
        self._drops[Kind.EVENT, reason] += 1


def _born(queue: _EventQueue) -> float:
    assert queue.oldest is not None, "an empty queue has no oldest event"
    return queue.oldest.born


class ReplyLane:
    """Replies in order; nobody waits for one longer than a minute."""

    def __init__(self, drops: Drops) -> None:
        self._drops = drops
        self._replies: deque[Queued] = deque()

    def __len__(self) -> int:
        return len(self._replies)

    def put(self, topic: str, document: Document, correlation: bytes | None, now: float) -> None:
        self._replies.append(Queued(Kind.REPLY, topic, document, now, correlation))
        self._bound(now)

    def restore(self, message: Queued) -> None:
        self._replies.appendleft(message)

    def pick(self, now: float) -> Queued | None:
        self._bound(now)
        return self._replies.popleft() if self._replies else None

    def ready_at(self, now: float) -> float | None:
        return now if self._replies else None

    def _bound(self, now: float) -> None:
        while self._replies and now - self._replies[0].born > REPLY_TTL:
            self._replies.popleft()
            self._drops[Kind.REPLY, Drop.EXPIRED] += 1
        while len(self._replies) > MAX_REPLIES:
            self._replies.popleft()
            self._drops[Kind.REPLY, Drop.OVERFLOW] += 1
