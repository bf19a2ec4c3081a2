"""Servers that fail as cameras and name servers do in the field, each in one way."""

from __future__ import annotations

import ctypes
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import av
from av.bitstream import BitStreamFilterContext


@contextmanager
def served(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Accept connections on the port that it gives, each in a thread of its own, until the block ends."""
    connections: list[socket.socket] = []
    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def handle(connection: socket.socket) -> None:
            with suppress(OSError):
                serve(connection)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    connections.append(connection)
                    thread = threading.Thread(target=handle, args=(connection,), name="broken peer")
                    threads.append(thread)
                    thread.start()

        acceptor = threading.Thread(target=accept, name="broken peers")
        acceptor.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            acceptor.join(10)
            for connection in connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join(10)
            for connection in connections:
                connection.close()


@contextmanager
def silent_server() -> Iterator[int]:
    """A server that accepts connections and never says a word."""
    with served(lambda _connection: None) as port:
        yield port


SDP = """v=0
o=- 0 0 IN IP4 127.0.0.1
s=camera
t=0 0
m=video 0 RTP/AVP 96
a=rtpmap:96 H264/90000
a=fmtp:96 packetization-mode=1
a=control:track
"""

Unit = tuple[bytes, int]
"""An access unit (with start codes) and its RTP timestamp."""


class RtspCamera:
    """An RTSP server over TCP written by hand, so that every byte and timestamp is the test's choice.

    DESCRIBE is answered with `status`. Whoever plays is sent `units`, `fps` of them a second, as long as there are
    any; then, and without any, nothing more. `asked` holds the methods that were asked for so far, `sent` counts units.
    """

    def __init__(self, units: Iterable[Unit] = (), *, status: str = "200 OK", fps: float = 25.0) -> None:
        self.status = status
        self.asked: list[str] = []
        self.sent = 0
        self._units = iter(units)
        self._period = 1.0 / fps
        self._over = threading.Event()
        self._stack = ExitStack()
        self._port = 0

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self._port}/cam"

    def __enter__(self) -> RtspCamera:
        self._port = self._stack.enter_context(served(self._serve))
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._stack.close()

    def _serve(self, connection: socket.socket) -> None:
        with connection.makefile("r", encoding="utf-8", errors="replace") as lines:
            while request := lines.readline().split():
                headers: dict[str, str] = {}
                while line := lines.readline().strip():
                    key, _, value = line.partition(": ")
                    headers[key] = value
                self._answer(connection, request[0], headers)
                if request[0] == "PLAY":
                    self._feed(connection)
                    return

    def _answer(self, connection: socket.socket, method: str, headers: dict[str, str]) -> None:
        self.asked.append(method)
        status, more, body = "200 OK", "", ""
        if method == "DESCRIBE":
            status = self.status
            if status.startswith("401"):
                more = 'WWW-Authenticate: Basic realm="camera"\r\n'
            elif status == "200 OK":
                more, body = "Content-Type: application/sdp\r\n", SDP.replace("\n", "\r\n")
        elif method == "SETUP":
            more = f"Transport: {headers['Transport']}\r\nSession: 1\r\n"
        head = f"RTSP/1.0 {status}\r\nCSeq: {headers['CSeq']}\r\n{more}Content-Length: {len(body)}\r\n\r\n"
        connection.sendall((head + body).encode())

    def _feed(self, connection: socket.socket) -> None:
        """RTP packets of one NAL unit each, in RTSP's own frames."""
        sequence = 0
        for data, stamp in self._units:
            nals = [nal for nal in re.split(b"\0\0\0?\1", data) if nal]
            for nal in nals:
                marker = 0x80 if nal is nals[-1] else 0
                rtp = struct.pack("!BBHII", 0x80, 96 | marker, sequence & 0xFFFF, stamp & 0xFFFFFFFF, 1) + nal
                connection.sendall(struct.pack("!cBH", b"$", 0, len(rtp)) + rtp)
                sequence += 1
            self.sent += 1
            if self._over.wait(self._period):
                return
        self._over.wait()


def access_units(clip: Path) -> list[bytes]:
    """The clip's access units with start codes, and its parameter sets before each key frame."""
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        convert = BitStreamFilterContext("h264_mp4toannexb", stream)
        packets = [made for packet in container.demux(stream) if packet.size for made in convert.filter(packet)]
        return [bytes(packet) for packet in packets]


class NameServer:
    """A name server that takes questions and keeps silent until it is told to answer: 127.0.0.1 to all of them."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._waiting: list[tuple[bytes, object]] = []
        self._answers = False
        self._known = True
        self._over = False
        self._thread = threading.Thread(target=self._serve, name="name server")

    def __enter__(self) -> NameServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._socket.sendto(b"", self._socket.getsockname())
        self._thread.join(10)
        self._socket.close()

    @property
    def questions(self) -> int:
        """How many wait for an answer."""
        with self._lock:
            return len(self._waiting)

    def answer(self, *, known: bool = True) -> None:
        """Answer what waits, and from now on at once; `known`: whether there is such a name."""
        with self._lock:
            self._answers, self._known = True, known
            waiting, self._waiting = self._waiting, []
        for question, sender in waiting:
            self._reply(question, sender)

    def use(self) -> None:
        """Have the calling thread ask this server alone: glibc keeps its resolver's state per thread."""
        libc = ctypes.CDLL(None)
        # By index, as Python would mangle names that begin like private ones.
        libc["__res_init"]()
        locate = libc["__res_state"]
        locate.restype = ctypes.POINTER(_ResolverState)
        state = locate().contents
        state.retrans, state.retry, state.nscount = 20, 1, 1
        family, port = socket.AF_INET, self._socket.getsockname()[1]
        state.server[:] = struct.pack("=H", family) + struct.pack("!H", port) + socket.inet_aton("127.0.0.1") + bytes(8)

    def _serve(self) -> None:
        while True:
            question, sender = self._socket.recvfrom(4096)
            if self._over:
                return
            with self._lock:
                if not self._answers:
                    self._waiting.append((question, sender))
                    continue
            self._reply(question, sender)

    def _reply(self, question: bytes, sender: object) -> None:
        """An address for a question of type A, none for others."""
        end = question.index(b"\0", 12) + 5
        known = self._known and question[end - 4 : end - 2] == b"\0\1"
        head = question[:2] + (b"\x81\x80" if self._known else b"\x81\x83") + struct.pack("!4H", 1, known, 0, 0)
        record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 0, 4) + socket.inet_aton("127.0.0.1")
        self._socket.sendto(head + question[12:end] + (record if known else b""), sender)  # type: ignore[arg-type]


class _ResolverState(ctypes.Structure):
    """The beginning of glibc's `struct __res_state`, with the first of its name servers."""

    _fields_ = (
        ("retrans", ctypes.c_int),
        ("retry", ctypes.c_int),
        ("options", ctypes.c_ulong),
        ("nscount", ctypes.c_int),
        ("server", ctypes.c_ubyte * 16),
    )
