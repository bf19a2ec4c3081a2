"""How well the demo's detectors see scenes whose figures, backgrounds and lights they were not trained on.

    python -m training.evaluate --data /var/tmp/demo-data

The threshold of each detector is chosen on the validation split; everything reported is of the test split, through the
product's own path: prepared as for the device, run by the simulated device with quantised heads, decoded by the
product's decoder. For comparison the same is done with the graph's own numbers.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from hailod.decode import make_decoder
from hailod.geometry import View
from hailod.models.catalogue import resolve_manifest
from hailod.prepare import Preparer
from hailod.scenes import LABELS
from hailod.simulator.networks.loader import load
from hailod.types import F32, I32, Detections, ModelTensors, Picture, TensorInfo, TensorOrder
from training.dataset import Sample, split_samples

MODELS: Final = Path(__file__).parent.parent / "hailod" / "models" / "demo"
RESULTS: Final = Path(__file__).with_name("RESULTS.md")
IOU: Final = 0.5
FLOOR: Final = 0.05
# What is less visible, smaller or larger (of the picture's height) is neither asked for nor held against a detector.
# 65 % visible is where the Caltech pedestrian benchmark draws the line of what can reasonably be asked for.
LEAST_VISIBLE: Final = 0.65
HARDLY_VISIBLE: Final = 0.3
HEIGHTS: Final = (0.04, 0.6)
SIZES: Final = ((0.04, 0.08), (0.08, 0.16), (0.16, 0.32), (0.32, 0.6))

INTRODUCTION: Final = """\
# How well the demo's detectors see

Written by `training/evaluate.py`. The test split shares with training neither seeds nor people, cars, cats, parcels,
backgrounds or lights (`hailod/scenes/casting.py` reserves a fifth of the figures, a quarter of the backgrounds and one
light each of day and night): {pictures} pictures of {scenes} scenes. In {hidden:.0f} % of the pictures something asked
for is partly hidden.

A detection is right at an IoU of {iou} with what is visible of an object of its class. Asked for is what is
{low:.0f} to {high:.0f} % of the picture high and at least {visible:.0f} % visible, the line that the Caltech pedestrian
benchmark draws ("reasonable"); the rest is neither asked for nor held against the detector. How much of what is
hidden further, but still {hardly:.0f} % visible, is found all the same, is the last line of each table.

"""

Detect = Callable[[Picture], Detections]


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """One picture's objects and detections, matched.

    `found` bool (g,) for the `asked` objects, at every threshold the score (g,) at which each was found (-1: never);
    `right` bool (d,) of the detections that count, with their scores, labels and heights.
    """

    sample: Sample
    asked: I32
    found_at: F32
    scores: F32
    right: NDArray[np.bool_]
    labels: I32
    heights: F32


def device(path: Path) -> Detect:
    """A detector through the product's path."""
    manifest = resolve_manifest(path)
    (network,) = load(path, "hailo8").networks
    info = network.info
    program = network.compile(info.inputs, info.outputs, None)
    decoder = make_decoder(manifest, ModelTensors(info.inputs, info.outputs))
    preparer = Preparer(info.inputs[0], resize=manifest.resize, align=manifest.align, pad=manifest.pad)
    slot = np.empty(info.inputs[0].shape, np.uint8)

    def detect(picture: Picture) -> Detections:
        placement = preparer.prepare(picture, View(), slot)
        outputs = zip(info.outputs, program([slot.reshape(-1)]), strict=True)
        tensors = {tensor.name: data.view(tensor.dtype).reshape(tensor.shape) for tensor, data in outputs}
        seen = decoder.decode(tensors, FLOOR)
        return Detections(placement.to_frame(seen.boxes), seen.scores, seen.classes)

    return detect


