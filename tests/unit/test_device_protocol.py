"""What daemon and host say to each other survives the way, and nonsense is told from it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from hailod.device.protocol import (
    JOB_BYTES,
    MAX_CONTROL,
    MAX_IN_FLIGHT,
    Completed,
    Submit,
    receive_control,
    send_control,
)
from hailod.errors import DeviceLost
from hailod.types import MAX_BATCH

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def channel() -> Iterator[Pair]:
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    yield ends
    for end in ends:
        end.close()


def test_jobs_fit_into_their_size() -> None:
    """A job of the longest batch and a completion fit into 64 bytes and come back as they were."""
    submit = Submit(3, 7, 2**63, bytes(range(MAX_BATCH)))
    completed = Completed(82, 7, 2**63, 1, 2)
    assert Submit.unpack(submit.pack()) == submit
    assert Completed.unpack(completed.pack()) == completed
    assert max(len(submit.pack()), len(completed.pack())) <= JOB_BYTES


def test_every_completion_fits_without_blocking(channel: Pair) -> None:
    """As many completions as may be in flight fit into the socket while nobody reads."""
    for job in range(MAX_IN_FLIGHT):
        assert channel[0].send(Completed(0, 1, job, 0, 0).pack(), socket.MSG_DONTWAIT) > 0


def test_control_carries_a_descriptor(channel: Pair) -> None:
    """A memfd rides along with its message."""
    read, write = os.pipe()
    try:
        assert send_control(channel[0], {"type": "configure", "slots": 5}, [write])
        received = receive_control(channel[1])
        assert received is not None
        message, fds = received
        assert message == {"type": "configure", "slots": 5}
        os.write(fds[0], b"x")
        assert os.read(read, 1) == b"x"
        os.close(fds[0])
    finally:
        os.close(read)
        os.close(write)


def test_full_channel_drops_instead_of_blocking(channel: Pair) -> None:
    """Telemetry that nobody reads is dropped and its sender told."""
    sent = 0
    while send_control(channel[0], {"type": "beat"}) and sent < 100_000:
        sent += 1
    assert 0 < sent < 100_000


def test_empty_channel_does_not_block_a_reader_in_a_hurry(channel: Pair) -> None:
    """Asked not to wait, the reader is told that there is nothing."""
    with pytest.raises(BlockingIOError):
        receive_control(channel[1], socket.MSG_DONTWAIT)


def test_closed_channel_is_told_from_silence(channel: Pair) -> None:
    """The other end's death reads as None and cannot be sent to."""
    channel[0].close()
    assert receive_control(channel[1]) is None
    assert not send_control(channel[1], {"type": "beat"})


@pytest.mark.parametrize("data", [b"nonsense", b"[]", b'{"kind": 1}', b'{"type": 5}', b"x" * (MAX_CONTROL + 1)])
def test_nonsense_is_refused(channel: Pair, data: bytes) -> None:
    """What is no message, or too long for one, is an error and never half understood."""
    channel[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * MAX_CONTROL)
    channel[0].send(data)
    with pytest.raises(DeviceLost):
        receive_control(channel[1])
