"""Scenes that are computed: the same pictures on every machine, without a camera."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

from hailod.clock import Clock
from hailod.scenes import PLACES, Boxes, RenderedScene
from hailod.sources.base import Captured
from hailod.sources.faults import lost
from hailod.types import Picture

# Picture number `index` of a scene.
Scene = Callable[[int], Picture]

SCENES: Final = ("boxes", *PLACES)
"""A test card that moves, and the rendered places."""

_DEFAULT_SCENE: Final = "boxes"
_DEFAULT_SIZE: Final = {"boxes": (1280, 720)} | dict.fromkeys(PLACES, (640, 360))
_DEFAULT_FPS: Final = 15.0
_KEYS: Final = ("seed", "size", "fps")
_WEATHER: Final = ("night", "rain")

# A reader this late is not made up for.
_LATE = 1.0


@dataclass(frozen=True, slots=True)
class SceneOptions:
    """What `[scene][?seed=1&size=640x360&fps=15&night=1&rain=1]` says; night and rain are for rendered places."""

    scene: str = _DEFAULT_SCENE
    seed: int = 1
    size: tuple[int, int] = _DEFAULT_SIZE[_DEFAULT_SCENE]
    fps: float = _DEFAULT_FPS
    night: bool = False
    rain: bool = False

    @staticmethod
    def parse(text: str, *, size: tuple[int, int] | None = None, fps: float | None = None) -> SceneOptions:
        """Read `text`; `size` and `fps` hold where it does not say. Raises ValueError that names what is allowed."""
        scene, _, query = text.partition("?")
        scene = scene or _DEFAULT_SCENE
        given = dict(parse_qsl(query, keep_blank_values=True))
        if scene not in SCENES:
            raise ValueError(f"no scene '{scene}' (known: {', '.join(SCENES)})")
        known = (*_KEYS, *_WEATHER) if scene in PLACES else _KEYS
        if unknown := given.keys() - set(known):
            raise ValueError(f"the synthetic scene {scene} has no '{min(unknown)}' (known: {', '.join(known)})")
        if any(given.get(key, "0") not in ("0", "1") for key in _WEATHER):
            raise ValueError("night and rain of a synthetic scene are 0 or 1")
        width, height = size if size is not None else _DEFAULT_SIZE[scene]
        try:
            seed = int(given.get("seed", "1"))
            if "size" in given:
                width, height = map(int, given["size"].split("x"))
            rate = float(given["fps"]) if "fps" in given else fps if fps is not None else _DEFAULT_FPS
        except ValueError:
            raise ValueError("a synthetic scene is written as synthetic:street?seed=1&size=640x360&fps=15") from None
        if not (16 <= width <= 8192 and 16 <= height <= 8192 and 0.0 < rate <= 1000.0 and seed >= 0):
            raise ValueError("a synthetic scene has sides from 16 to 8192, 0 < fps <= 1000 and seed >= 0")
        night, rain = (given.get(key) == "1" for key in _WEATHER)
        return SceneOptions(scene, seed, (width, height), rate, night, rain)

    def scene_of(self) -> Scene:
        """The scene; painting a place takes about a second."""
        if self.scene in PLACES:
            return RenderedScene(self.scene, self.seed, self.size, self.fps, night=self.night, rain=self.rain)
        return Boxes(self.seed, self.size)


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
        self._scene = self._options.scene_of()
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
