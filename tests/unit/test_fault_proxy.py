"""The relay between the daemon and what it talks to: each way of failing is that one, and can be taken back."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.benchmarks.faultlib.proxy import Mode, Proxy
from tests.support.waiting import wait_for

PATIENCE_S = 0.2


@contextmanager
def echo() -> Iterator[int]:
    """A server that gives back what it gets; its port."""

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                try:
                    while data := connection.recv(65536):
                        connection.sendall(data)
                except OSError:
                    continue

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, name="echo")
        thread.start()
        try:
            yield int(server.getsockname()[1])
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(10)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with echo() as port, Proxy(port) as relay:
        yield relay


@contextmanager
def connected(proxy: Proxy) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), 5.0) as client:
        client.settimeout(5.0)
        yield client


def answer(client: socket.socket, said: bytes = b"hello") -> bytes | None:
    """What comes back, None for nothing within a moment."""
    client.sendall(said)
    client.settimeout(PATIENCE_S)
    try:
        return client.recv(65536)
    except TimeoutError:
        return None
    finally:
        client.settimeout(5.0)


def test_it_relays_both_ways(proxy: Proxy) -> None:
    """Without a fault it is not noticed."""
    with connected(proxy) as client:
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"
    assert proxy.accepted == 1


def test_it_refuses_and_comes_back_on_its_port(proxy: Proxy) -> None:
    """Refusing, nobody listens; afterwards somebody does, where it was."""
    proxy.set(Mode.REFUSE)
    with pytest.raises(ConnectionRefusedError), connected(proxy):
        pass
    proxy.set(Mode.FORWARD)
    with connected(proxy) as client:
        assert answer(client) is not None


def test_a_cut_ends_what_is_connected(proxy: Proxy) -> None:
    """Connections there are end, which their client is told."""
    with connected(proxy) as client:
        assert answer(client) == b"hello"
        proxy.set(Mode.REFUSE, cut=True)
        assert client.recv(100) == b""


@pytest.mark.parametrize("mode", [Mode.SILENT, Mode.DEAF])
def test_it_keeps_silent(proxy: Proxy, mode: Mode) -> None:
    """A connection is accepted, and then nothing comes."""
    proxy.set(mode)
    with connected(proxy) as client:
        assert answer(client) is None


def test_it_takes_no_more(proxy: Proxy) -> None:
    """Stalled, it lets the client's buffers run full; let go, the next connection is a good one."""
    proxy.set(Mode.STALL)
    with connected(proxy) as client:
        client.setblocking(False)

        def full() -> bool:
            try:
                client.send(b"x" * 65536)
            except BlockingIOError:
                return True
            return False

        wait_for(full, what="the client's buffers are full")
    proxy.set(Mode.FORWARD, cut=True)
    with connected(proxy) as client:
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"


def test_it_damages_what_goes_to_the_client(proxy: Proxy) -> None:
    """Of what comes back some bytes are others, and none is missing."""
    proxy.set(Mode.CORRUPT)
    with connected(proxy) as client:
        client.sendall(b"\0" * 4000)
        got = b""
        while len(got) < 4000:
            got += client.recv(4000)
    assert 1 <= sum(byte != 0 for byte in got) <= 40