def direct(path: Path) -> Detect:
    """A detector by its graph's own numbers, without quantisation."""
    manifest = resolve_manifest(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    height, width = session.get_inputs()[0].shape[1:3]
    cells, depth = session.get_outputs()[0].shape[1:]
    inside = TensorInfo("picture", (height, width, 3), "uint8", TensorOrder.NHWC, height * width * 3)
    rows = TensorInfo("rows", (cells, depth), "float32", TensorOrder.NHWC, cells * depth * 4)
    decoder = make_decoder(manifest, ModelTensors((inside,), (rows,)))
    preparer = Preparer(inside, resize=manifest.resize, align=manifest.align, pad=manifest.pad)
    slot = np.empty(inside.shape, np.uint8)

    def detect(picture: Picture) -> Detections:
        placement = preparer.prepare(picture, View(), slot)
        (result,) = session.run(None, {"picture": slot[None]})
        seen = decoder.decode({"rows": result[0]}, FLOOR)
        return Detections(placement.to_frame(seen.boxes), seen.scores, seen.classes)

    return detect


def match(sample: Sample, seen: Detections, visible: tuple[float, float] = (LEAST_VISIBLE, 1.0)) -> Outcome:
    """Give each detection, best first, the object of its class that it overlaps most and nobody has yet.

    Asked for is what is that much `visible`.
    """
    truth = sample.truth
    heights = truth.boxes[:, 3] - truth.boxes[:, 1]
    clear = (truth.visibility >= visible[0]) & (truth.visibility <= visible[1])
    asked = clear & (heights >= HEIGHTS[0]) & (heights <= HEIGHTS[1])
    overlap = _iou(seen.boxes, truth.boxes) * (seen.classes[:, None] == truth.labels[None])
    found_at = np.full(len(asked), -1.0, np.float32)
    counted, right = [], []
    for index in range(len(seen)):
        free = overlap[index] * (found_at < 0)
        best = int((free * np.where(asked, 2.0, 1.0)).argmax()) if len(asked) else -1
        matched = best >= 0 and free[best] >= IOU
        if matched:
            found_at[best] = seen.scores[index]
            if not asked[best]:
                continue
        elif _covered_by_ignored(seen.boxes[index], truth.boxes[~asked & (truth.labels == seen.classes[index])]):
            continue
        counted.append(index)
        right.append(matched)
    boxes = seen.boxes[counted]
    return Outcome(
        sample,
        asked.nonzero()[0].astype(np.int32),
        found_at[asked],
        seen.scores[counted],
        np.array(right, np.bool_),
        seen.classes[counted],
        boxes[:, 3] - boxes[:, 1],
    )


def rates(
    outcomes: Iterable[Outcome],
    threshold: float,
    *,
    label: int | None = None,
    heights: tuple[float, float] | None = None,
) -> tuple[float, float, int]:
    """Precision, recall and the number of objects, of all or of one class or size."""
    objects = hits = shown = correct = 0
    for outcome in outcomes:
        truth = outcome.sample.truth
        tall = truth.boxes[outcome.asked, 3] - truth.boxes[outcome.asked, 1]
        wanted = _chosen(truth.labels[outcome.asked], tall, label, heights)
        objects += int(wanted.sum())
        hits += int((wanted & (outcome.found_at >= threshold)).sum())
        mine = _chosen(outcome.labels, outcome.heights, label, heights) & (outcome.scores >= threshold)
        shown += int(mine.sum())
        correct += int((mine & outcome.right).sum())
    return correct / max(shown, 1), hits / max(objects, 1), objects


def best_threshold(outcomes: Sequence[Outcome]) -> float:
    """The threshold with the best harmonic mean of precision and recall."""

    def quality(threshold: float) -> float:
        precision, recall, _ = rates(outcomes, threshold)
        return 2 * precision * recall / max(precision + recall, 1e-9)

    return float(max((t / 100 for t in range(15, 80)), key=quality))


def report(name: str, path: Path, folder: Path) -> list[str]:
    """The table of one detector, in Markdown."""
    detect, plain = device(path), direct(path)
    validation = [match(sample, detect(sample.picture)) for sample in split_samples("validation", folder)]
    threshold = best_threshold(validation)
    seen = [(sample, detect(sample.picture)) for sample in split_samples("test", folder)]
    test = [match(sample, detections) for sample, detections in seen]
    hidden = [match(sample, detections, (HARDLY_VISIBLE, LEAST_VISIBLE)) for sample, detections in seen]
    _, hidden_recall, hidden_count = rates(hidden, threshold)
    unquantised = [match(sample, plain(sample.picture)) for sample, _ in seen]
    height, width = load(path, "hailo8").info.inputs[0].shape[:2]
    rows = [
        ("**all**", rates(test, threshold)),
        *((f"class {label}", rates(test, threshold, label=index)) for index, label in enumerate(LABELS)),
        *(
            (f"height {100 * low:.0f}-{100 * high:.0f} % of the picture", rates(test, threshold, heights=(low, high)))
            for low, high in SIZES
        ),
        ("day", rates([o for o in test if not o.sample.recipe.night], threshold)),
        ("night", rates([o for o in test if o.sample.recipe.night], threshold)),
        ("dry", rates([o for o in test if not o.sample.recipe.rain], threshold)),
        ("rain", rates([o for o in test if o.sample.recipe.rain], threshold)),
        ("pictures with something partly hidden", rates([o for o in test if _occluded(o.sample)], threshold)),
        ("all, graph without quantisation", rates(unquantised, threshold)),
        ("all, validation", rates(validation, threshold)),
    ]
    hardly, least = 100 * HARDLY_VISIBLE, 100 * LEAST_VISIBLE
    size = f"{path.stat().st_size / 1e3:.0f} kB, input {width}x{height}"
    description = f"`{path.name}`: {size}, threshold {threshold:.2f} (chosen on the validation split)."
    lines = [
        f"## {name}",
        "",
        description,
        "",
        "| | precision | recall | objects |",
        "|---|--:|--:|--:|",
        *(f"| {what} | {precision:.3f} | {recall:.3f} | {count} |" for what, (precision, recall, count) in rows),
        f"| {hardly:.0f} to {least:.0f} % visible, not asked for | | {hidden_recall:.3f} | {hidden_count} |",
        "",
    ]
    print("\n".join(lines), flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description="Evaluate the demo's detectors and write RESULTS.md.")
    parser.add_argument("--data", type=Path, required=True, help="a folder for rendered scenes")
    parser.add_argument("--models", type=Path, default=MODELS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    samples = list(split_samples("test", arguments.data))
    hidden = sum(map(_occluded, samples)) / len(samples)
    preamble = INTRODUCTION.format(
        pictures=len(samples),
        scenes=len({sample.recipe.seed for sample in samples}),
        hidden=100 * hidden,
        iou=IOU,
        low=100 * HEIGHTS[0],
        high=100 * HEIGHTS[1],
        visible=100 * LEAST_VISIBLE,
        hardly=100 * HARDLY_VISIBLE,
    )
    lines = preamble.splitlines()
    for name in ("fast", "accurate"):
        lines += report(name, arguments.models / f"demo_{name}.onnx", arguments.data)
    arguments.out.write_text("\n".join(lines), encoding="utf-8")


def _chosen(labels: I32, tall: F32, label: int | None, heights: tuple[float, float] | None) -> NDArray[np.bool_]:
    chosen = np.ones(len(labels), np.bool_) if label is None else labels == label
    if heights is not None:
        chosen = chosen & (tall >= heights[0]) & (tall < heights[1])
    return chosen


def _occluded(sample: Sample) -> bool:
    """Whether something asked for is partly hidden, not counting what the picture's edge cuts off."""
    truth = sample.truth
    tall = truth.boxes[:, 3] - truth.boxes[:, 1]
    whole = (truth.boxes[:, :2] > 0.002).all(1) & (truth.boxes[:, 2:] < 0.998).all(1)
    asked = (truth.visibility >= LEAST_VISIBLE) & (tall >= HEIGHTS[0]) & (tall <= HEIGHTS[1])
    return bool((asked & whole & (truth.visibility < 0.9)).any())


def _iou(one: F32, other: F32) -> F32:
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=2)
    areas = (np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (one, other))
    first, second = areas
    overlap: F32 = shared / np.maximum(first[:, None] + second[None] - shared, 1e-9)
    return overlap


def _covered_by_ignored(box: F32, ignored: F32) -> bool:
    if not len(ignored):
        return False
    low, high = np.maximum(box[:2], ignored[:, :2]), np.minimum(box[2:], ignored[:, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=1)
    return bool((shared >= 0.5 * np.prod(box[2:] - box[:2])).any())


if __name__ == "__main__":
    main()
