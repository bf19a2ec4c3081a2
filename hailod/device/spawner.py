"""The one thread that starts, hears and reaps every device host.

It must be one long-lived thread: a child's parent-death signal fires when the thread that spawned it ends. Hosts are
started by exec with their sockets passed by number and a minimal environment, their standard error is drained and
rate-limited, and everything that happens to them becomes an event, delivered to `on_event` from this thread.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

import structlog

from hailod.clock import Clock
from hailod.device.protocol import Message, receive_control
from hailod.errors import DeviceLost
from hailod.worker import Worker

log = structlog.get_logger(__name__)

POLL_S = 0.25
# What is read of one host before the others have their turn.
_READS = 64
STDERR_LINES = 20
STDERR_LINES_PER_S = 10
_LINE_BYTES = 400
# What a vendor library may need of the daemon's environment; nothing of systemd's or ours, no secret.
_ENVIRONMENT = (
    *("PATH", "HOME", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH"),
    *("PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"),
)


@dataclass(frozen=True, slots=True, eq=False)
class HostStarted:
    """A host runs; its sockets are the receiver's to close."""

    generation: int
    pid: int
    jobs: socket.socket
    control: socket.socket


@dataclass(frozen=True, slots=True)
class HostFailed:
    """The process could not be started at all."""

    generation: int
    reason: str


@dataclass(frozen=True, slots=True)
class HostMessage:
    """A control message of a host."""

    generation: int
    message: Message


@dataclass(frozen=True, slots=True)
class HostStopped:
    """The process was stopped by a signal (SIGSTOP) and will not answer."""

    generation: int


@dataclass(frozen=True, slots=True)
class HostExited:
    """The process is gone and reaped: the device is free, its slots are home."""

    generation: int
    reason: str
    last_lines: tuple[str, ...]


HostEvent = HostStarted | HostFailed | HostMessage | HostStopped | HostExited


@dataclass(slots=True, eq=False)
class _Host:
    generation: int
    process: subprocess.Popen[bytes]
    pidfd: int
    control: socket.socket
    stderr: int
    partial: bytes = b""
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=STDERR_LINES))
    window_start: float = 0.0
    window_lines: int = 0
    suppressed: int = 0
    stopped: bool = False


