"""A network camera that pushes JPEGs over HTTP, with what is sent and when under the test's control."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from types import TracebackType

import cv2
import numpy as np

from tests.support.rtsp import BITS, CELL, HEIGHT, WIDTH

_HEAD = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n"

_PART = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n"


def jpeg(number: int, *, size: tuple[int, int] = (WIDTH, HEIGHT)) -> bytes:
    """A picture of `size` (width, height) that `number_of` can read."""
    picture = np.full((size[1], size[0]), 90, np.uint8)
    bits = [235 if number >> bit & 1 else 16 for bit in range(BITS)]
    picture[:CELL, : BITS * CELL] = np.repeat(np.array(bits, np.uint8), CELL)
    return cv2.imencode(".jpg", picture)[1].tobytes()


def numbered(*, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Iterator[bytes]:
    """Pictures that count from 0."""
    return (jpeg(number % 2**BITS, size=size) for number in itertools.count())


class MjpegServer:
    """Sends `pictures`, `fps` of them a second, to whoever watches; `show` changes both. None: nothing is sent."""

    def __init__(self, pictures: Iterable[bytes] | None, *, fps: float = 25.0) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._viewers: list[socket.socket] = []
        self._changed = threading.Condition()
        self._over = False
        self._acceptor = threading.Thread(target=self._accept, name="mjpeg viewers")
        self._feeder = threading.Thread(target=self._feed, name="mjpeg pictures")
        self.visits = 0
        self.sent = 0
        self.show(pictures, fps=fps)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/video"

    def show(self, pictures: Iterable[bytes] | None, *, fps: float = 25.0) -> None:
        with self._changed:
            self._pictures = None if pictures is None else iter(pictures)
            self._period = 1.0 / fps
            self._changed.notify_all()

    def hang_up(self) -> None:
        """Close all connections."""
        with self._changed:
            viewers, self._viewers = self._viewers, []
        for viewer in viewers:
            with suppress(OSError):
                viewer.shutdown(socket.SHUT_RDWR)
            viewer.close()

    def __enter__(self) -> MjpegServer:
        self._acceptor.start()
        self._feeder.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._over = True
            self._changed.notify_all()
        self._listener.shutdown(socket.SHUT_RDWR)
        self.hang_up()
        self._acceptor.join(10)
        self._feeder.join(10)
        self._listener.close()
        self.hang_up()

    def _accept(self) -> None:
        while True:
            try:
                viewer, _ = self._listener.accept()
                viewer.settimeout(10.0)
                viewer.recv(4096)
                viewer.sendall(_HEAD)
            except OSError:
                if self._over:
                    return
                continue
            with self._changed:
                self.visits += 1
                self._viewers.append(viewer)

    def _feed(self) -> None:
        while True:
            with self._changed:
                if self._over:
                    return
                picture = next(self._pictures, None) if self._pictures is not None else None
                viewers = list(self._viewers)
            if picture is not None:
                part = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n" % (
                    len(picture),
                    picture,
                )
                for viewer in viewers:
                    try:
                        viewer.sendall(part)
                    except OSError:
                        self._drop(viewer)
                self.sent += 1
            with self._changed:
                if not self._over:
                    self._changed.wait(self._period)

    def _drop(self, viewer: socket.socket) -> None:
        with self._changed:
            if viewer not in self._viewers:
                return
            self._viewers.remove(viewer)
        viewer.close()
