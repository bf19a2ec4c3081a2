"""Brokers that do wrong, with just enough MQTT to do it, and then make way for a healthy one on the same port.

    with BrokenBroker(Behaviour.MUTE) as broken:
        ...                     # a client on broken.port is not answered
        broken.make_way()       # connections cut, port free
        with Broker(directory, port=broken.port): ...

Both protocol versions are understood. What clients sent is kept in `packets`, bounded.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK, PINGREQ, PINGRESP, DISCONNECT = 1, 2, 3, 4, 8, 9, 12, 13, 14

MAX_KEPT = 20_000


class Behaviour(StrEnum):
    """What a broker does wrong."""

    MUTE = "mute"  # takes the TCP connection and never says anything
    REFUSING = "refusing"  # CONNACK: wrong user or password
    TAKING_OVER = "taking_over"  # accepts, then DISCONNECT "session taken over" as mosquitto sends it (version 5 only)
    CLOSING = "closing"  # accepts, then closes without a word
    STALLING = "stalling"  # accepts, then reads nothing any more
    SILENT = "silent"  # accepts and reads, and acknowledges nothing, not even pings
    GARBAGE = "garbage"  # accepts, then sends what is no MQTT
    HUGE = "huge"  # accepts, then announces a PUBLISH of 256 MB and sends as much of it as the client reads
    INTERRUPTING = "interrupting"  # acknowledges `after` messages, then closes
    SMALL = "small"  # well, but takes no packet over `limit` bytes (version 5 only)
    FEW = "few"  # well, but takes `limit` messages at once (version 5 only); acknowledges when no more come


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet as a client sent it: its type, the flags beside it, all that follows its length, and in which
    connection, counted from 1."""

    kind: int
    flags: int
    body: bytes
    connection: int

    @property
    def topic(self) -> str:
        """Of a PUBLISH."""
        (length,) = struct.unpack_from("!H", self.body)
        return self.body[2 : 2 + length].decode()

    @property
    def size(self) -> int:
        return 1 + len(_varint(len(self.body))) + len(self.body)


