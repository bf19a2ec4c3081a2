"""What is in service now, as one immutable snapshot that the control thread hands to dispatcher and results thread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hailod.decode.base import Decoder
from hailod.device.flight import Session
from hailod.geometry import View
from hailod.models.manifest import Manifest
from hailod.pipeline.batcher import Pace
from hailod.prepare import Preparer


@dataclass(frozen=True, slots=True, eq=False)
class Lane:
    """One model in service: its session on the device and what is needed on either side of it.

    `preparers` holds one per prep worker, because each keeps scratch memory of its own.
    """

    name: str
    session: Session
    manifest: Manifest
    decoder: Decoder
    preparers: tuple[Preparer, ...]
    per_camera: int = 1
    max_delay: float = 0.0
    pace: Pace = field(default_factory=Pace)

    def label(self, class_id: int) -> str:
        """The name of a class; its number where the model has no label for it."""
        labels = self.manifest.labels
        return labels[class_id] if class_id < len(labels) else f"class_{class_id}"


@dataclass(frozen=True, slots=True)
class CameraRules:
    """What is looked for in one camera's frames."""

    view: View
    threshold: float
    labels: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """The lanes by model and the rules by camera.

    `max_frame_age`: beyond it (seconds; inf offline) a frame is not worth sending. `frame_retries`: how often a frame
    that failed is sent again. `max_rate`: at most so many frames a second are asked of the device, None: no limit.
    """

    lanes: Mapping[str, Lane] = field(default_factory=dict)
    cameras: Mapping[str, CameraRules] = field(default_factory=dict)
    max_frame_age: float = 1.0
    frame_retries: int = 1
    max_rate: float | None = None
