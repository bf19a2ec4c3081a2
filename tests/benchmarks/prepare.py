"""What it costs to lay a camera's picture into a model's input, and how near it comes to the best there is.

`python tests/benchmarks/prepare.py` compares the planes-first way with the usual one (convert the whole frame to BGR,
resize, exchange channels, add a border), interleaved in one run. Error is the mean absolute difference to converting
the whole frame and averaging all pixels (INTER_AREA). One thread, as in the daemon.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np

from hailod.geometry import View
from hailod.prepare import Preparer
from hailod.types import U8, ColorMatrix, Picture, PixelFormat, TensorInfo, TensorOrder

MODEL = 640
TENSOR = TensorInfo("input", (MODEL, MODEL, 3), "uint8", TensorOrder.NHWC, MODEL * MODEL * 3)


def scene(width: int, height: int) -> U8:
    """A packed I420 frame with texture at every scale."""
    rng = np.random.default_rng(1)
    frame = np.zeros((height, width, 3), np.float32)
    for scale in (1, 2, 4, 16, 64):
        grain = rng.normal(0.0, 6.0 + 4.0 * scale**0.5, (height // scale + 1, width // scale + 1, 3)).astype(np.float32)
        frame += cv2.resize(grain, (width, height), interpolation=cv2.INTER_CUBIC)
    bgr = np.clip(frame + 128, 0, 255).astype(np.uint8)
    return cv2.cvtColor(cv2.GaussianBlur(bgr, (0, 0), 0.8), cv2.COLOR_BGR2YUV_I420)


def planes_of(packed: U8, width: int, height: int) -> tuple[U8, U8, U8]:
    quarter = height // 4
    u, v = packed[height : height + quarter], packed[height + quarter :]
    return packed[:height], u.reshape(height // 2, width // 2), v.reshape(height // 2, width // 2)


def usual(packed: U8, width: int, height: int) -> U8:
    bgr = cv2.cvtColor(packed, cv2.COLOR_YUV2BGR_I420)
    small = cv2.cvtColor(cv2.resize(bgr, (MODEL, MODEL * height // width)), cv2.COLOR_BGR2RGB)
    above = (MODEL - small.shape[0]) // 2
    below = MODEL - small.shape[0] - above
    return cv2.copyMakeBorder(small, above, below, 0, 0, cv2.BORDER_CONSTANT, value=(114, 114, 114))


def best(packed: U8, width: int, height: int) -> U8:
    rgb = cv2.cvtColor(packed, cv2.COLOR_YUV2RGB_I420)
    return cv2.resize(rgb, (MODEL, MODEL * height // width), interpolation=cv2.INTER_AREA)


def milliseconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1e3


def measure(width: int, height: int, rounds: int) -> dict[str, float]:
    """Medians in milliseconds over interleaved rounds, their ratio, and both errors."""
    packed = scene(width, height)
    y, u, v = planes_of(packed, width, height)
    picture = Picture(PixelFormat.I420, width, height, (y, u, v), ColorMatrix.BT601)
    nv12 = Picture(PixelFormat.NV12, width, height, (y, np.dstack((u, v))), ColorMatrix.BT709)
    out, preparer = np.empty(TENSOR.shape, np.uint8), Preparer(TENSOR)
    ways: dict[str, Callable[[], object]] = {
        "usual_ms": lambda: usual(packed, width, height),
        "i420_ms": lambda: preparer.prepare(picture, View(), out),
        "nv12_bt709_ms": lambda: preparer.prepare(nv12, View(), out),
        "rotated_ms": lambda: preparer.prepare(picture, View(rotate=90), out),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            times[name].append(milliseconds(way))
    result = {name: statistics.median(spent[2:]) for name, spent in times.items()}
    result["usual_to_i420"] = result["usual_ms"] / result["i420_ms"]
    target = preparer.prepare(picture, View(), out).target
    reference = best(packed, width, height).astype(np.float64)
    rows = slice(target.y, target.y + target.height)
    result["i420_error"] = float(np.abs(out[rows] - reference).mean())
    result["usual_error"] = float(np.abs(usual(packed, width, height)[rows] - reference).mean())
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    results = {f"{w}x{h}": measure(w, h, arguments.rounds) for w, h in ((1280, 720), (1920, 1080), (3840, 2160))}
    if arguments.json:
        print(json.dumps(results))
        return
    for size, figures in results.items():
        print(size, "  ".join(f"{name} {figure:.2f}" for name, figure in figures.items()))


if __name__ == "__main__":
    main()
