"""The one place between what the daemon has to say and the network: bounded, and never waited for.

Five kinds of message, each with its own answer to a slow or absent broker (`lanes`):

    state    retained, QoS 1   the latest of each topic is kept for good and told again at every connect
    stream   QoS 0             skipped while offline, above its rate, or while the one before it is still on its way
    event    QoS 1             queued in order, numbered per topic; after an outage told with `replayed: true`
    reply    QoS 1             kept for a minute
    picture  QoS 0             bytes, one per topic at a time, lost while offline; the sender hears what became of it

Producers, on any thread, only store a reference; they must not change a document afterwards. One consumer, the MQTT
thread, calls `online`, `take`, `done`, `offline`; JSON is made there. After `online` all state is told in the order of
`Topics.rank`, the node's `status` last, and only then anything else.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import structlog

from hailod.clock import Clock
from hailod.mqtt.lanes import (
    Drop,
    Drops,
    EventLane,
    Kind,
    Queued,
    ReplyLane,
    StateLane,
    StatePolicy,
    StreamLane,
)
from hailod.mqtt.messages import Document, ReplyTo
from hailod.mqtt.pictures import MAX_PICTURE, Fate, PictureLane
from hailod.mqtt.topics import Topics

log = structlog.get_logger(__name__)

MAX_DOCUMENT = 16_384
# Fixed header, lengths, packet identifier and properties of a PUBLISH beside topic, correlation data and payload.
_PACKET_OVERHEAD = 32
# hailod/<node>/cam/<camera>/snapshot, with names as long as they may be.
_LONGEST_TOPIC = 128
# What the node has to say about itself: 5 a second, 20 at once.
_NODE_EVENTS = (5.0, 20.0)

# That it came or went is news of its own: the document is told again although nothing else in it has changed.
_UNSYNCED = MappingProxyType({"clock_synced": False})

# What a figure has to move by to be news: frames per second, degrees Celsius.
_DEADBAND = MappingProxyType({"fps": 0.5, "temp_c": 0.5})

ON_CHANGE = StatePolicy()
HEALTH = StatePolicy(
    keep_alive=60.0,
    min_interval=0.5,
    ignore=frozenset({"ts", "uptime_s", "device_restarts", "mqtt", "frames"}),
    deadband=_DEADBAND,
)
CAMERA_STATE = StatePolicy(keep_alive=30.0, min_interval=0.5, deadband=_DEADBAND)


@dataclass(frozen=True, slots=True, eq=False)
class Outgoing:
    """One message for the network. Its taker ends it by `done`, or hands it back by `offline`."""

    message: Queued
    payload: bytes

    @property
    def topic(self) -> str:
        return self.message.topic

    @property
    def correlation(self) -> bytes | None:
        return self.message.correlation

    @property
    def qos(self) -> int:
        return 0 if self.message.kind in (Kind.STREAM, Kind.PICTURE) else 1

    @property
    def retain(self) -> bool:
        return self.message.kind is Kind.STATE or self.expiry is not None

    @property
    def expiry(self) -> int | None:
        """Seconds after which the broker is to forget it; where it cannot, it must not retain it."""
        return self.message.expiry


class Outbox:
    """Everything that waits to be published. Thread-safe; no I/O, encoding or callback under its lock."""

    def __init__(
        self,
        topics: Topics,
        clock: Clock,
        *,
        redact: Callable[[str, Document], Document] = lambda _, document: document,
    ) -> None:
        """`redact` takes what is secret out of the document of a topic, right before it is sent; on the MQTT thread."""
        self._clock = clock
        self._redact = redact
        self._lock = threading.Lock()
        self._wake: Callable[[], None] | None = None
        self._online = False
        self._max_packet: int | None = None
        self._complained: set[str] = set()
        self._oversized: Mapping[str, int] = {}
        self._clock_synced = True
        self._drops: Drops = Counter()
        self._states = StateLane(topics.rank, self._drops)
        self._streams = StreamLane(self._drops)
        self._events = EventLane({topics.event: _NODE_EVENTS}, self._drops)
        self._replies = ReplyLane(self._drops)
        self._pictures = PictureLane(self._drops)

    # -- producers ---------------------------------------------------------------------------------------------------

    def state(self, topic: str, document: Document, policy: StatePolicy = ON_CHANGE) -> None:
        """Tell the state of `topic` (retained): now, or when `policy` allows, and at every connect from now on."""
        with self._lock:
            self._states.put(topic, self._dated(document), policy, self._clock.monotonic())
        self._notify()

    def repeat(self, topic: str) -> None:
        """Tell the state of `topic` once more, unchanged: whoever showed something else must be put right."""
        with self._lock:
            self._states.repeat(topic, self._clock.monotonic())
        self._notify()

    def repeat_all(self) -> None:
        """Tell every state once more, in the order of a new connection; without one that is to come anyway."""
        with self._lock:
            if self._online:
                self._states.announce()
        self._notify()

    def forget(self, topic: str) -> None:
        """Clear what the broker retains for `topic`: a state that exists no more, or a retained command."""
        with self._lock:
            self._states.forget(topic)
        self._notify()

    def settled(self, topics: Iterable[str]) -> bool:
        """Whether the broker has acknowledged the latest state of each topic, or that there is none any more."""
        with self._lock:
            return all(self._states.settled(topic) for topic in topics)

    def stream(self, topic: str, document: Document, max_hz: float) -> None:
        """Send `document` now or never; at most `max_hz` a second on this topic, 0 turns it off."""
        if max_hz <= 0:
            return
        with self._lock:
            dated = self._dated(document)
            accepted = self._streams.put(topic, dated, max_hz, self._clock.monotonic(), online=self._online)
        if accepted:
            self._notify()

    def give_up(self, topic: str, count: int) -> None:
        """Count `count` messages of a stream that were too many before they came here."""
        with self._lock:
            self._drops[topic.rpartition("/")[2], Drop.OVERFLOW] += count

    def event(self, topic: str, document: Mapping[str, object]) -> None:
        """Queue an event; it gains `seq`, counted from 1 per topic, and `replayed`.

        Of more than 1000 the oldest is given up, and what could not be sent for ten minutes.
        """
        with self._lock:
            self._events.put(topic, {**document, **self._mark(document)}, self._clock.monotonic())
        self._notify()

    def reply(self, to: ReplyTo, document: Document) -> None:
        """Answer a command; given up after a minute without a broker."""
        with self._lock:
            self._replies.put(to.topic, self._dated(document), to.correlation, self._clock.monotonic())
        self._notify()

    def picture(self, topic: str, jpeg: bytes, on_fate: Fate, *, retain: bool = False) -> bool:
        """Send a picture now or never; False: not at all. Otherwise `on_fate` hears, on any thread, whether it left.

        `retain`: the broker keeps it for a day, if it can forget it by itself.
        """
        with self._lock:
            accepted = self._pictures.put(topic, jpeg, on_fate, retain=retain, online=self._online)
        if accepted:
            self._notify()
        return accepted

    def withdraw(self, topic: str) -> None:
        """Have no picture of `topic` exist any more: not here, not at the broker."""
        with self._lock:
            fate = self._pictures.withdraw(topic)
            self._states.forget(topic)
        if fate is not None:
            fate(False)
        self._notify()

    # -- anyone ------------------------------------------------------------------------------------------------------

    @property
    def clock_synced(self) -> bool:
        """Whether the wall clock is set. While it is not, every document that holds a `ts` says so."""
        return self._clock_synced

    @clock_synced.setter
    def clock_synced(self, synced: bool) -> None:
        self._clock_synced = synced

    @property
    def present(self) -> dict[str, Document]:
        """The state of every topic as it is now: what a broker holds once it has been told everything."""
        with self._lock:
            return self._states.present()

    @property
    def oversized(self) -> Mapping[str, int]:
        """What the present broker takes no packet large enough for: bytes by topic, replies as one. Never changed."""
        return self._oversized

    @property
    def dropped(self) -> dict[str, int]:
        """What was lost since the start, by kind: `event`, `reply`, `state`, and streams by the last level of their
        topic. What a rate kept back on purpose is no loss and not in here."""
        with self._lock:
            lost: Counter[str] = Counter()
            for (name, reason), count in self._drops.items():
                if reason is not Drop.PACED and count:
                    lost[name] += count
            return dict(lost)

    @property
    def losses(self) -> dict[str, dict[str, int]]:
        """What `dropped` counts, for each kind by reason."""
        found: dict[str, dict[str, int]] = {}
        for (kind, reason), count in sorted(self.drops.items()):
            if reason is not Drop.PACED and count:
                found.setdefault(str(kind), {})[reason.value] = count
        return found

    @property
    def drops(self) -> dict[tuple[str, Drop], int]:
        """Everything that was not sent since the start, by kind (as in `dropped`) and reason."""
        with self._lock:
            return dict(self._drops)

    @property
    def picture_limit(self) -> int:
        """How many bytes a picture may have on any topic of ours: ours to say, or the broker's."""
        limit = MAX_PICTURE
        if self._max_packet is not None:
            limit = min(limit, self._max_packet - _PACKET_OVERHEAD - _LONGEST_TOPIC)
        return limit

    @property
    def waiting(self) -> dict[Kind, int]:
        """How much waits, by kind."""
        with self._lock:
            return {
                Kind.STATE: len(self._states),
                Kind.STREAM: len(self._streams),
                Kind.EVENT: len(self._events),
                Kind.REPLY: len(self._replies),
                Kind.PICTURE: len(self._pictures),
            }

    # -- the MQTT thread ---------------------------------------------------------------------------------------------

    def attach(self, wake: Callable[[], None] | None) -> None:
        """Have `wake` called, on the producer's thread, after anything was put; it must not block."""
        with self._lock:
            self._wake = wake

    def online(self, *, max_packet: int | None = None) -> None:
        """The broker listens, to packets of at most `max_packet` bytes: all state is due again, the backlog is old."""
        with self._lock:
            self._online = True
            self._max_packet = max_packet
            self._oversized = {}
            self._states.announce()
            self._events.age()

    def offline(self, unfinished: Iterable[Outgoing] = ()) -> None:
        """The broker is gone. `unfinished`, in the order of `take`, was never acknowledged: events, replies and
        clearings wait again, states are told at the next connect anyway, streams are lost."""
        with self._lock:
            self._online = False
            self._states.interrupt()
            self._streams.clear()
            lost = self._pictures.clear()
            for outgoing in reversed(list(unfinished)):
                message = outgoing.message
                if message.kind is Kind.EVENT:
                    self._events.restore(message)
                elif message.kind is Kind.REPLY:
                    self._replies.restore(message)
                elif message.kind is Kind.STATE and not message.document:
                    self._states.restore_clearing(message.topic)
        for fate in lost:
            fate(False)

    def take(self, *, room: bool = True) -> Outgoing | None:
        """The next message to send now, or None. Without `room` only QoS 0, which the broker does not acknowledge."""
        while True:
            with self._lock:
                message = self._pick(self._clock.monotonic(), room)
            if message is None:
                return None
            try:
                payload = encode(self._redact(message.topic, message.document))
            except (TypeError, ValueError, RecursionError) as error:
                self._refuse(message, Drop.NOT_JSON, str(error))
                continue
            packet = _packet_size(message, payload)
            self._note_size(message, packet)
            if len(payload) > (MAX_PICTURE if message.kind is Kind.PICTURE else MAX_DOCUMENT):
                self._refuse(message, Drop.TOO_LARGE, f"{len(payload)} bytes")
            elif self._max_packet is not None and packet > self._max_packet:
                self._refuse(message, Drop.TOO_LARGE, f"{packet} bytes, the broker takes {self._max_packet}")
            else:
                if message.kind is Kind.STATE and payload:
                    with self._lock:
                        self._states.fits(message.topic)
                return Outgoing(message, payload)

    def done(self, outgoing: Outgoing, *, refused: bool = False) -> None:
        """The message left the process (stream), or the broker has it or refused it for good (all others)."""
        fate: Fate | None = None
        with self._lock:
            if outgoing.message.kind is Kind.STREAM:
                self._streams.landed(outgoing.topic)
            elif outgoing.message.kind is Kind.STATE:
                self._states.landed(outgoing.topic, outgoing.message.document)
            elif outgoing.message.kind is Kind.PICTURE:
                fate = self._pictures.landed(outgoing.topic)
            if refused:
                self._drops[outgoing.message.kind, Drop.REFUSED] += 1
        if fate is not None:
            fate(not refused)

    def wait_s(self, *, room: bool = True) -> float | None:
        """Seconds until `take` has something by the passing of time alone; None when nothing is planned."""
        with self._lock:
            now = self._clock.monotonic()
            moments = [at for lane in self._open(room) if (at := lane.ready_at(now)) is not None]
        return max(0.0, min(moments) - now) if moments else None

    def _open(self, room: bool) -> tuple[StateLane | StreamLane | EventLane | ReplyLane | PictureLane, ...]:
        """The lanes that may send now, the most urgent first."""
        if not self._online:
            return ()
        if self._states.announcing:
            return (self._states,) if room else ()
        unacknowledged = (self._streams, self._pictures)
        return (self._replies, self._states, self._events, *unacknowledged) if room else unacknowledged

    def _pick(self, now: float, room: bool) -> Queued | None:
        return next((message for lane in self._open(room) if (message := lane.pick(now)) is not None), None)

    def _note_size(self, message: Queued, packet: int) -> None:
        """Keep `oversized` true: the largest of each topic. A state leaves it when it fits; what one event or frame was
        too large for says nothing of the next, so those stay until the next connection."""
        subject = _subject(message)
        known = self._oversized.get(subject, 0)
        if self._max_packet is not None and packet > self._max_packet:
            if packet > known:
                self._oversized = {**self._oversized, subject: packet}
        elif known and message.kind is Kind.STATE and message.document:
            self._oversized = {topic: size for topic, size in self._oversized.items() if topic != subject}

    def _refuse(self, message: Queued, reason: Drop, detail: str) -> None:
        """Count what cannot be sent, and complain once per topic of ours.

        Of a state the broker may hold an older one, which would pass for the present one: that is cleared.
        """
        streaming = message.kind is Kind.STREAM
        subject = _subject(message)
        fate: Fate | None = None
        with self._lock:
            self._drops[message.topic.rpartition("/")[2] if streaming else message.kind, reason] += 1
            if streaming:
                self._streams.landed(message.topic)
            elif message.kind is Kind.PICTURE:
                fate = self._pictures.landed(message.topic)
            elif message.kind is Kind.STATE:
                self._states.blank(message.topic)
                self._states.landed(message.topic, message.document)
            first = subject not in self._complained
            self._complained.add(subject)
        if fate is not None:
            fate(False)
        if first:
            log.error("document refused", topic=message.topic, reason=reason.value, detail=detail)

    def _dated(self, document: Document) -> Document:
        """The document, marked if its `ts` comes from a clock that was not set when it was written."""
        mark = self._mark(document)
        return {**document, **mark} if mark and not isinstance(document, str | bytes) else document

    def _mark(self, document: Document) -> Mapping[str, object]:
        dated = not isinstance(document, str | bytes) and "ts" in document
        return _UNSYNCED if dated and not self._clock_synced else {}

    def _notify(self) -> None:
        wake = self._wake
        if wake is not None:
            wake()


def _subject(message: Queued) -> str:
    """What a complaint about a message is about: its topic, unless a stranger chose it."""
    return str(message.kind) if message.kind is Kind.REPLY else message.topic


def _packet_size(message: Queued, payload: bytes) -> int:
    return len(message.topic.encode()) + len(message.correlation or b"") + len(payload) + _PACKET_OVERHEAD


def encode(document: Document) -> bytes:
    """The document as it goes over the wire. Raises TypeError or ValueError for what JSON cannot say, NaN included."""
    if isinstance(document, bytes):
        return document
    if isinstance(document, str):
        return document.encode()
    return json.dumps(document, allow_nan=False, separators=(",", ":"), ensure_ascii=False).encode()
