"""Pictures to train and test with, rendered once and kept in a folder.

Three splits that share nothing: `training` and `validation` draw from the styles, backgrounds and lights that are not
reserved, with different seeds; `test` draws from the reserved ones alone.

    python -m training.dataset --out /var/tmp/demo-data
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from hailod.scenes import PLACES, Pool, RenderedScene, Truth
from hailod.types import F32, I32, U8, Picture, PixelFormat

SIZE: Final = (640, 360)
FPS: Final = 15.0
SPLITS: Final = {"training": (10_000, 640), "validation": (40_000, 32), "test": (50_000, 64)}
"""First seed and number of scenes of each split."""
_PICTURES_PER_SCENE: Final = {"training": 16, "validation": 10, "test": 10}
# Seconds between two pictures of a scene, so that they differ.
_APART_S = 3.7


@dataclass(frozen=True, slots=True)
class Recipe:
    """Which scene, and of what kind."""

    split: str
    seed: int
    kind: str
    night: bool
    rain: bool


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One picture, what is in it, and what kind of scene it is."""

    picture: Picture
    truth: Truth
    recipe: Recipe


def recipes(split: str) -> list[Recipe]:
    """All scenes of a split: every kind of place equally often, 45 % at night, 25 % in rain."""
    first, count = SPLITS[split]
    rng = np.random.default_rng([first, 1])
    kinds = list(PLACES)
    return [
        Recipe(split, first + n, kinds[n % len(kinds)], bool(rng.random() < 0.45), bool(rng.random() < 0.25))
        for n in range(count)
    ]


def render(recipe: Recipe, folder: Path) -> Path:
    """Render a scene into a file, unless it is there already."""
    path = folder / recipe.split / f"{recipe.seed}.npz"
    if path.exists():
        return path
    cv2.setNumThreads(1)
    pool = Pool.HELD_OUT if recipe.split == "test" else Pool.TRAINING
    scene = RenderedScene(recipe.kind, recipe.seed, SIZE, FPS, night=recipe.night, rain=recipe.rain, pool=pool)
    pictures, owners, truths = [], [], []
    for number in range(_PICTURES_PER_SCENE[recipe.split]):
        picture, truth = scene.both(round(number * _APART_S * FPS))
        pictures.append(np.concatenate([plane.reshape(-1) for plane in picture.planes]))
        owners += [number] * len(truth.labels)
        truths.append(truth)
    partial = path.with_suffix(".part")
    with partial.open("wb") as stream:
        np.savez(
            stream,
            pictures=np.stack(pictures),
            owners=np.array(owners, np.int32),
            **{
                name: np.concatenate([getattr(truth, name) for truth in truths])
                for name in ("boxes", "labels", "ids", "visibility")
            },
        )
    partial.rename(path)
    return path


def load(path: Path, recipe: Recipe) -> list[Sample]:
    """The samples of a rendered scene."""
    with np.load(path) as stored:
        pictures: U8 = stored["pictures"]
        owners: I32 = stored["owners"]
        boxes: F32 = stored["boxes"]
        labels, ids, visibility = stored["labels"], stored["ids"], stored["visibility"]
    samples = []
    for number, data in enumerate(pictures):
        own = owners == number
        truth = Truth(boxes[own], labels[own], ids[own], visibility[own])
        samples.append(Sample(_picture(data), truth, recipe))
    return samples


def split_samples(split: str, folder: Path) -> Iterator[Sample]:
    """All samples of a split in order; what is missing is rendered first."""
    (folder / split).mkdir(parents=True, exist_ok=True)
    for recipe in recipes(split):
        yield from load(render(recipe, folder), recipe)


def _picture(data: U8) -> Picture:
    width, height = SIZE
    luma, chroma = data[: width * height], data[width * height :].reshape(2, height // 2, width // 2)
    return Picture(PixelFormat.I420, width, height, (luma.reshape(height, width), chroma[0], chroma[1]))


def main() -> None:
    parser = argparse.ArgumentParser(description="Render the scenes of all splits, or of one.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--split", choices=SPLITS, action="append")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    for split in arguments.split or SPLITS:
        (arguments.out / split).mkdir(parents=True, exist_ok=True)
        work = recipes(split)
        with ProcessPoolExecutor(arguments.workers) as pool:
            for done, _ in enumerate(pool.map(render, work, [arguments.out] * len(work)), 1):
                if done % 50 == 0 or done == len(work):
                    print(f"{split}: {done} of {len(work)} scenes", flush=True)


if __name__ == "__main__":
    main()
