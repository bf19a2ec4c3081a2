"""From a file to a model: a HEF, `.onnx` with its manifest, or `.sim.toml`, which is nothing but a manifest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hailod.errors import ModelError
from hailod.models.catalogue import resolve_manifest
from hailod.models.hef import read_hef
from hailod.models.manifest import Manifest, SimulatorManifest
from hailod.simulator import presets
from hailod.simulator.networks import compiled, scripted
from hailod.simulator.networks.graph import OnnxNetwork, picture_input
from hailod.simulator.networks.network import HefInfo, Model, Network, cost, nms_tensor, streams_of
from hailod.simulator.networks.postprocess import NMS_OUTPUTS, nms_limits, nms_settings
from hailod.simulator.networks.scripted import EMPTY, Scenes

SCRIPT_SUFFIX = ".sim.toml"

Resolve = Callable[[Path], Manifest]
"""Finds the manifest of a model file."""


def load(
    path: Path,
    arch: str,
    resolve: Resolve = resolve_manifest,
    name: str | None = None,
    *,
    profile: str = "4.23",
    scenes: Scenes = EMPTY,
) -> Model:
    """The model of a file on a chip, called `name` where the file does not say; `scenes` are what scripted ones see.

    Raises OSError, or ModelError with what was expected and what came.
    """
    with path.open("rb"):
        manifest = resolve(path).simulator
    if not path.name.endswith((".onnx", SCRIPT_SUFFIX)):
        return compiled.present(read_hef(path), arch, manifest, profile=profile, scenes=scenes)
    stem = manifest.name or name or path.name.removesuffix(SCRIPT_SUFFIX).removesuffix(".onnx")
    info = _described(stem, arch, manifest)
    if path.suffix == ".onnx":
        return Model((OnnxNetwork(path, info, manifest, profile),))
    return Model((_scripted(info, manifest, profile, scenes),))


def load_bytes(content: bytes, arch: str, profile: str = "4.23", scenes: Scenes = EMPTY) -> Model:
    """The model of a HEF in memory, which has no manifest. Raises as `load` does."""
    return compiled.present(read_hef(content), arch, SimulatorManifest(), profile=profile, scenes=scenes)


def _described(stem: str, arch: str, manifest: SimulatorManifest) -> HefInfo:
    """What is said of a model whose tensors are not known yet."""
    info = cost(stem, arch, preset=manifest.preset, switch_ms=manifest.switch_ms, frame_ms=manifest.frame_ms)
    contexts = info.multi_context if manifest.contexts is None else manifest.contexts > 1
    return replace(info, multi_context=contexts, arch=manifest.chip or info.arch)


def _scripted(info: HefInfo, manifest: SimulatorManifest, profile: str, scenes: Scenes) -> Network:
    size = manifest.input or (presets.preset(manifest.preset).input if manifest.preset is not None else None)
    if size is None:
        raise ModelError(f"{info.name}: a timing-only model needs [simulator] input = [height, width] or a preset")
    if manifest.outputs == "raw":
        raise ModelError(f"{info.name}: a timing-only model has no raw heads; outputs = {', '.join(NMS_OUTPUTS)}")
    if any(box.class_id >= manifest.classes for box in manifest.detections):
        raise ModelError(f"{info.name}: a detection names a class beyond the {manifest.classes} of the model")
    limits = nms_limits(manifest, size)
    picture = picture_input(info.name, size, manifest)
    output = nms_tensor(f"{info.name}/nms_postprocess", NMS_OUTPUTS[manifest.outputs], limits, profile=profile)
    info = replace(
        info,
        inputs=(picture,),
        outputs=(output,),
        nms=nms_settings(manifest, profile),
        input_streams=streams_of([picture]),
        output_streams=streams_of([output]),
    )
    return scripted.ScriptedNetwork(info, scripted.script(manifest.detections), manifest.seed, scenes)
