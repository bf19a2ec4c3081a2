"""Clips served over real RTSP to a real daemon, and what it tells of them over MQTT."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.broker import Broker, Observer
from tests.support.daemon import BASE, Daemon
from tests.support.rtsp import rtsp_server
from tests.support.waiting import wait_for

# However slow the machine, no frame is skipped to keep up: its number tells its place in the clip.
CAMERA = """
[cameras.{name}]
source = "{url}"
threshold = {threshold}
max_fps = {max_fps}
max_lag = 60.0
read_timeout = 30.0
"""


@dataclass(frozen=True, slots=True)
class Camera:
    """A clip for a camera to show, until its frame number `until` has been told of."""

    clip: Path
    until: int
    threshold: float
    max_fps: float = 30.0


def watch(
    directory: Path, model: Path, cameras: Mapping[str, Camera], *, timeout: float = 60.0
) -> dict[str, list[dict[str, Any]]]:
    """Let a daemon run `model` on all cameras at once; returns the `detections` messages of each.

    The server sends a clip again and again from its first frame, and the daemon counts frames from 1, so the place in a
    clip of so many frames is `(frame - 1) % length`.
    """
    with contextlib.ExitStack() as stack:
        body = f'[models.yolox_nano]\npath = "{model}"\n'
        for name, camera in cameras.items():
            url = stack.enter_context(rtsp_server(camera.clip)).url()
            body += CAMERA.format(name=name, url=url, threshold=camera.threshold, max_fps=camera.max_fps)
        broker = stack.enter_context(Broker(directory))
        observer = stack.enter_context(Observer(broker.port, f"{BASE}/#"))
        daemon = stack.enter_context(Daemon(directory, broker, body, mqtt="detections_max_hz = 30\n"))

        def told(name: str) -> list[dict[str, Any]]:
            return [message.json for message in observer.of(f"{BASE}/cam/{name}/detections")]

        def all_seen() -> bool:
            assert daemon.process.poll() is None, "the daemon ended"
            return all((seen := told(name)) and seen[-1]["frame"] >= cameras[name].until for name in cameras)

        wait_for(all_seen, timeout=timeout, what="the clips were seen", every=0.1)
        assert daemon.stop() == 0
        assert "frames accounted for" in daemon.output
        return {name: told(name) for name in cameras}
