"""What grounds and walls look like, as functions of where on them one looks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hailod.scenes.view import Colour

Field = NDArray[np.floating[Any]]
"""A number for each pixel, (h, w), or one for each of blue, green, red, (h, w, 3)."""

Material = Callable[[Field, Field, Field], Field]
"""From metres across, metres up or ahead, and metres a pixel covers (all (h, w)) to blue, green, red (h, w, 3)."""

_TILE = np.random.default_rng(5).random((256, 256), dtype=np.float32)


def noise(u: Field, v: Field, size: float, footprint: Field) -> Field:
    """Smooth random numbers, -0.5..0.5, in grains of `size` metres; fine grains fade where a pixel covers many."""
    grain = np.float32(1 / size)
    plain = cv2.remap(_TILE, (u * grain) % 256, (v * grain) % 256, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    fading: Field = (plain - np.float32(0.5)) / (1 + (footprint * grain) ** 2)
    return fading


def plain(colour: Colour, rough: float = 0.12, grain: float = 0.05) -> Material:
    """One colour, slightly uneven."""

    def look(u: Field, v: Field, footprint: Field) -> Field:
        wave: Field = 1 + rough * (noise(u, v, grain, footprint) + 0.8 * noise(u, v, 1.3, footprint))
        return _tinted(colour, wave)

    return look


def grass(colour: Colour) -> Material:
    """A lawn with lighter and drier patches."""

    def look(u: Field, v: Field, footprint: Field) -> Field:
        wave = 1 + 0.55 * noise(u, v * 0.6, 0.06, footprint) + 0.3 * noise(u, v, 0.5, footprint)
        dry = np.clip(0.5 + 1.2 * noise(u, v, 2.5, footprint), 0, 1)[..., None]
        other = np.array(colour, np.float32) * np.array([0.95, 1.08, 1.35], np.float32)
        both: Field = _tinted(colour, wave) * (1 - dry) + other * wave[..., None] * dry
        return both

    return look


def tiles(colour: Colour, across: float, up: float, joint: float, *, staggered: bool = False) -> Material:
    """Slabs, bricks or planks of that size with joints between them."""

    def look(u: Field, v: Field, footprint: Field) -> Field:
        row = np.floor(v / up)
        shifted = u / across + (0.5 * (row % 2) if staggered else 0.0)
        column = np.floor(shifted)
        each = (np.sin(row * 12.99 + column * 78.23) * 43758.5) % 1.0
        in_u, in_v = (shifted - column) * across, v - row * up
        gap = np.minimum(np.minimum(in_u, across - in_u), np.minimum(in_v, up - in_v))
        soft = np.maximum(footprint * 0.5, 0.004)
        depth = np.clip((joint - gap) / soft + 0.5, 0, 1) / (1 + (footprint / (2 * joint)) ** 2)
        wave = (0.9 + 0.2 * each.astype(np.float32)) * (1 + 0.15 * noise(u, v, 0.07, footprint)) * (1 - 0.35 * depth)
        return _tinted(colour, wave.astype(np.float32))

    return look


def _tinted(colour: Colour, wave: Field) -> Field:
    tinted: Field = wave[..., None] * np.array(colour, np.float32)
    return tinted
