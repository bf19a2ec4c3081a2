"""The privacy switches: of one camera, and of the node for all of them. Pure.

A private camera's stream is closed and none of its frames is kept; its pictures are taken back from the broker, its
status is `disabled`, its counts stay and are marked as stale, and it cannot be asked for a picture. The switch is a
setting: it survives a restart, and it leaves `enabled` alone, which says again what happens once it is turned back.
"""

from __future__ import annotations

from hailod.config.model import CameraSettings, Settings
from hailod.errors import CommandError


def seen_by_worker(settings: Settings, name: str, camera: CameraSettings) -> CameraSettings:
    """The camera's settings as its worker shall see them: switched off while it is private, by whichever switch."""
    private = settings.is_private(name)
    return camera.model_copy(update={"privacy": private, "enabled": camera.enabled and not private})


def refuse_if_private(settings: Settings, camera: str) -> None:
    """Raises CommandError `forbidden` for a camera that nobody may look through."""
    if settings.privacy:
        raise CommandError("forbidden", "the node's privacy switch is on")
    if settings.cameras[camera].privacy:
        raise CommandError("forbidden", f"the privacy switch of camera '{camera}' is on", field="args.camera")
