"""Who and what may appear: styles by number, some of them reserved, so that a detector can be tested on strangers."""

from __future__ import annotations

from enum import Enum

import numpy as np

# Of five figures, and of four backgrounds, one is reserved.
_FIGURES = 5
_BACKGROUNDS = 4


class Pool(Enum):
    """Which styles, backgrounds and lights a scene draws from: all, those to train with, or those held out."""

    ANY = "any"
    TRAINING = "training"
    HELD_OUT = "held_out"

    def figure(self, rng: np.random.Generator, styles: int) -> int:
        """One of `styles` figures."""
        return self._draw(rng, styles, _FIGURES)

    def background(self, rng: np.random.Generator, variants: int) -> int:
        """One of `variants` backgrounds."""
        return self._draw(rng, variants, _BACKGROUNDS)

    def light(self, rng: np.random.Generator, names: tuple[str, ...]) -> str:
        """One of several lights, of which the last is reserved."""
        if self is Pool.HELD_OUT:
            return names[-1]
        return names[int(rng.integers(len(names) - (self is Pool.TRAINING)))]

    def _draw(self, rng: np.random.Generator, count: int, every: int) -> int:
        while True:
            number = int(rng.integers(count))
            reserved = number % every == every - 1
            if self is Pool.ANY or reserved == (self is Pool.HELD_OUT):
                return number
