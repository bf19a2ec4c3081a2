"""Tensor descriptions: read from an InferModel, and carried between the processes as JSON."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from hailod.errors import ModelError
from hailod.types import ModelTensors, NmsShape, TensorInfo, TensorOrder

_DTYPES = {"UINT8": "uint8", "UINT16": "uint16", "FLOAT32": "float32"}
# Deprecated or device-side names of what the host sees as NMS by class. FCR differs from NHWC on the device only.
_ORDER_ALIASES = {
    "FCR": TensorOrder.NHWC,
    "HAILO_NMS": TensorOrder.NMS_BY_CLASS,
    "HAILO_NMS_ON_CHIP": TensorOrder.NMS_BY_CLASS,
}


def describe(infer_model: Any) -> ModelTensors:
    """The tensors of a HailoRT InferModel in its user-side formats; ModelError on one that hailod does not know."""
    nms = {info.name: info for info in infer_model.hef.get_output_vstream_infos()}
    return ModelTensors(
        tuple(_describe(stream, None) for stream in infer_model.inputs),
        tuple(_describe(stream, nms.get(stream.name)) for stream in infer_model.outputs),
    )


def _describe(stream: Any, vstream: Any) -> TensorInfo:
    type_name, order_name = stream.format.type.name, stream.format.order.name
    try:
        dtype = _DTYPES[type_name]
        order = _ORDER_ALIASES.get(order_name) or TensorOrder(order_name)
    except (KeyError, ValueError):
        raise ModelError(f"tensor {stream.name} is {type_name} {order_name}, which hailod does not know") from None
    shape = tuple(int(side) for side in stream.shape)
    if order in (TensorOrder.NMS_BY_SCORE, TensorOrder.NMS_WITH_BYTE_MASK):
        dtype = "uint8"
    limits = None
    if stream.is_nms and vstream is not None:
        limits = NmsShape(int(vstream.nms_shape.number_of_classes), int(vstream.nms_shape.max_bboxes_per_class))
    quants = stream.quant_infos
    return TensorInfo(
        name=str(stream.name),
        shape=shape,
        dtype=dtype,
        order=order,
        nbytes=math.prod(shape) * np.dtype(dtype).itemsize,
        scale=tuple(float(q.qp_scale) for q in quants) or (1.0,),
        zero_point=tuple(float(q.qp_zp) for q in quants) or (0.0,),
        nms=limits,
    )


def tensors_to_json(tensors: ModelTensors) -> dict[str, object]:
    """As plain JSON values."""
    return {
        "inputs": [_to_json(info) for info in tensors.inputs],
        "outputs": [_to_json(info) for info in tensors.outputs],
    }


def tensors_from_json(value: Any) -> ModelTensors:
    """The reverse of `tensors_to_json`; raises KeyError, TypeError or ValueError on anything else."""
    tensors = ModelTensors(
        tuple(_from_json(entry) for entry in value["inputs"]),
        tuple(_from_json(entry) for entry in value["outputs"]),
    )
    if not tensors.inputs or not tensors.outputs:
        raise ValueError("a model has at least one input and one output")
    return tensors


def _to_json(info: TensorInfo) -> dict[str, object]:
    return {
        "name": info.name,
        "shape": list(info.shape),
        "dtype": info.dtype,
        "order": info.order.value,
        "scale": list(info.scale),
        "zero_point": list(info.zero_point),
        "nms": None if info.nms is None else [info.nms.classes, info.nms.max_per_class],
    }


def _from_json(entry: Any) -> TensorInfo:
    shape = tuple(int(side) for side in entry["shape"])
    dtype = np.dtype(str(entry["dtype"]))
    if dtype.name not in _DTYPES.values():
        raise ValueError(f"dtype {dtype.name}")
    return TensorInfo(
        name=str(entry["name"]),
        shape=shape,
        dtype=dtype.name,
        order=TensorOrder(entry["order"]),
        nbytes=math.prod(shape) * dtype.itemsize,
        scale=tuple(float(value) for value in entry["scale"]),
        zero_point=tuple(float(value) for value in entry["zero_point"]),
        nms=None if entry["nms"] is None else NmsShape(*(int(value) for value in entry["nms"])),
    )
