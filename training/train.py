"""Train one of the two detectors and write it as ONNX.

    python -m training.train fast --data /var/tmp/demo-data --out hailod/models/demo
    python -m training.train accurate --data /var/tmp/demo-data --out hailod/models/demo

Seeded; on one thread of the same machine with the same PyTorch it gives the same weights. `--minutes` ends it early:
the learning rate then follows the clock.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
import warnings
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch
from torch import Tensor

from hailod.geometry import View
from hailod.prepare import Preparer
from hailod.types import U8, TensorInfo, TensorOrder
from training.dataset import Sample, load, recipes
from training.loss import Targets, loss
from training.model import SIZES, Detector, Exported, cells

BATCH: Final = 8
STEPS: Final = {"fast": 12_000, "accurate": 12_000}
_RATE: Final = 2e-3
_WARM_UP: Final = 200
_SETTLING: Final = 80
_MOST_OBJECTS: Final = 24
# What is smaller, or less visible, is neither asked for nor counted against the detector.
LEAST_VISIBLE: Final = 0.3
LEAST_HEIGHT: Final = 0.04


class Library:
    """The rendered scenes of the training split; scenes that are rendered meanwhile are found."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "training"
        self._wanted = {recipe.seed: recipe for recipe in recipes("training")}
        self._scenes: list[list[Sample]] = []

    def refresh(self) -> int:
        """Read what is new; returns the number of scenes."""
        for seed, recipe in list(self._wanted.items()):
            path = self._folder / f"{seed}.npz"
            if path.exists():
                self._scenes.append(load(path, recipe))
                del self._wanted[seed]
        return len(self._scenes)

    def draw(self, rng: np.random.Generator) -> Sample:
        scene = self._scenes[int(rng.integers(len(self._scenes)))]
        return scene[int(rng.integers(len(scene)))]


def batch(
    library: Library, rng: np.random.Generator, preparer: Preparer, size: tuple[int, int]
) -> tuple[Tensor, Targets]:
    """Pictures as the product prepares them, cropped, mirrored and discoloured at random; and their objects."""
    width, height = size
    pictures = np.empty((BATCH, height, width, 3), np.uint8)
    boxes = np.zeros((BATCH, _MOST_OBJECTS, 4), np.float32)
    labels = np.zeros((BATCH, _MOST_OBJECTS), np.int64)
    kind = np.zeros((BATCH, _MOST_OBJECTS), np.int64)
    for index in range(BATCH):
        sample = library.draw(rng)
        view = _view(rng)
        placement = preparer.prepare(sample.picture, view, pictures[index])
        pictures[index] = _discoloured(pictures[index], rng)
        truth = sample.truth
        whole = placement.to_model(truth.boxes)
        whole = np.concatenate((np.minimum(whole[:, :2], whole[:, 2:]), np.maximum(whole[:, :2], whole[:, 2:])), 1)
        target = placement.target
        low = np.array([target.x / width, target.y / height] * 2, np.float32)
        high = low + np.array([target.width / width, target.height / height] * 2, np.float32)
        cut = np.clip(whole, low, high)
        area = np.prod(cut[:, 2:] - cut[:, :2], 1)
        left = area / np.maximum(np.prod(whole[:, 2:] - whole[:, :2], 1), 1e-9)
        tall = (cut[:, 3] - cut[:, 1]) * height / target.height
        counts = (truth.visibility * left >= LEAST_VISIBLE) & (tall >= 0.9 * LEAST_HEIGHT)
        order = np.argsort(~counts, kind="stable")
        order = order[area[order] > 0][:_MOST_OBJECTS]
        boxes[index, : len(order)] = cut[order] * [width, height, width, height]
        labels[index, : len(order)] = truth.labels[order]
        kind[index, : len(order)] = np.where(counts[order], 1, -1)
    tensor = torch.from_numpy(pictures).permute(0, 3, 1, 2).float().contiguous(memory_format=torch.channels_last)
    return tensor, Targets(torch.from_numpy(boxes), torch.from_numpy(labels), torch.from_numpy(kind))


def _view(rng: np.random.Generator) -> View:
    flip = "horizontal" if rng.random() < 0.5 else "none"
    if rng.random() < 0.65:
        return View(flip=flip)
    side = float(rng.uniform(0.6, 1.0))
    x, y = (float(rng.uniform(0, 1 - side)) for _ in range(2))
    return View((x, y, x + side, y + side), flip=flip)


