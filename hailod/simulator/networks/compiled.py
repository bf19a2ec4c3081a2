"""A real HEF as a simulated model: its tensors are what the file says, what they hold is scripted or random."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hailod.errors import ModelError
from hailod.models.hef import FormatType, Hef, HefNotSupported, NetworkGroup, VStream
from hailod.models.hef import Stream as HefStream
from hailod.models.manifest import SimulatorManifest
from hailod.simulator.networks import scripted
from hailod.simulator.networks.network import (
    HefInfo,
    Model,
    Network,
    NmsSettings,
    Origin,
    Stream,
    Timing,
    cost,
    nms_tensor,
)
from hailod.simulator.networks.scripted import EMPTY, Scenes
from hailod.types import NmsShape, TensorInfo, TensorOrder

DTYPES = {FormatType.UINT8: "uint8", FormatType.UINT16: "uint16", FormatType.FLOAT32: "float32"}
NMS_ORDERS = (TensorOrder.NMS_BY_CLASS, TensorOrder.NMS_BY_SCORE, TensorOrder.NMS_WITH_BYTE_MASK)


def present(
    hef: Hef,
    arch: str,
    manifest: SimulatorManifest,
    *,
    profile: str = "4.23",
    scenes: Scenes = EMPTY,
) -> Model:
    """The network groups of a HEF. HefNotSupported when the HailoRT is too old, ModelError on a misfit manifest."""
    major, minor = profile.split(".")
    if lacking := hef.unknown_to((int(major), int(minor))):
        raise HefNotSupported(f"HailoRT {profile} does not know {', '.join(lacking)}")
    infos = [_described(hef, group, arch, manifest, profile) for group in hef.groups]
    return Model(tuple(_network(info, manifest, scenes) for info in infos))


def _network(info: HefInfo, manifest: SimulatorManifest, scenes: Scenes) -> Network:
    limits = next((output.nms for output in info.outputs if output.nms is not None), None)
    for box in manifest.detections:
        if limits is None or box.class_id >= limits.classes:
            classes = limits.classes if limits is not None else 0
            raise ModelError(f"{info.name}: a detection names class {box.class_id}, the model has {classes}")
    scene = scripted.script(manifest.detections)
    if not manifest.detections and limits is not None:
        scene = scripted.random_scene(limits, manifest.seed)
    return scripted.ScriptedNetwork(info, scene, manifest.seed, scenes)


def _described(hef: Hef, group: NetworkGroup, arch: str, manifest: SimulatorManifest, profile: str) -> HefInfo:
    timed = cost(group.name, arch, preset=manifest.preset, switch_ms=manifest.switch_ms, frame_ms=manifest.frame_ms)
    timing = timed.timing
    if timing == Timing() and group.bottleneck_fps > 0:
        timing = Timing(0.0, 1 / group.bottleneck_fps)
    vstreams = (*group.input_vstreams, *group.output_vstreams)
    return HefInfo(
        name=group.name,
        inputs=tuple(_tensor(vstream, profile) for vstream in group.input_vstreams),
        outputs=tuple(_tensor(vstream, profile) for vstream in group.output_vstreams),
        timing=timing,
        multi_context=group.multi_context,
        arch=hef.architecture.name,
        nms=_settings(group.output_vstreams, profile),
        bottleneck_fps=group.bottleneck_fps,
        networks=group.networks,
        input_streams=tuple(_stream(stream) for stream in group.inputs),
        output_streams=tuple(_stream(stream) for stream in group.outputs),
        origins={each.name: Origin(each.network, each.streams, each.original_names) for each in vstreams},
    )


def _tensor(vstream: VStream, profile: str) -> TensorInfo:
    order = _order(vstream)
    if vstream.nms is not None and order in NMS_ORDERS:
        nms = vstream.nms
        # HailoRT 5 makes room for twice as many masks.
        room = nms.max_mask_bytes * (2 if profile == "5.2" else 1)
        limits = NmsShape(nms.classes, nms.max_per_class, max_mask_bytes=room)
        return nms_tensor(vstream.name, order, limits, nms.max_total, profile)
    height, width, features = vstream.shape or (0, 0, 0)
    shape = {TensorOrder.NC: (features,), TensorOrder.NHW: (height, width)}.get(order, (height, width, features))
    dtype = DTYPES[vstream.type]
    nbytes = math.prod(shape) * {"uint8": 1, "uint16": 2, "float32": 4}[dtype]
    quant = vstream.quantisation
    return TensorInfo(vstream.name, shape, dtype, order, nbytes, quant.scale, quant.zero_point)


def _stream(stream: HefStream) -> Stream:
    quant = stream.quantisation
    height, width, features = stream.shape
    order = {"NC": TensorOrder.NC, "NHW": TensorOrder.NHW}.get(stream.order.name, TensorOrder.NHWC)
    tensor = TensorInfo(
        stream.name, (height, width, features), DTYPES[stream.type], order, stream.frame_bytes,
        quant.scale, quant.zero_point,
    )  # fmt: skip
    return Stream(tensor, stream.index, stream.order.name, stream.padded_shape)


def _order(vstream: VStream) -> TensorOrder:
    try:
        return TensorOrder(vstream.order.name)
    except ValueError:
        raise ModelError(f"{vstream.name}: the simulated device has no order {vstream.order.name}") from None


def _settings(outputs: Sequence[VStream], profile: str) -> NmsSettings | None:
    """What the host's NMS starts with; None where there is none, the core's own included."""
    for nms in (output.nms for output in outputs):
        if nms is not None and nms.where == "host":
            score = 0.3 if nms.score_threshold is None else nms.score_threshold
            iou = 0.6 if nms.iou_threshold is None else nms.iou_threshold
            return NmsSettings(score, iou, nms.max_per_class, nms.max_total, profile)
    return None
