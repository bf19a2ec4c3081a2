"""A HEF for people and for programs: lines of text, and a document that JSON can hold.

Names in a file may be anything: lines show what is not printable, and JSON gets null for what it has no number for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

from hailod.models.hef.errors import visible
from hailod.models.hef.model import Hef, NetworkGroup, Nms, Quantisation, Stream, VStream

# Raised when a key changes its meaning or goes away; new keys may come at any time.
JSON_VERSION = 1

_WIDTH = 14
_YEAR_3000 = 32_503_680_000_000


def document(hef: Hef) -> dict[str, Any]:
    """What `hailod models inspect --json` prints; `docs/hef.md` explains every key."""
    architecture = hef.architecture
    plain = {
        "json_version": JSON_VERSION,
        "path": hef.path,
        "format_version": hef.format_version,
        "signature": {"kind": hef.signature.kind, "value": hef.signature.value, "verified": True},
        "sizes": {
            "file": hef.sizes.file,
            "description": hef.sizes.description,
            "configuration": hef.sizes.configuration,
            "padding": hef.sizes.padding,
            "additional": hef.sizes.additional,
        },
        "architecture": {"name": architecture.name, "title": architecture.title, "hw_arch": architecture.hw_arch},
        "chips": [{"name": chip.name, "note": chip.note} for chip in hef.chips],
        "compiler": hef.compiler,
        "compiled_at": hef.compiled_at,
        "hailort": {"minimum": hef.hailort, "major": architecture.hailort},
        "extensions": list(hef.extensions),
        "network_groups": [_group(group) for group in hef.groups],
        "resources": [{"name": resource.name, "size": resource.size} for resource in hef.resources],
        "warnings": list(hef.warnings),
    }
    return {key: _finite(value) for key, value in plain.items()}


def _group(group: NetworkGroup) -> dict[str, Any]:
    return {
        "name": group.name,
        "networks": list(group.networks),
        "contexts": group.contexts,
        "multi_context": group.multi_context,
        "bottleneck_fps": group.bottleneck_fps,
        "layouts": list(group.layouts),
        "input_streams": [_stream(stream) for stream in group.inputs],
        "output_streams": [_stream(stream) for stream in group.outputs],
        "input_vstreams": [_vstream(vstream) for vstream in group.input_vstreams],
        "output_vstreams": [_vstream(vstream) for vstream in group.output_vstreams],
    }


def _stream(stream: Stream) -> dict[str, Any]:
    return {
        "name": stream.name,
        "network": stream.network,
        "index": stream.index,
        "shape": list(stream.shape),
        "padded_shape": list(stream.padded_shape),
        "order": stream.order.name,
        "type": stream.type.name,
        "transposed": stream.transposed,
        "mux": stream.is_mux,
        "frame_bytes": stream.frame_bytes,
        "quantisation": _quantisation(stream.quantisation),
    }


def _vstream(vstream: VStream) -> dict[str, Any]:
    return {
        "name": vstream.name,
        "network": vstream.network,
        "shape": None if vstream.shape is None else list(vstream.shape),
        "order": vstream.order.name,
        "type": vstream.type.name,
        "transposed": vstream.transposed,
        "quantisation": _quantisation(vstream.quantisation),
        "nms": None if vstream.nms is None else _nms(vstream.nms),
        "streams": list(vstream.streams),
        "original_names": list(vstream.original_names),
    }


def _quantisation(quantisation: Quantisation) -> dict[str, Any]:
    return {
        "per_feature": quantisation.per_feature,
        "scale": list(quantisation.scale),
        "zero_point": list(quantisation.zero_point),
        "minimum": quantisation.minimum,
        "maximum": quantisation.maximum,
    }


def _nms(nms: Nms) -> dict[str, Any]:
    return {
        "where": nms.where,
        "architecture": nms.architecture,
        "classes": nms.classes,
        "max_per_class": nms.max_per_class,
        "max_total": nms.max_total,
        "score_threshold": nms.score_threshold,
        "iou_threshold": nms.iou_threshold,
        "background_index": nms.background_index,
        "image": None if nms.image is None else list(nms.image),
        "mask_threshold": nms.mask_threshold,
        "max_mask_bytes": nms.max_mask_bytes,
        "boxes_only": nms.boxes_only,
    }


def _finite(value: Any) -> Any:
    """The same without numbers that JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return value


def lines(hef: Hef) -> Iterator[str]:
    """What `hailod models inspect` prints."""
    for title, text in _entries(hef):
        yield f"{title:<{_WIDTH}}{visible(text)}".rstrip()


def _entries(hef: Hef) -> Iterator[tuple[str, str]]:
    sizes = hef.sizes
    yield "compiled for", f"{hef.architecture.title}, by compiler {hef.compiler or 'of unknown version'}{_date(hef)}"
    yield "runs on", ", ".join(chip.name + "*" * chip.reduced for chip in hef.chips) or "no device"
    yield "needs", f"HailoRT {hef.hailort} or later"
    yield "file", f"format {hef.format_version}, {hef.signature.kind} {hef.signature.value} is right"
    yield (
        "",
        f"{_size(sizes.file)}: weights and configuration {_size(sizes.configuration)},"
        + (
            f" description {_size(sizes.description)}"
            + (f", other {_size(sizes.additional)}" if sizes.additional else "")
        ),
    )
    for resource in hef.resources:
        yield "", f"holds {resource.name}, {_size(resource.size)}"
    for group in hef.groups:
        contexts = "one context" if group.contexts == 1 else f"{group.contexts} contexts"
        yield "network", f"{group.name}: {contexts}; its slowest part does {group.bottleneck_fps:.4g} FPS"
        for vstream in group.input_vstreams:
            yield "  takes", f"{vstream.name}: {_tensor(vstream)}"
        for vstream in group.output_vstreams:
            yield "  gives", f"{vstream.name}: {_tensor(vstream)}"
            if vstream.nms is not None:
                yield "", f"  {_detections(vstream.nms)}"
    for warning in hef.warnings:
        yield "mind", warning


def _date(hef: Hef) -> str:
    if not 0 < hef.compiled_at < _YEAR_3000:
        return ""
    return f" on {datetime.fromtimestamp(hef.compiled_at / 1000, UTC):%Y-%m-%d}"


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 100_000 else f"{count / 1e3:.1f} kB"


def _tensor(vstream: VStream) -> str:
    form = f"{vstream.type.name} {_name(vstream.order)}" + (" transposed" if vstream.transposed else "")
    if vstream.shape is None:
        return form
    shape = "x".join(str(side) for side in vstream.shape)
    quantisation = vstream.quantisation
    if quantisation.per_feature:
        return f"{shape} {form}, quantised by feature"
    return f"{shape} {form}, real = (q - {quantisation.zero_point[0]:g}) * {quantisation.scale[0]:.6g}"


def _name(order: IntEnum) -> str:
    return order.name.removeprefix("HAILO_")


def _detections(nms: Nms) -> str:
    limits = f"{nms.classes} classes, at most {nms.max_per_class} of each"
    if nms.where == "core":
        return f"NMS on the neural core: {limits}"
    text = f"{nms.architecture} NMS on the host: {limits}, score {nms.score_threshold:g}, IoU {nms.iou_threshold:g}"
    if nms.boxes_only:
        text = f"{nms.architecture} boxes decoded on the host, NMS left to you: {nms.classes} classes"
    if nms.mask_threshold is not None:
        text += f", masks above {nms.mask_threshold:g}"
    return text
