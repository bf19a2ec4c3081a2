"""Keeping up with a live stream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import pytest

from hailod.clock import FakeClock
from hailod.sources.live import ArrivalLag, LivePackets, TimestampLag

FPS = 25
GOP = 50


@dataclass(frozen=True)
class FakePacket:
    """Frame number `pts` of a stream of 25 frames per second with a key frame every two seconds."""

    pts: int
    is_keyframe: bool
    dts: int | None = None
    time_base: Fraction | None = Fraction(1, FPS)


class FakeStream:
    """A camera that produced frame n at n/25 s, whatever the reader does; nothing is lost on the way."""

    def __init__(self, clock: FakeClock, *, gop: int = GOP, speed: float = 1.0, frames: int = 10_000) -> None:
        self.clock = clock
        self.gop = gop
        self.speed = speed
        self.frames = frames
        self.begin = clock.monotonic()

    def packets(self) -> Iterator[FakePacket]:
        for number in range(self.frames):
            produced = self.begin + number / FPS / self.speed
            self.clock.advance(max(0.0, produced - self.clock.monotonic()))
            yield FakePacket(number, number % self.gop == 0)


def live(stream: FakeStream, *, patience: float = 2.5) -> LivePackets[FakePacket]:
    return LivePackets(stream.packets(), TimestampLag(), stream.clock, max_lag=1.0, patience=patience)


def lag_of(stream: FakeStream, packet: FakePacket) -> float:
    return stream.clock.monotonic() - (stream.begin + packet.pts / FPS)


def test_a_reader_that_keeps_up_gets_every_packet() -> None:
    """Nothing is dropped without need."""
    packets = live(FakeStream(FakeClock()))
    numbers = [packet.pts for packet, gap in (packets.next() for _ in range(500)) if packet is not None and not gap]
    assert numbers == list(range(500))
    assert packets.skipped == 0


def test_a_reader_that_stalled_goes_on_at_the_newest_key_frame() -> None:
    """After a stall what is old is dropped undecoded and counted; the first packet after the gap is a key frame."""
    stream = FakeStream(FakeClock())
    packets = live(stream)
    for _ in range(10):
        packets.next()
    stream.clock.advance(4.3)
    packet, gap = packets.next()
    assert gap
    assert packet is not None
    assert packet.is_keyframe
    assert packet.pts == 100
    assert lag_of(stream, packet) <= 1.0
    assert packets.skipped == 90


def test_after_a_gap_no_packet_is_missing_up_to_the_next() -> None:
    """From the key frame on the decoder gets every packet, those read while catching up first."""
    stream = FakeStream(FakeClock())
    packets = live(stream)
    packets.next()
    stream.clock.advance(4.3)
    first, _ = packets.next()
    assert first is not None
    following = [packet.pts for packet, gap in (packets.next() for _ in range(40)) if packet is not None and not gap]
    assert following == list(range(first.pts + 1, first.pts + 41))


def test_a_key_frame_that_is_too_old_is_passed_over_for_the_next() -> None:
    """Decoding from a key frame older than the limit would only bring the lag back."""
    stream = FakeStream(FakeClock())
    packets = live(stream)
    packets.next()
    stream.clock.advance(5.6)
    packet, gap = packets.next()
    assert gap
    assert packet is not None
    assert packet.pts == 150
    assert lag_of(stream, packet) == pytest.approx(0.0, abs=0.01)


def test_a_key_frame_is_not_waited_for_beyond_patience() -> None:
    """With key frames far apart the newest one has to do, however old."""
    stream = FakeStream(FakeClock(), gop=1000)
    packets = live(stream, patience=2.0)
    packets.next()
    stream.clock.advance(3.0)
    before = stream.clock.monotonic()
    packet, gap = packets.next()
    assert gap
    assert packet is not None
    assert stream.clock.monotonic() - before <= 2.1


def test_a_stream_that_is_slow_itself_is_not_skipped_for_ever() -> None:
    """A camera whose timestamps run at half speed queues nothing: lag is measured anew and its packets go on."""
    stream = FakeStream(FakeClock(), speed=0.5)
    packets = live(stream)
    got = [packet for packet, _ in (packets.next() for _ in range(1000)) if packet is not None]
    assert len(got) == 1000
    assert packets.skipped < len(got)


def test_clocks_that_drift_apart_are_not_lag() -> None:
    """A camera whose quartz runs 100 ppm slow is not behind after a day."""
    meter = TimestampLag()
    lags = [meter.observe(t * (1 - 100e-6), float(t), 0.0) for t in range(86_400)]
    assert max(lags) < 0.01


def test_timestamps_that_run_backwards_start_a_new_measurement() -> None:
    """A camera that restarts or sets its clock is not behind because of it."""
    meter = TimestampLag()
    meter.observe(5000.0, 10.0, 0.0)
    assert meter.observe(1.0, 10.1, 0.0) == 0.0
    assert meter.observe(1.1, 10.4, 0.0) == pytest.approx(0.2, abs=0.01)


def test_a_burst_at_the_start_is_not_lag() -> None:
    """Servers send the last seconds at once when a reader joins; the newest of them is the present."""
    meter = TimestampLag()
    for number in range(50):
        lag = meter.observe(number / FPS, 10.0, 0.0)
    assert lag == 0.0
    assert meter.observe(50 / FPS, 10.04, 0.03) == pytest.approx(0.0, abs=0.01)


def test_without_timestamps_a_reader_that_never_waits_is_behind() -> None:
    """Lag is then the time since something last had to be waited for."""
    meter = ArrivalLag()
    assert meter.observe(None, 10.0, 0.0) == 0.0
    assert meter.observe(None, 11.5, 0.0001) == pytest.approx(1.5)
    assert meter.observe(None, 11.6, 0.03) == 0.0


def test_the_end_of_a_stream_is_told_while_catching_up() -> None:
    """A stream that ends before a key frame comes is at its end, and what was dropped is counted."""
    stream = FakeStream(FakeClock(), frames=60, gop=1000)
    packets = live(stream)
    packets.next()
    stream.clock.advance(30.0)
    assert packets.next() == (None, True)
    assert packets.skipped == 59
