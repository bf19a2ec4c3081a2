"""Keeping up with a live stream."""

from __future__ import annotations

import itertools
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
    return LivePackets(stream.packets(), TimestampLag(), stream.clock, max_lag=1.0, patience=patience, silence=5.0)


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
    assert meter.observe(1.0, 10.1, 0.09) == 0.0
    assert meter.observe(1.1, 10.4, 0.0) == pytest.approx(0.2, abs=0.01)


def test_a_packet_that_came_only_with_the_time_out_is_silence() -> None:
    """What a parser held back until FFmpeg gave up waiting does not make the reader wait a second time."""
    stream = FakeStream(FakeClock())
    source = stream.packets()

    def packets() -> Iterator[FakePacket]:
        yield from itertools.islice(source, 10)
        stream.clock.advance(5.0)
        yield from source

    reader = LivePackets(packets(), TimestampLag(), stream.clock, max_lag=1.0, patience=2.5, silence=5.0)
    for _ in range(10):
        reader.next()
    begun = stream.clock.monotonic()
    with pytest.raises(TimeoutError):
        reader.next()
    assert stream.clock.monotonic() - begun == pytest.approx(5.0)


@pytest.mark.parametrize("jump", [-4000.0, -0.5, 2.5, 5000.0])
@pytest.mark.parametrize(("waited", "left"), [(0.0, 0.8), (0.03, 0.0)])
def test_a_jump_neither_makes_a_lag_nor_hides_one(jump: float, waited: float, left: float) -> None:
    """Whichever way timestamps jump, the lag is what it would be had they gone on as before, and none when the reader
    had to wait for data."""
    meter = TimestampLag()
    for number in range(26):
        meter.observe(100.0 + number / FPS, 10.0 + number / FPS, 0.03)
    assert meter.observe(101.0 + 1 / FPS, 11.8 + 1 / FPS, 0.0) == pytest.approx(0.8, abs=0.01)
    assert meter.observe(101.0 + jump, 11.8 + 2 / FPS, waited) == pytest.approx(left, abs=0.01)
    assert meter.observe(101.0 + 1 / FPS + jump, 11.8 + 3 / FPS, 0.0) == pytest.approx(left, abs=0.01)


class JumpingStream(FakeStream):
    """Its clock is set at every hundredth frame, forward and back in turn."""

    def packets(self) -> Iterator[FakePacket]:
        for packet in super().packets():
            offset = 90_000 * (packet.pts // 100 % 2)
            yield FakePacket(packet.pts + offset, packet.is_keyframe)


def test_a_camera_whose_clock_is_set_again_and_again_loses_nothing() -> None:
    """A reader that keeps up gets every packet, however the timestamps jump."""
    packets = live(JumpingStream(FakeClock()))
    got = [packet for packet, gap in (packets.next() for _ in range(1000)) if packet is not None and not gap]
    assert len(got) == 1000
    assert packets.skipped == 0


@pytest.mark.parametrize("kind", [FakeStream, JumpingStream])
def test_a_stream_faster_than_it_can_be_decoded_stays_within_its_lag(kind: type[FakeStream]) -> None:
    """A reader of a third of the stream's speed is never much more than `max_lag` behind, and each packet is either
    read or counted."""
    stream = kind(FakeClock(), gop=10)
    packets = live(stream)
    lags, read = [], 0
    while (packet := packets.next()[0]) is not None and read < 600:
        read += 1
        produced = stream.begin + (packet.pts % 90_000) / FPS
        lags.append(stream.clock.monotonic() - produced)
        stream.clock.advance(3.0 / FPS)
    # A key frame of up to max_lag is begun with, and found to be over it one packet later.
    assert max(lags) <= 1.0 + 3.0 / FPS + 0.01
    assert packets.skipped > read


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
