"""A real RTSP server as a child process, and small clips to serve."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from hailod.types import Picture

SCRIPT = Path(__file__).with_name("rtsp_server.py")
SYSTEM_PYTHON = "/usr/bin/python3"
PACKAGES = (
    "gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad"
)

# A frame's number is written into its top as this many cells, black or white, the least significant bit first.
BITS = 12
CELL = 16
WIDTH, HEIGHT = BITS * CELL, 96


def number_of(picture: Picture) -> int:
    """The number that `make_clip` wrote into the frame."""
    cells = picture.planes[0][CELL // 2, CELL // 2 : BITS * CELL : CELL]
    return sum(1 << bit for bit, level in enumerate(cells) if level > 128)


def make_clip(
    path: Path,
    *,
    frames: int = 50,
    fps: int = 25,
    gop: int = 25,
    codec: str = "libx264",
    size: tuple[int, int] = (WIDTH, HEIGHT),
) -> Path:
    """Encode frames that carry their number, from 0, with a key frame every `gop` frames; `size` is width, height."""
    width, height = size
    options = {"preset": "ultrafast", "tune": "zerolatency"} if codec == "libx264" else {}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.gop_size = gop
        for number in range(frames):
            luma = np.full((height * 3 // 2, width), 128, np.uint8)
            bits = [235 if number >> bit & 1 else 16 for bit in range(BITS)]
            luma[:CELL, :WIDTH] = np.repeat(np.array(bits, np.uint8), CELL)
            luma[48:64, number * 2 % (width - 16) :][:, :16] = 235
            frame = av.VideoFrame.from_ndarray(luma, format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@functools.cache
def server_available() -> bool:
    """Whether the RTSP server's libraries are installed."""
    probe = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    try:
        return subprocess.run([SYSTEM_PYTHON, "-c", probe], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def require_server() -> None:
    """Skip, saying what to install, where the RTSP server's libraries are missing."""
    if not server_available():
        pytest.skip(f"no RTSP server: apt install {PACKAGES}")


@dataclass(slots=True)
class RtspServer:
    """A running server. `kill` is `kill -9`, `freeze` makes it silent with its sockets open."""

    process: subprocess.Popen[str]
    port: int

    def url(self, login: str = "") -> str:
        return f"rtsp://{login + '@' if login else ''}127.0.0.1:{self.port}/cam"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)


@contextmanager
def rtsp_server(
    *clips: Path, port: int = 0, auth: str | None = None, user: str = "user", password: str = ""
) -> Iterator[RtspServer]:
    """Serve `clips`, one after the other, for ever at `/cam`, optionally with basic or digest authentication."""
    require_server()
    command = [SYSTEM_PYTHON, str(SCRIPT), *map(str, clips), "--port", str(port)]
    if auth is not None:
        command += ["--auth", auth, "--user", user, "--password", password]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("port "), f"the RTSP server did not start: {line!r}"
        yield RtspServer(process, int(line.split()[1]))
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
