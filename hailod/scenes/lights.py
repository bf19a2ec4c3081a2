"""The lights a scene can be in, by day and by night."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

from hailod.scenes.view import Colour, Lamp, Light

DAYS: Final = ("noon", "morning", "evening", "overcast", "hazy")
NIGHTS: Final = ("lamps", "infrared", "dusk", "moonlight")
"""The last of each is reserved for testing."""


def _sun(azimuth: float, elevation: float) -> tuple[float, float, float]:
    """Unit vector to the sun; azimuth 0 is to the right, 90 ahead of the camera."""
    a, e = math.radians(azimuth), math.radians(elevation)
    return (math.cos(a) * math.cos(e), math.sin(e), math.sin(a) * math.cos(e))


def _grey(value: float) -> Colour:
    return (value, value, value)


_OVERHEAD: Final = _sun(0, 80)

_PRESETS: Final = {
    "noon": Light(
        ambient=(0.55, 0.52, 0.5),
        sun=(0.52, 0.56, 0.6),
        towards=_sun(-60, 55),
        sky=((226, 168, 110), (244, 226, 205)),
        shadow=0.42,
        haze=0.15,
    ),
    "morning": Light(
        ambient=(0.52, 0.46, 0.43),
        sun=(0.42, 0.52, 0.62),
        towards=_sun(200, 30),
        sky=((220, 178, 140), (214, 222, 240)),
        shadow=0.4,
        haze=0.35,
    ),
    "evening": Light(
        ambient=(0.42, 0.38, 0.38),
        sun=(0.3, 0.5, 0.68),
        towards=_sun(-20, 24),
        sky=((190, 140, 120), (150, 190, 246)),
        shadow=0.42,
        haze=0.3,
    ),
    "overcast": Light(
        ambient=(0.72, 0.7, 0.69),
        sun=(0.08, 0.08, 0.08),
        towards=_OVERHEAD,
        sky=((206, 200, 196), (222, 219, 217)),
        shadow=0.1,
        haze=0.3,
        noise=2.0,
    ),
    "hazy": Light(
        ambient=(0.6, 0.59, 0.58),
        sun=(0.28, 0.29, 0.3),
        towards=_sun(230, 45),
        sky=((222, 206, 190), (230, 226, 222)),
        shadow=0.22,
        haze=1.2,
        noise=2.0,
    ),
    "lamps": Light(
        ambient=(0.17, 0.13, 0.12),
        sun=_grey(0.0),
        towards=_OVERHEAD,
        sky=((38, 24, 20), (58, 42, 40)),
        haze=0.1,
        noise=4.0,
        night=True,
    ),
    "infrared": Light(
        ambient=_grey(0.1),
        sun=_grey(0.0),
        towards=_OVERHEAD,
        sky=(_grey(14), _grey(24)),
        haze=0.05,
        noise=4.5,
        lamps=(Lamp(0.0, 3.0, 0.0, 8.5, _grey(1.05)),),
        infrared=True,
        night=True,
    ),
    "dusk": Light(
        ambient=(0.36, 0.29, 0.25),
        sun=_grey(0.02),
        towards=_OVERHEAD,
        sky=((120, 84, 60), (120, 120, 150)),
        shadow=0.05,
        haze=0.3,
        noise=3.0,
        night=True,
    ),
    "moonlight": Light(
        ambient=(0.25, 0.2, 0.17),
        sun=(0.12, 0.1, 0.08),
        towards=_sun(120, 50),
        sky=((70, 46, 30), (84, 66, 52)),
        shadow=0.3,
        haze=0.2,
        noise=4.0,
        night=True,
    ),
}


def light(name: str, lamps: tuple[Lamp, ...] = (), *, rain: bool = False) -> Light:
    """The light of that name; `lamps` of the place burn at night, and rain takes the sun away."""
    chosen = _PRESETS[name]
    if chosen.night and not chosen.infrared:
        chosen = replace(chosen, lamps=chosen.lamps + lamps)
    if rain:
        flat = tuple(0.88 * (a + 0.35 * s) for a, s in zip(chosen.ambient, chosen.sun, strict=True))
        grey = _clouded(chosen.sky)
        chosen = replace(
            chosen,
            ambient=(flat[0], flat[1], flat[2]),
            sun=_grey(0.04),
            shadow=chosen.shadow * 0.15,
            sky=grey,
            haze=chosen.haze + 0.5,
            noise=chosen.noise + 0.7,
        )
    return chosen


def _clouded(sky: tuple[Colour, Colour]) -> tuple[Colour, Colour]:
    """A sky that has clouded over."""
    level = 0.85 * (sum(sky[0]) + sum(sky[1])) / 6
    return (_grey(0.95 * level), _grey(level))