class Spawner:
    """Starts hosts and reports on them. `spawn` and `kill` return at once and may be called by any thread."""

    def __init__(self, clock: Clock, on_event: Callable[[HostEvent], None]) -> None:
        self._clock = clock
        self._on_event = on_event
        self._requests: deque[tuple[int, Mapping[str, str]]] = deque()
        self._hosts: dict[int, _Host] = {}
        self.worker = Worker("spawner", self._run, clock)
        self._poll = select.poll()
        self._wake_r = self._wake_w = -1

    def start(self) -> None:
        self._wake_r, self._wake_w = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.worker.start()

    def spawn(self, generation: int, environment: Mapping[str, str] | None = None) -> None:
        """Start a host; HostStarted or HostFailed follows. `environment` is added to the minimal one."""
        self._requests.append((generation, environment or {}))
        self._wake()

    def kill(self, generation: int) -> None:
        """SIGKILL the host, if it still lives; HostExited follows once the kernel lets it go."""
        host = self._hosts.get(generation)
        if host is not None:
            try:
                signal.pidfd_send_signal(host.pidfd, signal.SIGKILL)
            except OSError as error:
                log.debug("device host was gone before it was killed", generation=generation, reason=error.strerror)

    def stop(self, deadline: float) -> bool:
        """Kill every host and wait up to `deadline` seconds for them to be reaped; says whether all were."""
        self.worker.stop()
        self._wake()
        ended = self.worker.join(deadline)
        if ended and self._wake_r >= 0:
            os.close(self._wake_r)
            os.close(self._wake_w)
            self._wake_r = self._wake_w = -1
        return ended

    # -- the spawner thread ------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        try:
            os.write(self._wake_w, b"x")
        except BlockingIOError:
            log.debug("spawner is being woken already")

    def _run(self, worker: Worker) -> None:
        self._poll.register(self._wake_r, select.POLLIN)
        while not (worker.stopping.is_set() and not self._hosts):
            worker.beat()
            ready = {fd for fd, _ in self._poll.poll(POLL_S * 1000)}
            if self._wake_r in ready:
                os.read(self._wake_r, 4096)
            while self._requests and not worker.stopping.is_set():
                self._spawn(*self._requests.popleft())
            for host in list(self._hosts.values()):
                self._attend(host, ready)
                if worker.stopping.is_set():
                    self.kill(host.generation)

    def _spawn(self, generation: int, extra: Mapping[str, str]) -> None:
        try:
            host, started = self._launch(generation, extra)
        except OSError as error:
            self._on_event(HostFailed(generation, f"cannot start {sys.executable}: {error.strerror}"))
            return
        self._hosts[generation] = host
        for fd in (host.pidfd, host.control.fileno(), host.stderr):
            self._poll.register(fd, select.POLLIN)
        self._on_event(started)

    @staticmethod
    def _launch(generation: int, extra: Mapping[str, str]) -> tuple[_Host, HostStarted]:
        """Start the process; what was opened for it is closed again if it cannot be had (OSError)."""
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        environment |= {name: value for name, value in os.environ.items() if name.startswith("HAILORT_")}
        environment |= {"HAILORT_LOGGER_PATH": "NONE", "PYTHONUNBUFFERED": "1", **extra}
        with ExitStack() as undo, ExitStack() as childs_ends:
            jobs, host_jobs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            undo.callback(jobs.close)
            childs_ends.callback(host_jobs.close)
            control, host_control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            undo.callback(control.close)
            childs_ends.callback(host_control.close)
            # The link closes its own duplicate; the other is read here until the host has been reaped.
            links_control = control.dup()
            undo.callback(links_control.close)
            numbers = (host_jobs.fileno(), host_control.fileno())
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and module, numbers for arguments
                [sys.executable, "-m", "hailod.device.host", *map(str, numbers), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=numbers,
                env=environment,
            )
            assert process.stderr is not None
            undo.callback(process.stderr.close)
            undo.callback(process.wait)
            undo.callback(process.kill)
            os.set_blocking(process.stderr.fileno(), False)
            pidfd = os.pidfd_open(process.pid)
            undo.pop_all()
        host = _Host(generation, process, pidfd, control, process.stderr.fileno())
        return host, HostStarted(generation, process.pid, jobs, links_control)

    def _attend(self, host: _Host, ready: set[int]) -> None:
        if host.control.fileno() in ready:
            self._hear(host)
        if host.stderr in ready:
            self._drain(host)
        if host.pidfd in ready:
            self._reap(host)
        elif not host.stopped and self._is_stopped(host):
            host.stopped = True
            self._on_event(HostStopped(host.generation))

    def _hear(self, host: _Host) -> None:
        """The messages that lie ready; a host that talks nonsense is killed."""
        for _ in range(_READS):
            try:
                received = receive_control(host.control, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except ConnectionResetError:
                # It died with messages of ours unread.
                received = None
            except DeviceLost as error:
                log.warning("device host talks nonsense", generation=host.generation, reason=str(error))
                self.kill(host.generation)
                received = None
            if received is None:
                self._forget(host.control.fileno())
                return
            message, fds = received
            for fd in fds:
                os.close(fd)
            self._on_event(HostMessage(host.generation, message))

    def _drain(self, host: _Host) -> None:
        """Log what the host wrote to standard error, so many lines a second and no more; keep the last ones."""
        for _ in range(_READS):
            try:
                data = os.read(host.stderr, 65536)
            except BlockingIOError:
                return
            if not data:
                self._forget(host.stderr)
                return
            *lines, host.partial = (host.partial + data).split(b"\n")
            host.partial = host.partial[:_LINE_BYTES]
            now = self._clock.monotonic()
            if now - host.window_start >= 1.0:
                if host.suppressed:
                    log.warning("device host standard error was cut", lines=host.suppressed, generation=host.generation)
                host.window_start, host.window_lines, host.suppressed = now, 0, 0
            for line in lines:
                text = line[:_LINE_BYTES].decode(errors="replace").rstrip()
                if not text:
                    continue
                host.lines.append(text)
                host.window_lines += 1
                if host.window_lines <= STDERR_LINES_PER_S:
                    log.info("device host says", text=text, generation=host.generation)
                else:
                    host.suppressed += 1

    @staticmethod
    def _is_stopped(host: _Host) -> bool:
        try:
            info = os.waitid(os.P_PID, host.process.pid, os.WSTOPPED | os.WNOHANG)
        except ChildProcessError:
            # A zombie can no longer stop; its descriptor will say so at once.
            return False
        return info is not None and info.si_code in (os.CLD_STOPPED, os.CLD_TRAPPED)

    def _reap(self, host: _Host) -> None:
        code = host.process.wait()
        self._hear(host)
        self._drain(host)
        if host.partial.strip():
            host.lines.append(host.partial[:_LINE_BYTES].decode(errors="replace").rstrip())
        reason = f"killed by signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"exited with code {code}"
        for fd in (host.pidfd, host.control.fileno(), host.stderr):
            self._forget(fd)
        os.close(host.pidfd)
        host.control.close()
        assert host.process.stderr is not None
        host.process.stderr.close()
        del self._hosts[host.generation]
        self._on_event(HostExited(host.generation, reason, tuple(host.lines)))

    def _forget(self, fd: int) -> None:
        try:
            self._poll.unregister(fd)
        except KeyError:
            return
