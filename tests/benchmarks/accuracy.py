"""How near the daemon's detections come to the model's own, on real video, and what the difference is made of.

`python -m tests.benchmarks.accuracy MODEL LABELS CLIP...` runs a YOLOX graph in the plainest way on every frame (see
`tests/support/reference.py`), lets a real daemon watch the same clips over real RTSP, and prints per clip how far they
agree. The daemon's difference to the reference has two sources, which the rows tell apart:

    resize     the reference on what the daemon prepares (planes first) against the reference on its own resize
    device     the daemon over RTSP against the reference on exactly what the daemon prepares: quantisation, NMS
    daemon     the daemon over RTSP against the reference: both together
    yardstick  the reference against itself with another interpolation (INTER_AREA): what a resize may change at all

Pairs are of one label and overlap by half or more; lonely is what one is certain of (0.5) and the other does not see
(0.3). dS is the difference of scores, classes% the frames in which both saw the same classes, counted, at 0.5.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from tests.support.agreement import HEADINGS, REPORTED, Sightings, compare
from tests.support.prepared import prepared_by_daemon
from tests.support.reference import Reference, Thing, bgr_of, frames_of, things_of
from tests.support.watching import Camera, watch

Square = NDArray[np.uint8]


def averaged(reference: Reference, frame: VideoFrame) -> Square:
    """The reference's letterbox, but every pixel counts (INTER_AREA)."""
    square = reference.letterbox(bgr_of(frame))
    scale = reference.side / max(frame.width, frame.height)
    size = int(frame.width * scale), int(frame.height * scale)
    small = cv2.resize(bgr_of(frame), size, interpolation=cv2.INTER_AREA)
    square[: size[1], : size[0]] = small
    return square


def sightings(reference: Reference, clip: Path, square_of: Callable[[VideoFrame], Square]) -> Sightings:
    return {
        index: reference.see(square_of(frame), frame.width, frame.height, REPORTED)
        for index, frame in enumerate(frames_of(clip))
    }


def told_by_daemon(model: Path, clip: Path, length: int) -> Sightings:
    """What the daemon tells of each frame of a clip of `length` frames, by its place in it."""
    # Once round, and those again that came before the model was loaded.
    camera = Camera(clip, until=length + 40, threshold=REPORTED)
    with tempfile.TemporaryDirectory() as directory:
        messages = watch(Path(directory), model, {"clip": camera}, timeout=300.0)["clip"]
    return {(message["frame"] - 1) % length: things_of(message) for message in messages}


def best_offset(told: Sightings, reference: Sightings) -> int:
    """By how many frames the daemon's numbers would have to be shifted to fit best: 0, if they are true."""

    def fit(offset: int) -> float:
        shifted: Mapping[int, Sequence[Thing]] = {(i + offset) % len(reference): told[i] for i in told}
        pairs = compare(shifted, reference).pairs
        return sum(pair.iou - pair.shift for pair in pairs)

    return max(range(len(reference)), key=fit)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, metavar="MODEL", help="yolox_nano.onnx")
    parser.add_argument("labels", type=Path, metavar="LABELS", help="one label a line")
    parser.add_argument("clips", type=Path, nargs="+", metavar="CLIP")
    arguments = parser.parse_args()
    model = arguments.model.resolve()
    reference = Reference(model, arguments.labels.read_text().split("\n"))
    ways: dict[str, Callable[[VideoFrame], Square]] = {
        "own": lambda frame: reference.letterbox(bgr_of(frame)),
        "planes": prepared_by_daemon(reference.side),
        "area": lambda frame: averaged(reference, frame),
    }
    print(f"{'':10} {HEADINGS}")
    for clip in (path.resolve() for path in arguments.clips):
        seen = {way: sightings(reference, clip, square_of) for way, square_of in ways.items()}
        daemon = told_by_daemon(model, clip, len(seen["own"]))
        rows = {
            "resize": compare(seen["planes"], seen["own"]),
            "device": compare(daemon, seen["planes"]),
            "daemon": compare(daemon, seen["own"]),
            "yardstick": compare(seen["area"], seen["own"]),
        }
        offset = best_offset(daemon, seen["own"]) if rows["daemon"].pairs else 0
        print(f"{clip.name}: {len(seen['own'])} frames, best offset of the daemon's numbers {offset}")
        for row, agreement in rows.items():
            print(f"{row:10} {agreement}")


if __name__ == "__main__":
    main()
