"""The picture of the documentation: a contact sheet of detections in held-out scenes.

python -m training.sheet --out docs
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from hailod.scenes import LABELS, PLACES, Pool, RenderedScene
from hailod.types import U8, Detections, Picture
from training.evaluate import MODELS, device

_TILE: Final = (352, 198)
_TILES: Final = 6
_COLUMNS: Final = 3
_COLOURS: Final = ((60, 90, 240), (240, 150, 40), (40, 210, 250), (80, 220, 100))
_FPS: Final = 15.0


def bgr(picture: Picture) -> U8:
    """A picture of even sides in blue, green, red."""
    planes = np.concatenate([plane.reshape(-1) for plane in picture.planes])
    yuv = planes.reshape(picture.height * 3 // 2, picture.width)
    return np.asarray(cv2.cvtColor(yuv, cv2.COLOR_YUV2BGR_I420), np.uint8)


def annotated(picture: Picture, seen: Detections, threshold: float) -> U8:
    """The picture at the size of a tile, with what was seen in it."""
    width, height = _TILE
    tile = np.asarray(cv2.resize(bgr(picture), _TILE, interpolation=cv2.INTER_AREA), np.uint8)
    for box, score, label in zip(seen.boxes, seen.scores, seen.classes, strict=True):
        if score < threshold:
            continue
        x1, y1, x2, y2 = (box * [width, height, width, height]).round().astype(int).tolist()
        cv2.rectangle(tile, (x1, y1), (x2, y2), _COLOURS[label], 1, cv2.LINE_AA)
        text = f"{LABELS[label]} {100 * score:.0f}"
        at = (x1, max(9, y1 - 3))
        cv2.putText(tile, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.32, (0, 0, 0), 2, cv2.LINE_AA)
        cv2.putText(tile, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.32, _COLOURS[label], 1, cv2.LINE_AA)
    return tile


def contact_sheet(model: Path, threshold: float) -> U8:
    """What a model sees in six held-out scenes, by day and night, dry and in rain."""
    detect = device(model)
    tiles = []
    kinds = list(PLACES)
    for number in range(_TILES):
        night, rain = number % 2 == 1, number == 2
        scene = RenderedScene(
            kinds[number % 4], 60_000 + number, (640, 360), _FPS, night=night, rain=rain, pool=Pool.HELD_OUT
        )
        picture = scene(120)
        tiles.append(annotated(picture, detect(picture), threshold))
    rows = [np.hstack(tiles[start : start + _COLUMNS]) for start in range(0, len(tiles), _COLUMNS)]
    return np.asarray(np.vstack(rows), np.uint8)


def save(path: Path, picture: U8) -> None:
    """Write a PNG of 32 levels a channel, which the sensor's noise makes no worse and a third as large."""
    levels = (picture & 0xF8) | (picture >> 5)
    cv2.imwrite(str(path), levels, [cv2.IMWRITE_PNG_COMPRESSION, 9])


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the picture of the documentation.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=MODELS / "demo_accurate.onnx")
    parser.add_argument("--threshold", type=float, default=0.6)
    arguments = parser.parse_args()
    save(arguments.out / "demo-contact-sheet.png", contact_sheet(arguments.model, arguments.threshold))


if __name__ == "__main__":
    main()
