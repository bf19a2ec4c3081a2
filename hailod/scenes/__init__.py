"""Rendered scenes: places in which people walk, cars drive and park, cats stroll, and parcels come and go."""

from __future__ import annotations

from hailod.scenes.boxes import Boxes
from hailod.scenes.casting import Pool
from hailod.scenes.figure import LABELS
from hailod.scenes.places import PLACES
from hailod.scenes.scene import RenderedScene, Truth

__all__ = ["LABELS", "PLACES", "Boxes", "Pool", "RenderedScene", "Truth"]
