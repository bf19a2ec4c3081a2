"""Detect objects in a picture, asynchronously: `detect_async.py MODEL.hef [PICTURE] [--frames N]`.

The model ends in HailoRT's NMS by class. What fails is reported and ends the program with exit code 1.
"""

from __future__ import annotations

import argparse
import queue
import sys
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import cv2
import numpy as np
from hailo_platform import FormatType, HailoRTException, HailoSchedulingAlgorithm, VDevice

TIMEOUT_MS = 10_000
THRESHOLD = 0.3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("hef")
    parser.add_argument("picture", nargs="?")
    parser.add_argument("--frames", type=int, default=20)
    arguments = parser.parse_args()

    # In HailoRT 4 the scheduler has to be asked for; without it the model would have to be activated.
    params = VDevice.create_params()
    params.scheduling_algorithm = HailoSchedulingAlgorithm.ROUND_ROBIN
    try:
        with VDevice(params) as device:
            model = device.create_infer_model(arguments.hef)
            model.output().set_format_type(FormatType.FLOAT32)
            with model.configure() as configured:
                picture = load(arguments.picture, model.input().shape)
                began = time.monotonic()
                found = detect(configured, model, picture, arguments.frames)
                rate = arguments.frames / (time.monotonic() - began)
    except HailoRTException as error:
        print(error, file=sys.stderr)
        return 1
    for class_id, score, box in rows(found):
        print(f"class {class_id:3d}  {score:.2f}  {' '.join(f'{side:.3f}' for side in box)}")
    print(f"{arguments.frames} frames, {rate:.1f} per second")
    return 0


def load(path: str | None, shape: tuple[int, int, int]) -> Any:
    """The picture as the model wants it: RGB, stretched to (height, width)."""
    height, width, _ = shape
    if path is None:
        return np.zeros((height, width, 3), np.uint8)
    picture = cv2.imread(path)
    if picture is None:
        raise SystemExit(f"{path}: no picture")
    return np.ascontiguousarray(cv2.resize(picture, (width, height))[..., ::-1])


def detect(configured: Any, model: Any, picture: Any, frames: int) -> list[Any]:
    """The boxes of the last of `frames` inferences, per class. Raises the exception of the first that failed."""
    free: queue.Queue[Any] = queue.Queue()
    for _ in range(min(frames, configured.get_async_queue_size())):
        bindings = configured.create_bindings()
        bindings.input().set_buffer(picture)
        bindings.output().set_buffer(np.empty(model.output().shape, np.float32))
        free.put(bindings)
    answers: queue.Queue[Any] = queue.Queue()

    # Called on a thread of HailoRT's with the keyword `completion_info`. Nothing may be raised here: it would end the
    # process. And only here one learns that an inference failed.
    def completed(bindings: Any, completion_info: Any) -> None:
        failure = completion_info.exception
        # The arrays are views of the bound buffer, which the next frame overwrites.
        answers.put(failure or [np.array(boxes) for boxes in bindings.output().get_buffer()])
        free.put(bindings)

    for _ in range(frames):
        bindings = free.get(timeout=TIMEOUT_MS / 1000)
        configured.wait_for_async_ready(timeout_ms=TIMEOUT_MS)
        configured.run_async([bindings], partial(completed, bindings))
    answer: Any = []
    for _ in range(frames):
        answer = answers.get(timeout=TIMEOUT_MS / 1000)
        if isinstance(answer, Exception):
            raise answer
    return list(answer)


def rows(found: list[Any]) -> Iterator[tuple[int, float, tuple[float, ...]]]:
    """Class, score and box (x1, y1, x2, y2 of the picture, 0..1) of what was seen well enough."""
    for class_id, boxes in enumerate(found):
        for top, left, bottom, right, score in boxes:
            if score >= THRESHOLD:
                yield class_id, float(score), (left, top, right, bottom)


if __name__ == "__main__":
    sys.exit(main())
