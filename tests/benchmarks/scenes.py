"""What a rendered scene costs: CPU time of a picture, of painting the place, and of the truth.

python -m tests.benchmarks.scenes
"""

from __future__ import annotations

import time
from itertools import product

import cv2
import numpy as np

from hailod.scenes import PLACES, RenderedScene

SIZES = ((640, 360), (1280, 720))
FPS = 15.0
PICTURES = 90


def main() -> None:
    cv2.setNumThreads(1)
    print(f"{'scene':<28}{'open':>9}{'picture':>12}{'truth':>10}{f'at {FPS:.0f} FPS':>12}")
    for size, kind, night in product(SIZES, PLACES, (False, True)):
        begun = time.process_time()
        scene = RenderedScene(kind, 8, size, FPS, night=night, rain=night)
        opened = time.process_time()
        numbers = np.linspace(0, 60 * FPS, PICTURES).astype(int).tolist()
        for number in numbers:
            scene(number)
        painted = time.process_time()
        for number in numbers[::6]:
            scene.truth(number)
        told = time.process_time()
        picture = (painted - opened) / PICTURES
        name = f"{kind} {size[0]}x{size[1]}{' night, rain' if night else ''}"
        truth = (told - painted) / len(numbers[::6])
        costs = f"{opened - begun:>7.2f} s{1e3 * picture:>9.1f} ms{1e3 * truth:>7.1f} ms"
        print(f"{name:<28}{costs}{100 * picture * FPS:>10.1f} %")


if __name__ == "__main__":
    main()
