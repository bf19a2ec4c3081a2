"""What daemon and device host say to each other, over two SOCK_SEQPACKET socketpairs.

Jobs: fixed structs of at most 64 bytes, `Submit` towards the host and `Completed` back. At most `MAX_IN_FLIGHT` are
under way, and that many completions fit into the socket, so that HailoRT's callback never blocks on us.
Control: JSON objects of at most `MAX_CONTROL` bytes with a key `type`, for all that is rare; a memfd may ride along.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from array import array
from collections.abc import Sequence
from typing import NamedTuple

from hailod.errors import DeviceLost
from hailod.types import MAX_BATCH

MAX_IN_FLIGHT = 128
MAX_CONTROL = 64 * 1024
HEARTBEAT_S = 0.25

# model, frames, generation, job; then one byte per slot number.
_SUBMIT = struct.Struct("<HHIQ")
# status, whether run_async refused it, generation, job, run_async called and callback entered (CLOCK_MONOTONIC, ns).
_COMPLETED = struct.Struct("<HHIQqq")
JOB_BYTES = 64
_MAX_NUMBER = 2.0**53
_FD = array("i")

assert _SUBMIT.size + MAX_BATCH <= JOB_BYTES
assert _COMPLETED.size <= JOB_BYTES


class Submit(NamedTuple):
    """Run the frames in `slots` of `model` as one job."""

    model: int
    generation: int
    job: int
    slots: bytes

    def pack(self) -> bytes:
        return _SUBMIT.pack(self.model, len(self.slots), self.generation, self.job) + self.slots

    @staticmethod
    def unpack(data: bytes) -> Submit:
        model, count, generation, job = _SUBMIT.unpack_from(data)
        return Submit(model, generation, job, data[_SUBMIT.size : _SUBMIT.size + count])


class Completed(NamedTuple):
    """A job ended with HailoRT's `status` (0: its outputs are valid). `refused`: by `run_async`, it never began."""

    status: int
    generation: int
    job: int
    started_ns: int
    ended_ns: int
    refused: bool = False

    def pack(self) -> bytes:
        return _COMPLETED.pack(self.status, self.refused, self.generation, self.job, self.started_ns, self.ended_ns)

    @staticmethod
    def unpack(data: bytes) -> Completed:
        """Raises DeviceLost on what is no completion."""
        if len(data) != _COMPLETED.size:
            raise DeviceLost(f"a completion of {len(data)} bytes")
        status, refused, generation, job, started_ns, ended_ns = _COMPLETED.unpack_from(data)
        return Completed(status, generation, job, started_ns, ended_ns, bool(refused))


Message = dict[str, object]


def send_control(channel: socket.socket, message: Message, fds: Sequence[int] = ()) -> bool:
    """Send without blocking; False if the message was dropped because the channel is full or gone."""
    data = json.dumps(message, separators=(",", ":"), allow_nan=False).encode()
    if len(data) > MAX_CONTROL:
        raise ValueError(f"control message '{message.get('type')}' has {len(data)} bytes, {MAX_CONTROL} fit")
    try:
        # Not socket.send_fds: before Python 3.12 it drops the flags, and then it blocks.
        channel.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))], socket.MSG_DONTWAIT)
    except (BlockingIOError, BrokenPipeError, ConnectionResetError):
        return False
    return True


def receive_control(channel: socket.socket, flags: int = 0) -> tuple[Message, list[int]] | None:
    """The next message and the descriptors that came with it; None when the other end is closed.

    Raises DeviceLost on what cannot be a message (truncated, no object), BlockingIOError as the socket does.
    """
    # Not socket.recv_fds, for the same reason as above.
    data, ancillary, received_flags, _ = channel.recvmsg(
        MAX_CONTROL, socket.CMSG_LEN(_FD.itemsize), flags | socket.MSG_CMSG_CLOEXEC
    )
    if not data:
        return None
    fds = array("i")
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(content[: len(content) - len(content) % _FD.itemsize])
    try:
        return _message(data, truncated=bool(received_flags & socket.MSG_TRUNC)), list(fds)
    except DeviceLost:
        for fd in fds:
            os.close(fd)
        raise


def _message(data: bytes, *, truncated: bool) -> Message:
    if truncated:
        raise DeviceLost(f"control message longer than {MAX_CONTROL} bytes")
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise DeviceLost(f"control message is no object with a type: {data[:80]!r}")
    return message


def number(value: object) -> float:
    """A number out of a message, 0 for what is none: Python's JSON has infinities, NaN and endless integers."""
    if not isinstance(value, int | float) or not abs(value) <= _MAX_NUMBER:
        return 0.0
    return float(value)
