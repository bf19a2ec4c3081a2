"""Device hosts without a process: the test takes the spawner's place, and the channels are real."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from hailod.device.protocol import JOB_BYTES, Completed, Message, Submit, receive_control
from hailod.device.spawner import HostMessage, HostStarted


class FakeHost:
    """The other ends of one host's channels, and what came through them."""

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self.pid = 40_000 + generation
        self._link_jobs, self.jobs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._link_control, self.control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.jobs.setblocking(False)

    @property
    def started(self) -> HostStarted:
        """What the spawner would report; its sockets are the receiver's."""
        return HostStarted(self.generation, self.pid, self._link_jobs, self._link_control)

    def message(self, kind: str, **fields: object) -> HostMessage:
        """What the spawner would report of a control message."""
        return HostMessage(self.generation, {"type": kind, **fields})

    def heard(self) -> list[Message]:
        """The control messages that came since the last time; `fds` says how many descriptors rode along, if any."""
        messages: list[Message] = []
        while True:
            try:
                received = receive_control(self.control, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return messages
            if received is None:
                return messages
            message, fds = received
            for fd in fds:
                os.close(fd)
            messages.append({**message, "fds": len(fds)} if fds else message)

    def submitted(self) -> list[Submit]:
        """The jobs that came since the last time."""
        jobs: list[Submit] = []
        while True:
            try:
                data = self.jobs.recv(JOB_BYTES)
            except BlockingIOError:
                return jobs
            if not data:
                return jobs
            jobs.append(Submit.unpack(data))

    def complete(self, job: int, status: int = 0, *, generation: int | None = None, refused: bool = False) -> None:
        """Send a completion; `generation` as told, else this host's."""
        told = self.generation if generation is None else generation
        self.jobs.send(Completed(status, told, job, 1_000_000_000, 2_000_000_000, refused).pack())

    @property
    def abandoned(self) -> bool:
        """Whether nobody holds the other end of the jobs channel any more."""
        try:
            return self.jobs.recv(JOB_BYTES) == b""
        except BlockingIOError:
            return False

    def close(self) -> None:
        self.jobs.close()
        self.control.close()


class FakeSpawner:
    """Remembers what it was asked to do; the test says what came of it."""

    def __init__(self) -> None:
        self.spawned: list[int] = []
        self.killed: list[int] = []
        self.hosts: list[FakeHost] = []

    def spawn(self, generation: int, environment: Mapping[str, str] | None = None) -> None:
        self.spawned.append(generation)

    def kill(self, generation: int) -> None:
        self.killed.append(generation)

    def birth(self) -> FakeHost:
        """The host that was asked for last."""
        host = FakeHost(self.spawned[-1])
        self.hosts.append(host)
        return host

    def close(self) -> None:
        for host in self.hosts:
            host.close()