def _discoloured(picture: U8, rng: np.random.Generator) -> U8:
    if rng.random() < 0.3:
        return picture
    gain = rng.uniform(0.7, 1.35) * rng.uniform(0.92, 1.08, 3)
    contrast, grey = rng.uniform(0.65, 1.15), rng.uniform(60, 190)
    matrix = np.zeros((3, 4), np.float32)
    matrix[:, :3] = np.diag(gain * contrast)
    if rng.random() < 0.15:
        matrix[:, :3] = np.array([0.299, 0.587, 0.114]) * gain.mean() * contrast
    matrix[:, 3] = max(0.0, 1 - contrast) * grey
    coloured: U8 = cv2.transform(picture, matrix)
    if rng.random() < 0.3:
        noise = rng.standard_normal(picture.shape[:2], np.float32)[..., None] * rng.uniform(2, 7)
        coloured = np.clip(coloured + noise, 0, 255).astype(np.uint8)
    return coloured


def settle(
    detector: Detector, library: Library, rng: np.random.Generator, preparer: Preparer, size: tuple[int, int]
) -> None:
    """Measure what the normalisations of a trained detector assume; averages kept during training lag behind it."""
    norms = [module for module in detector.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    detector.train()
    with torch.no_grad():
        for _ in range(_SETTLING):
            detector(batch(library, rng, preparer, size)[0])
    detector.eval()


def export(detector: Detector, name: str, folder: Path) -> Path:
    """Write the detector as ONNX, its normalisations apart: folded, they would need a copy of the tower per stride."""
    width, height = SIZES[name].input
    path = folder / f"demo_{name}.onnx"
    picture = torch.zeros(1, height, width, 3, dtype=torch.uint8)
    plain = copy.deepcopy(detector).to(memory_format=torch.contiguous_format)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Exported(plain).eval(), (picture,), str(path), dynamo=False, opset_version=13,
            input_names=["picture"], output_names=["rows"], training=torch.onnx.TrainingMode.PRESERVE,
        )  # fmt: skip
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a detector for the demo's scenes.")
    parser.add_argument("name", choices=SIZES)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--minutes", type=float, help="end after so long, whatever the steps")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--resume", type=Path, help="start from the weights that a run left in its output folder")
    arguments = parser.parse_args()
    steps = STEPS[arguments.name] if arguments.steps is None else arguments.steps
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.manual_seed(arguments.seed)
    rng = np.random.default_rng([arguments.seed, 3])
    arguments.out.mkdir(parents=True, exist_ok=True)

    size = SIZES[arguments.name]
    width, height = size.input
    preparer = Preparer(TensorInfo("picture", (height, width, 3), "uint8", TensorOrder.NHWC, height * width * 3))
    library = Library(arguments.data)
    detector = Detector(size).to(memory_format=torch.channels_last)
    if arguments.resume is not None:
        detector.load_state_dict(torch.load(arguments.resume))
    smoothed = copy.deepcopy(detector).eval()
    optimizer = torch.optim.AdamW(detector.parameters(), lr=_RATE, weight_decay=0.02)
    corners, strides = cells(size.input)
    started = time.monotonic()
    sums: dict[str, float] = {}
    step = 0
    while step < steps:
        if step % 100 == 0:
            scenes = library.refresh()
        progress = step / steps
        if arguments.minutes is not None:
            progress = max(progress, (time.monotonic() - started) / 60 / arguments.minutes)
            if progress >= 1:
                break
        rate = _RATE * min(1.0, (step + 1) / _WARM_UP) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        pictures, targets = batch(library, rng, preparer, size.input)
        value, parts = loss(detector(pictures), targets, corners, strides)
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(detector.parameters(), 10.0)
        optimizer.step()
        step += 1
        _follow(smoothed, detector, min(0.998, (1 + step) / (10 + step)))
        for key, part in parts.items():
            sums[key] = sums.get(key, 0.0) + part
        if step % 100 == 0:
            means = " ".join(f"{key} {total / 100:.3f}" for key, total in sums.items())
            print(f"{step} {(time.monotonic() - started) / 60:.1f} min, {scenes} scenes: {means}", flush=True)
            sums.clear()
        if step % 250 == 0:
            torch.save(detector.state_dict(), arguments.out / f"{arguments.name}.pt")
    library.refresh()
    torch.save(smoothed.state_dict(), arguments.out / f"{arguments.name}.pt")
    settle(smoothed, library, rng, preparer, size.input)
    path = export(smoothed, arguments.name, arguments.out)
    print(f"{path}: {step} steps, {path.stat().st_size} bytes, {(time.monotonic() - started) / 60:.1f} min")


def _follow(smoothed: Detector, detector: Detector, keep: float) -> None:
    with torch.no_grad():
        own = smoothed.state_dict()
        for key, value in detector.state_dict().items():
            if value.dtype.is_floating_point:
                own[key].mul_(keep).add_(value, alpha=1 - keep)
            else:
                own[key].copy_(value)


if __name__ == "__main__":
    main()
