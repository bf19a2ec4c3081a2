"""What a manifest says of NMS, as HailoRT puts it."""

from __future__ import annotations

from hailod.models.manifest import SimulatorManifest
from hailod.simulator.networks.network import NmsSettings
from hailod.types import NmsShape, TensorOrder

NMS_OUTPUTS = {
    "nms_by_class": TensorOrder.NMS_BY_CLASS,
    "nms_by_score": TensorOrder.NMS_BY_SCORE,
    "nms_with_byte_mask": TensorOrder.NMS_WITH_BYTE_MASK,
}
MASKS_PER_PICTURE = 2
"""The memory for masks, in pictures, where nothing else is said."""


def nms_limits(manifest: SimulatorManifest, picture: tuple[int, int]) -> NmsShape:
    """The limits of a manifest's NMS for a picture (height, width)."""
    if manifest.outputs != "nms_with_byte_mask":
        return NmsShape(manifest.classes, manifest.max_per_class)
    room = MASKS_PER_PICTURE * picture[0] * picture[1] if manifest.max_mask_bytes is None else manifest.max_mask_bytes
    return NmsShape(manifest.classes, manifest.max_per_class, max_mask_bytes=room)


def nms_settings(manifest: SimulatorManifest, profile: str) -> NmsSettings:
    """What a manifest configures its NMS to."""
    return NmsSettings(
        manifest.score_threshold,
        manifest.iou_threshold,
        manifest.max_per_class,
        manifest.classes * manifest.max_per_class,
        profile,
    )
