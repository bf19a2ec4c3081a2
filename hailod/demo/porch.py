"""A camera that can go away: pictures over HTTP, from a process of its own.

`python -m hailod.demo.porch PORT SECONDS` is that process; it gives a new picture every so many seconds.
"""

from __future__ import annotations

import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np

from hailod.clock import Clock
from hailod.demo.broker import HOST, free_port
from hailod.demo.child import Child, DemoError
from hailod.scenes import RenderedScene
from hailod.types import Picture

_PERIOD_S = 0.5
_SIZE = (640, 360)
_STOP_TIMEOUT_S = 1.0


class Porch:
    """The camera's process. It comes back on the port that it had."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        self.port = 0
        self._directory = directory
        self._clock = clock
        self._child: Child | None = None

    def start(self) -> None:
        """Start it; the first picture takes a second or two to paint. Raises DemoError."""
        self.port = self.port or free_port()
        command = [sys.executable, "-m", "hailod.demo.porch", str(self.port), str(_PERIOD_S)]
        self._child = Child("camera", command, self._directory, self._clock)
        self._child.start()

    @property
    def alive(self) -> bool:
        return self._child is not None and self._child.alive

    def listens(self) -> bool:
        """Whether it takes connections."""
        with socket.socket() as probe:
            probe.settimeout(1.0)
            return probe.connect_ex((HOST, self.port)) == 0

    def death(self) -> DemoError:
        """Why the demo cannot go on without it."""
        assert self._child is not None
        return self._child.death()

    def stop(self) -> None:
        """End it, and wait for its end; idempotent."""
        child, self._child = self._child, None
        if child is not None:
            child.stop(_STOP_TIMEOUT_S)


def jpeg(picture: Picture) -> bytes:
    """An I420 picture as cameras send it."""
    planes = np.concatenate([plane.reshape(-1) for plane in picture.planes])
    colours = cv2.cvtColor(planes.reshape(picture.height * 3 // 2, picture.width), cv2.COLOR_YUV2BGR_I420)
    _, encoded = cv2.imencode(".jpg", colours)
    return encoded.tobytes()


def serve(port: int, period: float) -> None:
    """Serve pictures until the process is ended."""
    scene = RenderedScene("driveway", 11, _SIZE, 1.0 / period)
    began = time.monotonic()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = jpeg(scene(int((time.monotonic() - began) / period)))
            self.send_response(200)
            self.send_header("Content-Type", "image/jpeg")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the name is the base class's
            pass

    with ThreadingHTTPServer((HOST, port), Handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    serve(int(sys.argv[1]), float(sys.argv[2]))
