"""A TCP relay that can be made to fail: what lies between the daemon and a broker or a camera."""

from __future__ import annotations

import random
import select
import socket
import threading
from enum import StrEnum

_SEND_TIMEOUT_S = 5.0
_TURN_S = 0.05


class Mode(StrEnum):
    """What the relay does. `silent` accepts and never answers; `stall` takes no more from the client, so that its
    buffers run full; `deaf` passes nothing on to the client; `corrupt` damages what goes to the client."""

    FORWARD = "forward"
    REFUSE = "refuse"
    SILENT = "silent"
    STALL = "stall"
    DEAF = "deaf"
    CORRUPT = "corrupt"


class Proxy:
    """Relays `port` to `target` of the loopback address."""

    def __init__(self, target: int = 0, *, mode: Mode = Mode.FORWARD, seed: int = 1) -> None:
        self.target = target
        self.accepted = 0
        self._random = random.Random(seed)
        self._mode = mode
        self._applied = threading.Event()
        self._over = False
        self._listener: socket.socket | None = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        # Each end with its other, None for a client that talks to nobody.
        self._peer: dict[socket.socket, socket.socket | None] = {}
        self._clients: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._run, name="proxy")

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._thread.join(10)

    def lead_to(self, target: int) -> None:
        """Relay new connections to another port."""
        self.target = target

    def set(self, mode: Mode, *, cut: bool = False) -> None:
        """Change what it does from now on; `cut`: end the connections there are. Returns when it is so."""
        self._applied.clear()
        self._mode, self._cut = mode, cut
        assert self._applied.wait(10), f"the relay is in mode {mode}"

    _cut = False

    def _run(self) -> None:
        while not self._over:
            self._apply()
            readable, _, _ = select.select(self._watched(), (), (), _TURN_S)
            for sock in readable:
                if sock is self._listener:
                    self._accept()
                elif sock in self._peer:
                    self._relay(sock)
        self._close_all()
        if self._listener is not None:
            self._listener.close()

    def _apply(self) -> None:
        if self._cut:
            self._cut = False
            self._close_all()
        if self._mode is Mode.REFUSE and self._listener is not None:
            self._listener.close()
            self._listener = None
        elif self._mode is not Mode.REFUSE and self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port))
        self._applied.set()

    def _watched(self) -> list[socket.socket]:
        watched = [self._listener] if self._listener is not None else []
        for sock, peer in self._peer.items():
            is_client = sock in self._clients
            mute = (self._mode is Mode.STALL and is_client) or (self._mode is Mode.DEAF and not is_client)
            if not mute and (peer is not None or is_client):
                watched.append(sock)
        return watched

    def _accept(self) -> None:
        assert self._listener is not None
        client, _ = self._listener.accept()
        self.accepted += 1
        peer = None
        if self._mode is not Mode.SILENT:
            try:
                peer = socket.create_connection(("127.0.0.1", self.target), _SEND_TIMEOUT_S)
            except OSError:
                client.close()
                return
            peer.settimeout(_SEND_TIMEOUT_S)
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._peer[peer] = client
        client.settimeout(_SEND_TIMEOUT_S)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._mode is Mode.STALL:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._peer[client] = peer
        self._clients.add(client)

    def _relay(self, sock: socket.socket) -> None:
        peer = self._peer[sock]
        try:
            data = sock.recv(65536)
            if not data:
                self._close(sock)
            elif peer is not None:
                if self._mode is Mode.CORRUPT and sock not in self._clients:
                    data = self._damaged(data)
                peer.sendall(data)
        except OSError:
            self._close(sock)

    def _damaged(self, data: bytes) -> bytes:
        """A byte in 400 is another one."""
        found = bytearray(data)
        for _ in range(len(found) // 400 + 1):
            found[self._random.randrange(len(found))] ^= self._random.randrange(1, 256)
        return bytes(found)

    def _close(self, sock: socket.socket) -> None:
        for end in (sock, self._peer.get(sock)):
            if end is not None:
                self._peer.pop(end, None)
                self._clients.discard(end)
                end.close()

    def _close_all(self) -> None:
        for sock in list(self._peer):
            self._close(sock)
