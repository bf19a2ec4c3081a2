"""Detect objects in a picture with the synchronous API: `detect_sync.py MODEL.hef [PICTURE]`.

The model ends in HailoRT's NMS by class. Not for Hailo-10H and 15, which have the asynchronous API only.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import cv2
import numpy as np
from hailo_platform import (
    HEF,
    ConfigureParams,
    FormatType,
    HailoRTException,
    HailoStreamInterface,
    InferVStreams,
    InputVStreamParams,
    OutputVStreamParams,
    VDevice,
)

THRESHOLD = 0.3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("hef")
    parser.add_argument("picture", nargs="?")
    arguments = parser.parse_args()

    try:
        hef = HEF(arguments.hef)
        source = hef.get_input_vstream_infos()[0]
        batch = load(arguments.picture, source.shape)[None].astype(np.float32)
        with VDevice() as device:
            params = ConfigureParams.create_from_hef(hef, interface=HailoStreamInterface.PCIe)
            network = device.configure(hef, params)[0]
            inputs = InputVStreamParams.make(network, quantized=False, format_type=FormatType.FLOAT32)
            outputs = OutputVStreamParams.make(network, quantized=False, format_type=FormatType.FLOAT32)
            # Without the scheduler a network runs while it is activated.
            with InferVStreams(network, inputs, outputs) as pipeline, network.activate(network.create_params()):
                (found,) = pipeline.infer({source.name: batch}).values()
    except HailoRTException as error:
        print(error, file=sys.stderr)
        return 1
    for class_id, boxes in enumerate(found[0]):
        for top, left, bottom, right, score in boxes:
            if score >= THRESHOLD:
                print(f"class {class_id:3d}  {score:.2f}  {left:.3f} {top:.3f} {right:.3f} {bottom:.3f}")
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


if __name__ == "__main__":
    sys.exit(main())
