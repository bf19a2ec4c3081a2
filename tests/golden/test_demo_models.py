"""The detectors that the demo carries, on the simulated device, in scenes of which they have seen nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hailod.decode import make_decoder
from hailod.geometry import View
from hailod.models.catalogue import resolve_manifest
from hailod.prepare import Preparer
from hailod.scenes import LABELS, Pool, RenderedScene, Truth
from hailod.simulator.networks.loader import load
from hailod.types import Detections, ModelTensors, Picture

pytest.importorskip("onnxruntime")

MODELS = Path(__file__).parents[2] / "hailod" / "models" / "demo"
NAMES = ("demo_fast", "demo_accurate")
THRESHOLD = 0.3


class Detector:
    """A packaged model through the product's path: prepared, run with quantised heads, decoded."""

    def __init__(self, name: str) -> None:
        path = MODELS / f"{name}.onnx"
        manifest = resolve_manifest(path)
        (network,) = load(path, "hailo8").networks
        self.info = network.info
        self._run = network.compile(self.info.inputs, self.info.outputs, None)
        self._decoder = make_decoder(manifest, ModelTensors(self.info.inputs, self.info.outputs))
        self._preparer = Preparer(self.info.inputs[0], resize=manifest.resize, align=manifest.align, pad=manifest.pad)
        self._slot = np.empty(self.info.inputs[0].shape, np.uint8)

    def __call__(self, picture: Picture) -> Detections:
        placement = self._preparer.prepare(picture, View(), self._slot)
        outputs = zip(self.info.outputs, self._run([self._slot.reshape(-1)]), strict=True)
        tensors = {tensor.name: data.view(tensor.dtype).reshape(tensor.shape) for tensor, data in outputs}
        seen = self._decoder.decode(tensors, THRESHOLD)
        return Detections(placement.to_frame(seen.boxes), seen.scores, seen.classes)


def found(truth: Truth, seen: Detections, index: int) -> bool:
    """Whether something of its class overlaps an object by half."""
    box = truth.boxes[index]
    boxes = seen.boxes[seen.classes == truth.labels[index]]
    shared = np.prod(np.maximum(np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2]), 0), axis=1)
    union = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) + np.prod(box[2:] - box[:2]) - shared
    return bool((shared >= 0.5 * union).any())


@pytest.mark.parametrize("name", NAMES)
def test_they_look_like_compiled_models(name: str) -> None:
    """RGB bytes in, quantised YOLOX heads of four classes out, in a file of less than a megabyte."""
    info = Detector(name).info
    assert (MODELS / f"{name}.onnx").stat().st_size < 1_000_000
    assert [tensor.dtype for tensor in (*info.inputs, *info.outputs)] == ["uint8"] * 10
    assert [tensor.shape[2] for tensor in info.outputs] == [4, 1, 4] * 3
    assert resolve_manifest(MODELS / f"{name}.onnx").labels == LABELS


@pytest.mark.parametrize("name", NAMES)
def test_they_find_what_is_in_held_out_scenes(name: str) -> None:
    """Of what can be seen well in twenty pictures of scenes that share nothing with training, most is found."""
    detect = Detector(name)
    asked = hits = 0
    for kind, seed, night in (("driveway", 90_001, False), ("street", 90_002, True)):
        scene = RenderedScene(kind, seed, (640, 360), 15.0, night=night, pool=Pool.HELD_OUT)
        for number in range(0, 500, 50):
            picture, truth = scene.both(number)
            seen = detect(picture)
            heights = truth.boxes[:, 3] - truth.boxes[:, 1]
            for index in ((truth.visibility > 0.6) & (heights > 0.08) & (heights < 0.6)).nonzero()[0]:
                asked += 1
                hits += found(truth, seen, int(index))
    assert asked > 60
    assert hits / asked >= 0.8


@pytest.mark.parametrize("name", NAMES)
def test_they_see_nothing_in_an_empty_picture(name: str) -> None:
    """A plain grey picture shows nothing."""
    grey = np.full((360, 640), 110, np.uint8)
    picture = RenderedScene("garden", 1, (640, 360), 15.0)(0)
    plain = Picture(picture.format, 640, 360, (grey, *(np.full((180, 320), 128, np.uint8),) * 2))
    assert len(Detector(name)(plain)) == 0
