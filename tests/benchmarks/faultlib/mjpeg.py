"""A camera that sends JPEGs over HTTP for ever, and whose pictures can be changed while it does."""

from __future__ import annotations

import itertools
import socket
import threading
from contextlib import suppress

import cv2
import numpy as np

_HEAD = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary=frame\r\n\r\n"


class MjpegCamera:
    """Serves `http://127.0.0.1:PORT/`. `size` is that of the next picture, `still`: it is the same as the last one,
    `page`: connections are answered by a web page."""

    def __init__(self, fps: float = 20.0, size: tuple[int, int] = (160, 120)) -> None:
        self.size = size
        self.still = False
        self.page = False
        self._period = 1.0 / fps
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._threads = [threading.Thread(target=self._accept, name="mjpeg camera")]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/video"

    def __enter__(self) -> MjpegCamera:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in list(self._threads):
            thread.join(10)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while not self._over.is_set():
                connection, _ = self._listener.accept()
                thread = threading.Thread(target=self._serve, args=(connection,), name="mjpeg viewer")
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(5.0)
        with connection, suppress(OSError):
            connection.recv(4096)
            if self.page:
                connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n<html>Please log in</html>")
                return
            connection.sendall(_HEAD)
            numbers = itertools.count()
            number = 0
            while not self._over.wait(self._period):
                number = number if self.still else next(numbers)
                jpeg = _picture(number, self.size)
                connection.sendall(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg))
                connection.sendall(jpeg + b"\r\n")


def _picture(number: int, size: tuple[int, int]) -> bytes:
    width, height = size
    picture = np.full((height, width, 3), 90, np.uint8)
    left = number * 3 % (width - 24)
    picture[20:60, left : left + 24] = (200, 30 + number % 200, 60)
    encoded, jpeg = cv2.imencode(".jpg", picture)
    assert encoded
    return jpeg.tobytes()
