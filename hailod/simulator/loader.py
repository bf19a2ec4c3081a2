"""From a file to a network: `.onnx` with its manifest, or `.sim.toml`, which is nothing but a manifest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from hailod.errors import ModelError
from hailod.models.catalogue import resolve_manifest
from hailod.models.manifest import Manifest, SimulatorManifest
from hailod.simulator import presets
from hailod.simulator.graph import OnnxNetwork
from hailod.simulator.network import HefInfo, Network, NmsSettings, ScriptedNetwork, cost, nms_tensor
from hailod.simulator.nms import Boxes
from hailod.types import NmsShape, TensorInfo, TensorOrder

SCRIPT_SUFFIX = ".sim.toml"

Resolve = Callable[[Path], Manifest]
"""Finds the manifest of a model file."""


def load(path: Path, arch: str, resolve: Resolve = resolve_manifest) -> Network:
    """The model of a file on a chip. Raises OSError, or ModelError with what was expected and what came."""
    if not path.name.endswith((".onnx", SCRIPT_SUFFIX)):
        raise ModelError(f"{path.name}: the simulated device runs .onnx and {SCRIPT_SUFFIX} files")
    with path.open("rb"):
        manifest = resolve(path).simulator
    stem = path.name.removesuffix(SCRIPT_SUFFIX).removesuffix(".onnx")
    info = cost(stem, arch, preset=manifest.preset, switch_ms=manifest.switch_ms, frame_ms=manifest.frame_ms)
    if path.suffix == ".onnx":
        return OnnxNetwork(path, info, manifest)
    return _scripted(info, manifest)


def _scripted(info: HefInfo, manifest: SimulatorManifest) -> Network:
    size = manifest.input or (presets.preset(manifest.preset).input if manifest.preset is not None else None)
    if size is None:
        raise ModelError(f"{info.name}: a timing-only model needs [simulator] input = [height, width] or a preset")
    if manifest.outputs == "raw":
        raise ModelError(f"{info.name}: a timing-only model has no raw heads; outputs = nms_by_class or nms_by_score")
    if any(box.class_id >= manifest.classes for box in manifest.detections):
        raise ModelError(f"{info.name}: a detection names a class beyond the {manifest.classes} of the model")
    best_first = sorted(manifest.detections, key=lambda box: -box.score)
    script = Boxes(
        np.array([(b.box[1], b.box[0], b.box[3], b.box[2]) for b in best_first], np.float32).reshape(-1, 4),
        np.array([b.score for b in best_first], np.float32),
        np.array([b.class_id for b in best_first], np.int32),
    )
    order = TensorOrder.NMS_BY_CLASS if manifest.outputs == "nms_by_class" else TensorOrder.NMS_BY_SCORE
    height, width = size
    info = replace(
        info,
        inputs=(
            TensorInfo(f"{info.name}/input_layer1", (height, width, 3), "uint8", TensorOrder.NHWC, height * width * 3),
        ),
        outputs=(
            nms_tensor(f"{info.name}/nms_postprocess", order, NmsShape(manifest.classes, manifest.max_per_class)),
        ),
        nms=NmsSettings(manifest.score_threshold, manifest.iou_threshold, manifest.max_per_class),
    )
    return ScriptedNetwork(info, script)
