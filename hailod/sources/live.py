"""Keeping up with a live stream: how far it runs behind, and which packets to drop then. Pure but for the clock.

A stream that falls behind must not be decoded faster but less. Its packets queue in the kernel and in the camera, for
seconds, where nobody counts them. So once the lag is over the limit, packets are read and dropped without decoding up
to the newest key frame, and decoding goes on from there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from typing import Generic, Protocol, TypeVar

from hailod.clock import Clock

# Quartz clocks differ by up to some 100 ppm; without forgetting at this rate a day's drift would look like lag.
_DRIFT = 200e-6

# A read that took this long found nothing queued.
_WAITED = 0.002

# Timestamps that go on by so much more than time does were set, and so were those that go back.
_JUMP = 2.0

# Packets kept from the newest key frame on while catching up: 20 s at 30 fps.
_MAX_TAIL = 600

# Data that comes for this long at less than twice real time was not queued.
_PROBATION = 0.5


class LivePacket(Protocol):
    """What must be known of a packet, in the names of FFmpeg."""

    @property
    def dts(self) -> int | None: ...

    @property
    def pts(self) -> int | None: ...

    @property
    def time_base(self) -> Fraction | None: ...

    @property
    def is_keyframe(self) -> bool: ...


class LagMeter(Protocol):
    """How far a stream runs behind, in seconds."""

    def observe(self, stamp: float | None, now: float, waited: float) -> float:
        """The lag of data stamped `stamp` that arrived at `now` after the reader had waited for `waited`."""
        ...

    def restart(self) -> None:
        """Nothing is queued now: whatever the lag seemed to be, it is zero."""
        ...


class TimestampLag:
    """Timestamps against the clock: lag is measured against the least delay seen, which is forgotten slowly to follow
    the drift of clocks.

    Timestamps that jump (a camera restarted, its clock was set) start a new measurement: from none when the reader had
    to wait for the packet, else from what the lag would be had they gone on as before. Jumps neither make a lag nor
    hide one.
    """

    def __init__(self) -> None:
        self._least: float | None = None
        self._stamp = 0.0
        self._seen = 0.0
        self._step = 0.0
        self._lag = 0.0

    def observe(self, stamp: float | None, now: float, waited: float) -> float:
        stamp = self._stamp if stamp is None else stamp
        elapsed = now - self._seen
        if self._least is None:
            self._least = now - stamp
        elif _jumped(self._stamp, stamp, elapsed):
            before = 0.0 if waited >= _WAITED else max(self._lag + elapsed - self._step, 0.0)
            self._least = now - stamp - before
        else:
            self._least = min(now - stamp, self._least + _DRIFT * elapsed)
            self._step = stamp - self._stamp
        self._stamp, self._seen = stamp, now
        self._lag = now - stamp - self._least
        return self._lag

    def restart(self) -> None:
        self._least = None


class ArrivalLag:
    """For formats without timestamps: a reader that never has to wait is behind by the time since it last had to."""

    def __init__(self) -> None:
        self._idle: float | None = None

    def observe(self, stamp: float | None, now: float, waited: float) -> float:
        del stamp
        if self._idle is None or waited >= _WAITED:
            self._idle = now
        return now - self._idle

    def restart(self) -> None:
        self._idle = None


P = TypeVar("P", bound=LivePacket)


class LivePackets(Generic[P]):
    """The packets of a live stream without those that there is no time to decode; `skipped` counts them.

    `patience` bounds how long a key frame younger than `max_lag` is waited for. After `silence` seconds without a
    packet `next` raises TimeoutError.
    """

    def __init__(
        self, packets: Iterator[P], lag: LagMeter, clock: Clock, *, max_lag: float, patience: float, silence: float
    ) -> None:
        self._packets = packets
        self._lag = lag
        self._clock = clock
        self._max_lag = max_lag
        self._patience = patience
        self._silence = silence
        self._replay: deque[P] = deque()
        self.skipped = 0

    def next(self) -> tuple[P | None, bool]:
        """The next packet, None at the end; and whether packets before it are missing (the decoder must be flushed)."""
        if self._replay:
            return self._replay.popleft(), False
        packet, lag = self._receive()
        if packet is None or lag <= self._max_lag:
            return packet, False
        return self._catch_up(packet, lag)

    def _receive(self) -> tuple[P | None, float]:
        asked = self._clock.monotonic()
        packet = next(self._packets, None)
        if packet is None:
            return None, 0.0
        now = self._clock.monotonic()
        if now - asked >= self._silence:
            # FFmpeg gave up waiting and hands out what its parser had held back; asked again it would wait again.
            raise TimeoutError
        return packet, self._lag.observe(_stamp(packet), now, now - asked)

    def _catch_up(self, packet: P, lag: float) -> tuple[P | None, bool]:
        """Read on to the end of the queue and go back to the newest key frame.

        The end is reached when the lag is gone; or when data comes no faster than real time, for then nothing was
        queued and the stream fell behind its own timestamps. A key frame too old by itself would only bring the lag
        back, so the next one is awaited.
        """
        begun, before, progress = self._clock.monotonic(), _stamp(packet), 0.0
        tail: deque[P] = deque()
        key_lag, key_time = 0.0, begun
        while True:
            now = self._clock.monotonic()
            if packet.is_keyframe or len(tail) >= _MAX_TAIL:
                self.skipped += len(tail)
                tail.clear()
            if packet.is_keyframe:
                key_lag, key_time = lag, now
            if packet.is_keyframe or tail:
                tail.append(packet)
            else:
                self.skipped += 1
            elapsed = now - begun
            progress, before = progress + _step(before, _stamp(packet)), _stamp(packet)
            if elapsed > _PROBATION and progress < 2.0 * elapsed and lag > self._max_lag / 4:
                self._lag.restart()
                lag = key_lag = 0.0
            fresh = key_lag + now - key_time <= self._max_lag
            if elapsed > self._patience or (tail and fresh and lag <= self._max_lag / 4):
                self._replay = tail or deque([packet])
                return self._replay.popleft(), True
            received, lag = self._receive()
            if received is None:
                self.skipped += len(tail)
                return None, True
            packet = received


def _stamp(packet: LivePacket) -> float | None:
    ticks = packet.dts if packet.dts is not None else packet.pts
    return None if ticks is None or packet.time_base is None else float(ticks * packet.time_base)


def _jumped(before: float, stamp: float, elapsed: float) -> bool:
    return not 0.0 <= stamp - before <= elapsed + _JUMP


def _step(before: float | None, stamp: float | None) -> float:
    """How far the timestamps went on; nothing where they jumped."""
    return stamp - before if before is not None and stamp is not None and not _jumped(before, stamp, 0.0) else 0.0
