"""Downloads a model file from a host that the administrator allows, and believes nothing of what it is sent.

HTTPS with verified certificates, straight to the host (no proxy of the environment), redirects within the allow list
only, bounded in bytes and time, and the file takes its place only when its SHA-256 is the one that was asked for: what
lies in the folder is complete and right, whatever ends the process.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import io
import itertools
import os
import re
import secrets
import socket
import ssl
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from hailod.clock import Clock, SystemClock
from hailod.errors import ModelError
from hailod.version import VERSION

# The largest HEF of the public zoo has 130 MB.
MAX_BYTES = 512 * 1024 * 1024
TIMEOUT_S = 900.0
MAX_REDIRECTS = 5
NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,95}\.hef")

_PART = re.compile(r"\..+\.hef\.(\d{1,10})-.+\.part")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HOST = re.compile(r"[a-z0-9.-]{1,253}")
_LONGEST_URL = 2048
_CHUNK = 65_536
# How soon a cancelled download ends, and how long a silent host is waited for.
_POLL_S = 0.2
_SILENCE_S = 30.0
_CONNECT_S = 10.0
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LOOPBACK = frozenset({"127.0.0.1", "localhost"})
_MAX_LEFTOVERS = 100

Progress = Callable[[int, int | None], None]

_numbers = itertools.count(1)


class FetchError(ModelError):
    """No file was added. The message is for people and holds no more of the URL than its host; `code` is one of the
    error codes of replies, `retryable` whether the same may succeed later."""

    def __init__(self, message: str, code: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.retryable = retryable


def fetch(
    url: str,
    sha256: str,
    directory: Path,
    *,
    allowed_hosts: Collection[str],
    name: str | None = None,
    max_bytes: int = MAX_BYTES,
    timeout_s: float = TIMEOUT_S,
    cancelled: threading.Event | None = None,
    progress: Progress | None = None,
    clock: Clock | None = None,
    trust: ssl.SSLContext | None = None,
    plain_loopback: bool = False,
) -> Path:
    """Download `url` into `directory` (made if its parent is there) and return the file. Blocks; raises FetchError.

    `allowed_hosts` are `host` or `host:port`. `name` is that of the file, by default the last part of the URL. A file
    of that name that already has this hash is returned at once; one that has another is never replaced. `progress` is
    told of the bytes so far and of all, where known, on this thread. `trust` has the authorities, by default the
    system's. `plain_loopback` also allows HTTP to this machine. Only a name look-up is outside of `timeout_s`.
    """
    wanted = sha256.strip().lower()
    if not _SHA256.fullmatch(wanted):
        raise FetchError("sha256 must be 64 hexadecimal digits", "bad_args")
    gate = _Gate(frozenset(host.lower() for host in allowed_hosts), plain_loopback)
    target = gate.check(url)
    file = name if name is not None else unquote(target.path.rpartition("/")[2])
    if not NAME.fullmatch(file):
        raise FetchError("a model file is named by a-z, 0-9, _, - and . and ends in .hef; give it a name", "bad_args")
    limits = _Limits(clock or SystemClock(), timeout_s, cancelled or threading.Event(), max_bytes)
    with _opened(directory) as folder:
        if (there := _hash_of(folder, file, limits)) is not None:
            if there == wanted:
                return directory / file
            raise FetchError(f"there is another model file named {file}; remove it, or give this one a name", "busy")
        _tidy(folder)
        part = f".{file}.{os.getpid()}-{next(_numbers)}-{secrets.token_hex(2)}.part"
        try:
            with _created(folder, part) as descriptor:
                context = trust or ssl.create_default_context()
                context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)
                found = _download(target, gate, limits, context, descriptor=descriptor, progress=progress)
                if found != wanted:
                    text = f"what {target.hostname} sent does not have the given sha256"
                    raise FetchError(text, "model_incompatible")
                os.fsync(descriptor)
            os.rename(part, file, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError as error:
            raise _unwritable(directory, error) from None
        finally:
            with suppress(OSError):
                os.unlink(part, dir_fd=folder)
        with suppress(OSError):
            os.fsync(folder)
    return directory / file


class _Gate:
    """Which addresses may be asked."""

    def __init__(self, allowed: frozenset[str], plain_loopback: bool) -> None:
        self._allowed = allowed
        self._plain_loopback = plain_loopback

    def check(self, url: str) -> SplitResult:
        """The parts of a URL that may be asked. Raises FetchError."""
        try:
            parts = urlsplit(url) if len(url) <= _LONGEST_URL and url.isascii() and url.isprintable() else None
            port = parts.port if parts is not None else None
        except ValueError:
            parts = port = None
        if parts is None or " " in url or not _HOST.fullmatch(parts.hostname or ""):
            raise FetchError("the URL is none that can be fetched", "bad_args")
        if parts.username is not None or parts.password is not None:
            raise FetchError("a URL with a user or password in it is not fetched", "bad_args")
        plain = parts.scheme == "http" and self._plain_loopback and parts.hostname in _LOOPBACK
        if parts.scheme != "https" and not plain:
            raise FetchError("models are fetched over https only", "bad_args")
        known = {f"{parts.hostname}:{port or 443}", *([parts.hostname] if port in (None, 443) else [])}
        if not known & self._allowed:
            where = f"{parts.hostname}:{port}" if port else parts.hostname
            raise FetchError(f"{where} is not one of models_hosts, from which models may be fetched", "forbidden")
        return parts


class _Limits:
    """How long and how much."""

    def __init__(self, clock: Clock, timeout_s: float, cancelled: threading.Event, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._clock = clock
        self._ends = clock.monotonic() + timeout_s
        self._timeout_s = timeout_s
        self._cancelled = cancelled

    def now(self) -> float:
        return self._clock.monotonic()

    def check(self) -> float:
        """Seconds left. Raises FetchError when there are none, or when it was cancelled."""
        if self._cancelled.is_set():
            raise FetchError("the download was cancelled", "expired", retryable=True)
        left = self._ends - self._clock.monotonic()
        if left <= 0:
            raise FetchError(f"the download takes longer than {self._timeout_s:g} s", "timeout", retryable=True)
        return left


class _Wire(io.RawIOBase):
    """A connected socket as http.client wants it, whose every wait looks at the limits."""

    def __init__(self, sock: socket.socket, limits: _Limits) -> None:
        super().__init__()
        self._sock = sock
        self._limits = limits

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        return self._patiently(lambda: self._sock.recv_into(buffer))

    def sendall(self, data: bytes) -> None:
        self._sock.settimeout(min(_CONNECT_S, self._limits.check()))
        self._sock.sendall(data)

    def shake_hands(self) -> None:
        """The handshake of a TLS socket that was not done on connect."""
        if isinstance(self._sock, ssl.SSLSocket):
            self._patiently(self._sock.do_handshake)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def close(self) -> None:
        # http.client closes this before the response is read; the socket belongs to `_connected`.
        pass

    def _patiently(self, step: Callable[[], int | None]) -> int:
        """`step`, tried again while the peer is silent for no longer than it may be."""
        began = self._limits.now()
        while True:
            self._sock.settimeout(min(_POLL_S, self._limits.check()))
            try:
                return step() or 0
            except TimeoutError:
                if self._limits.now() - began > _SILENCE_S:
                    raise


def _download(
    target: SplitResult,
    gate: _Gate,
    limits: _Limits,
    context: ssl.SSLContext,
    *,
    descriptor: int,
    progress: Progress | None,
) -> str:
    """Follow `target` to its file and write that; returns its SHA-256."""
    for _ in range(MAX_REDIRECTS + 1):
        host = str(target.hostname)
        try:
            with _answer(target, limits, context) as response:
                if response.status not in _REDIRECTS:
                    return _receive(response, host, limits, descriptor, progress)
                place = response.getheader("Location", "")
            target = gate.check(urljoin(target.geturl(), place))
        except TimeoutError:
            raise FetchError(f"{host} does not answer", "timeout", retryable=True) from None
        except ssl.SSLCertVerificationError as error:
            text = f"the certificate of {host} is not trusted: {error.verify_message}"
            raise FetchError(text, "forbidden") from None
        except (ssl.SSLError, http.client.HTTPException):
            raise FetchError(f"{host} does not answer as a web server", "model_not_found", retryable=True) from None
        except _DiskError as error:
            raise error.cause from None
        except (OSError, ValueError) as error:
            why = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
            raise FetchError(f"{host} cannot be reached: {why}", "model_not_found", retryable=True) from None
    raise FetchError(f"more than {MAX_REDIRECTS} redirects", "forbidden")


@contextmanager
def _answer(target: SplitResult, limits: _Limits, context: ssl.SSLContext) -> Iterator[http.client.HTTPResponse]:
    """The head of the answer to one GET, its body not yet read."""
    host = str(target.hostname)
    port = target.port or (443 if target.scheme == "https" else 80)
    with socket.create_connection((host, port), min(_CONNECT_S, limits.check())) as plain:
        sock = plain
        if target.scheme == "https":
            sock = context.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
        with sock:
            wire = _Wire(sock, limits)
            wire.shake_hands()
            connection = http.client.HTTPConnection(host, port)
            connection.sock = wire
            path = (target.path or "/") + (f"?{target.query}" if target.query else "")
            headers = {"User-Agent": f"hailod/{VERSION}", "Accept-Encoding": "identity", "Connection": "close"}
            connection.request("GET", path, headers=headers)
            with connection.getresponse() as response:
                yield response


def _receive(
    response: http.client.HTTPResponse, host: str, limits: _Limits, descriptor: int, progress: Progress | None
) -> str:
    if response.status != http.HTTPStatus.OK:
        text = f"{host} has no such file: it answers {response.status}"
        raise FetchError(text, "model_not_found", retryable=response.status >= http.HTTPStatus.INTERNAL_SERVER_ERROR)
    if response.getheader("Content-Encoding", "identity") != "identity":
        raise FetchError(f"{host} sends the file in another encoding than asked for", "model_incompatible")
    total = response.length
    if total is not None and total > limits.max_bytes:
        raise _too_large(limits.max_bytes)
    if total is not None:
        with _disk():
            room = os.fstatvfs(descriptor)
            if total > room.f_bavail * room.f_frsize:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    digest = hashlib.sha256()
    received = 0
    while data := response.read(_CHUNK):
        limits.check()
        received += len(data)
        if received > limits.max_bytes:
            raise _too_large(limits.max_bytes)
        digest.update(data)
        with _disk():
            _write(descriptor, data)
        if progress is not None:
            progress(received, total)
    if total is not None and received < total:
        text = f"{host} broke off after {received} of {total} bytes"
        raise FetchError(text, "model_not_found", retryable=True)
    return digest.hexdigest()


class _DiskError(Exception):
    """Carries an error of the disk past those of the network, which are of the same class."""

    def __init__(self, cause: OSError) -> None:
        super().__init__()
        self.cause = cause


@contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _DiskError(error) from None


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _too_large(limit: int) -> FetchError:
    return FetchError(f"the file has more than {limit} bytes", "too_large")


def _unwritable(directory: Path, error: OSError) -> FetchError:
    full = error.errno in {errno.ENOSPC, errno.EDQUOT}
    fix = "make room there" if full else "give that folder to the user that hailod runs as"
    return FetchError(f"{directory} cannot be written: {error.strerror}; {fix}", "internal", retryable=full)


@contextmanager
def _opened(directory: Path) -> Iterator[int]:
    """A descriptor of the folder: what it names stays the same while files in it are made and renamed."""
    try:
        with suppress(FileExistsError):
            os.mkdir(directory, 0o750)
        folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        raise _unwritable(directory, error) from None
    try:
        yield folder
    finally:
        os.close(folder)


@contextmanager
def _created(folder: int, name: str) -> Iterator[int]:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, 0o640, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _hash_of(folder: int, name: str, limits: _Limits) -> str | None:
    """The SHA-256 of a file that is there; "" for what is there and no regular file."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError:
        return ""
    digest = hashlib.sha256()
    with open(descriptor, "rb", buffering=0) as file:
        try:
            while data := file.read(_CHUNK * 16):
                limits.check()
                digest.update(data)
        except OSError:
            return ""
    return digest.hexdigest()


def _tidy(folder: int) -> None:
    """Remove what downloads of processes that were killed have left."""
    with os.scandir(folder) as entries:
        parts = [match for entry in entries if (match := _PART.fullmatch(entry.name))]
    for part in parts[:_MAX_LEFTOVERS]:
        if int(part[1]) != os.getpid():
            with suppress(OSError):
                os.unlink(part[0], dir_fd=folder)
