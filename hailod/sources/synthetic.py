"""Scenes that are computed: the same pictures on every machine, without a camera."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

import numpy as np

from hailod.clock import Clock
from hailod.sources.base import Captured
from hailod.sources.faults import lost
from hailod.types import U8, ColorMatrix, Picture, PixelFormat

# Picture number `index` of a scene.
Scene = Callable[[int], Picture]

_DEFAULT_SCENE = "boxes"
_DEFAULT_SIZE = (1280, 720)
_DEFAULT_FPS = 15.0

# A reader this late is not made up for.
_LATE = 1.0


@dataclass(frozen=True, slots=True)
class SceneOptions:
    """What `[scene][?seed=1&size=1280x720&fps=15]` says."""

    scene: str = _DEFAULT_SCENE
    seed: int = 1
    size: tuple[int, int] = _DEFAULT_SIZE
    fps: float = _DEFAULT_FPS

    @staticmethod
    def parse(text: str, *, size: tuple[int, int] | None = None, fps: float | None = None) -> SceneOptions:
        """Read `text`; `size` and `fps` hold where it does not say. Raises ValueError that names what is allowed."""
        scene, _, query = text.partition("?")
        scene = scene or _DEFAULT_SCENE
        given = dict(parse_qsl(query, keep_blank_values=True))
        if scene not in SCENES:
            raise ValueError(f"no scene '{scene}' (known: {', '.join(SCENES)})")
        if unknown := given.keys() - {"seed", "size", "fps"}:
            raise ValueError(f"a synthetic scene has no '{min(unknown)}' (known: seed, size, fps)")
        try:
            seed = int(given.get("seed", "1"))
            width, height = (
                map(int, given["size"].split("x")) if "size" in given else size if size is not None else _DEFAULT_SIZE
            )
            rate = float(given["fps"]) if "fps" in given else fps if fps is not None else _DEFAULT_FPS
        except ValueError:
            raise ValueError("a synthetic scene is written as synthetic:boxes?seed=1&size=1280x720&fps=15") from None
        if not (16 <= width <= 8192 and 16 <= height <= 8192 and 0.0 < rate <= 1000.0 and seed >= 0):
            raise ValueError("a synthetic scene has sides from 16 to 8192, 0 < fps <= 1000 and seed >= 0")
        return SceneOptions(scene, seed, (width, height), rate)


class SyntheticSource:
    """A `Source` of a computed scene in real time; it never ends."""

    def __init__(self, options: SceneOptions, clock: Clock, *, realtime: bool = True) -> None:
        self._options = options
        self._clock = clock
        self._realtime = realtime
        self._scene: Scene | None = None
        self._index = 0
        self._anchor = 0.0

    def open(self) -> None:
        self._scene = SCENES[self._options.scene](self._options)
        self._index = 0
        self._anchor = self._clock.monotonic()

    def read(self) -> Captured:
        scene = self._scene
        if scene is None:
            raise lost(f"synthetic:{self._options.scene}", "closed")
        now = self._clock.monotonic()
        due = self._anchor + self._index / self._options.fps
        if now - due > _LATE:
            self._anchor += now - due
            due = now
        picture = scene(self._index)
        self._index += 1
        return Captured(picture, due=due if self._realtime else None)

    def close(self) -> None:
        self._scene = None


class _Boxes:
    """Coloured boxes that cross a grey gradient at constant speed and bounce off its edges."""

    def __init__(self, options: SceneOptions) -> None:
        self._width, self._height = options.size
        rng = np.random.default_rng(options.seed)
        smallest = min(options.size) // 8
        count = 4
        self._sides = rng.integers(smallest, 2 * smallest, (count, 2))
        self._starts = rng.random((count, 2))
        self._speeds = rng.uniform(0.002, 0.02, (count, 2))
        self._colours = rng.integers(32, 224, (count, 3))
        ramp = np.linspace(48, 160, self._width, dtype=np.uint8)
        self._ground: U8 = np.broadcast_to(ramp, (self._height, self._width))

    def __call__(self, index: int) -> Picture:
        half = ((self._height + 1) // 2, (self._width + 1) // 2)
        y = self._ground.copy()
        u, v = np.full(half, 128, np.uint8), np.full(half, 128, np.uint8)
        # A triangle wave is a ball between two walls.
        phase = (self._starts + index * self._speeds) % 2.0
        place = np.where(phase > 1.0, 2.0 - phase, phase)
        room = np.array([self._width, self._height]) - self._sides
        for (left, top), (width, height), colour in zip(
            (place * room).astype(int), self._sides, self._colours, strict=True
        ):
            y[top : top + height, left : left + width] = colour[0]
            chroma = slice(top // 2, (top + height) // 2), slice(left // 2, (left + width) // 2)
            u[chroma], v[chroma] = colour[1], colour[2]
        return Picture(PixelFormat.I420, self._width, self._height, (y, u, v), ColorMatrix.BT601, full_range=False)


SCENES: Final[Mapping[str, Callable[[SceneOptions], Scene]]] = {"boxes": _Boxes}