class BrokenBroker:
    """Listens on `port` (loopback; 0: a free one) from the constructor on, and serves while the context lasts.

    `after` is how many messages an INTERRUPTING broker acknowledges, `limit` what SMALL and FEW announce.
    `connections` counts those that were accepted, `refused` packets that broke an announced limit.
    """

    def __init__(self, behaviour: Behaviour, port: int = 0, *, after: int = 3, limit: int = 2) -> None:
        self.behaviour = behaviour
        self.connections = 0
        self.refused = 0
        self.packets: deque[Packet] = deque(maxlen=MAX_KEPT)
        self._after = after
        self._limit = limit
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._server = socket.create_server(("127.0.0.1", port))
        self._port = int(self._server.getsockname()[1])
        self._acceptor = threading.Thread(target=self._accept, name="broken-broker")

    @property
    def port(self) -> int:
        return self._port

    def __enter__(self) -> BrokenBroker:
        self._acceptor.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.make_way()

    def make_way(self) -> None:
        """Cut every connection and leave the port; idempotent."""
        if self._over.is_set():
            return
        self._over.set()
        self._server.shutdown(socket.SHUT_RDWR)
        self._acceptor.join(10)
        self._server.close()
        self.cut()
        for thread in self._threads:
            thread.join(10)

    def cut(self) -> None:
        """Cut every connection; new ones are still accepted."""
        with self._lock:
            sockets = list(self._sockets)
        for sock in sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def published(self, connection: int | None = None) -> list[str]:
        """The topics of what clients published, in order; of one connection if given."""
        packets = [packet for packet in list(self.packets) if packet.kind == PUBLISH]
        return [packet.topic for packet in packets if connection in (None, packet.connection)]

    # -- inside ------------------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            # Closed at once and for good, so that the port is free for the next broker.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if self.behaviour is Behaviour.STALLING:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            with self._lock:
                self.connections += 1
                number = self.connections
                self._sockets.add(connection)
            thread = threading.Thread(target=self._serve, args=(connection, number), name=f"broken-broker-{number}")
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        try:
            with suppress(OSError, EOFError, StopIteration):
                self._talk(connection, number)
        finally:
            with self._lock:
                self._sockets.discard(connection)
            connection.close()

    def _talk(self, connection: socket.socket, number: int) -> None:
        if self.behaviour is Behaviour.MUTE:
            while connection.recv(4096):
                pass
            return
        packets = _packets(connection, number)
        hello = next(packets)
        self.packets.append(hello)
        version = hello.body[6]
        self._answer(connection, version)
        if self.behaviour is Behaviour.STALLING:
            self._over.wait()
            return
        acknowledged = 0
        waiting: list[bytes] = []
        while True:
            if waiting and not select.select([connection], [], [], 0.05)[0]:
                connection.sendall(b"".join(waiting))
                waiting.clear()
            packet = next(packets)
            self.packets.append(packet)
            self.refused += self.behaviour is Behaviour.SMALL and packet.size > self._limit
            reply = self._reply(packet, version)
            if reply is None:
                continue
            if packet.kind == PUBLISH and self.behaviour is Behaviour.FEW:
                waiting.append(reply)
                self.refused += len(waiting) > self._limit
                continue
            if packet.kind == PUBLISH and self.behaviour is Behaviour.INTERRUPTING:
                if acknowledged == self._after:
                    return
                acknowledged += 1
            connection.sendall(reply)

    def _answer(self, connection: socket.socket, version: int) -> None:
        """The CONNACK, and what comes with it."""
        match self.behaviour:
            case Behaviour.REFUSING:
                connection.sendall(_connack(version, 0x86 if version == 5 else 4))
                raise EOFError
            case Behaviour.SMALL:
                connection.sendall(_connack(version, 0, b"\x27" + struct.pack("!I", self._limit)))
            case Behaviour.FEW:
                connection.sendall(_connack(version, 0, b"\x21" + struct.pack("!H", self._limit)))
            case _:
                connection.sendall(_connack(version, 0))
        match self.behaviour:
            case Behaviour.TAKING_OVER:
                connection.sendall(b"\xe0\x01\x8e")
            case Behaviour.GARBAGE:
                connection.sendall(bytes(range(256)) * 4)
            case Behaviour.HUGE:
                topic = b"hailod/x/cmd/ping"
                connection.sendall(b"\x30\xff\xff\xff\x7f" + struct.pack("!H", len(topic)) + topic + b"\0")
                block = bytes(65536)
                for _ in range(4095):
                    connection.sendall(block)
            case Behaviour.CLOSING:
                pass
            case _:
                return
        if self.behaviour in (Behaviour.TAKING_OVER, Behaviour.CLOSING):
            # What the client has sent is read first: a reset would overtake what it was told.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass
            raise EOFError

    def _reply(self, packet: Packet, version: int) -> bytes | None:
        if self.behaviour is Behaviour.SILENT:
            return None
        match packet.kind:
            case 3 if packet.flags & 0b110:
                (length,) = struct.unpack_from("!H", packet.body)
                return bytes((PUBACK << 4, 2)) + packet.body[2 + length : 4 + length]
            case 8:
                count = _filters(packet.body, version)
                codes = b"\x01" * count
                body = packet.body[:2] + (b"\0" if version == 5 else b"") + codes
                return bytes((SUBACK << 4, len(body))) + body
            case 12:
                return bytes((PINGRESP << 4, 0))
            case 14:
                raise EOFError
        return None


def _connack(version: int, code: int, properties: bytes = b"") -> bytes:
    body = bytes((0, code)) + (bytes((len(properties),)) + properties if version == 5 else b"")
    return bytes((CONNACK << 4, len(body))) + body


def _filters(body: bytes, version: int) -> int:
    """How many filters a SUBSCRIBE holds."""
    at = 2 + (1 + body[2] if version == 5 else 0)
    count = 0
    while at < len(body):
        (length,) = struct.unpack_from("!H", body, at)
        at += 2 + length + 1
        count += 1
    return count


def _varint(value: int) -> bytes:
    digits = bytearray()
    while True:
        value, digit = divmod(value, 128)
        digits.append(digit | (0x80 if value else 0))
        if not value:
            return bytes(digits)


def _packets(connection: socket.socket, number: int) -> Iterator[Packet]:
    """What the client sends, packet by packet; raises EOFError at the end."""
    while True:
        (head,) = _exactly(connection, 1)
        length = shift = 0
        while True:
            (digit,) = _exactly(connection, 1)
            length |= (digit & 127) << shift
            shift += 7
            if not digit & 128:
                break
        yield Packet(head >> 4, head & 15, _exactly(connection, length), number)


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            raise EOFError
        data += part
    return bytes(data)
