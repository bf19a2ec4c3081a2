"""Tensor descriptions: read from HailoRT's objects, carried as JSON, refused where they make no sense."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from hailod.device.tensors import describe, tensors_from_json, tensors_to_json
from hailod.errors import ModelError
from hailod.types import ModelTensors, NmsShape, TensorInfo, TensorOrder
from tests.support.device import TENSORS


@dataclass
class Stream:
    """As much of HailoRT's InferStream as is looked at."""

    name: str
    shape: tuple[int, ...]
    type_name: str = "UINT8"
    order_name: str = "NHWC"
    quant: tuple[tuple[float, float], ...] = ()
    is_nms: bool = False

    @property
    def format(self) -> SimpleNamespace:
        return SimpleNamespace(type=SimpleNamespace(name=self.type_name), order=SimpleNamespace(name=self.order_name))

    @property
    def quant_infos(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(qp_scale=scale, qp_zp=zero) for scale, zero in self.quant]


@dataclass
class Model:
    """As much of HailoRT's InferModel as is looked at."""

    inputs: list[Stream]
    outputs: list[Stream]
    nms: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def hef(self) -> SimpleNamespace:
        infos = [
            SimpleNamespace(name=name, nms_shape=SimpleNamespace(number_of_classes=classes, max_bboxes_per_class=most))
            for name, (classes, most) in self.nms.items()
        ]
        return SimpleNamespace(get_output_vstream_infos=lambda: infos)


PICTURE = Stream("net/input", (640, 640, 3), quant=((1.0, 0.0),))


def test_nms_by_class_is_described() -> None:
    """An output of HailoRT's NMS has its limits and its size in float32, whatever name its order goes by."""
    for order in ("HAILO_NMS_BY_CLASS", "HAILO_NMS", "HAILO_NMS_ON_CHIP"):
        output = Stream("net/nms", (80 * 501,), "FLOAT32", order, is_nms=True)
        tensors = describe(Model([PICTURE], [output], {"net/nms": (80, 100)}))
        assert tensors.inputs == (TensorInfo("net/input", (640, 640, 3), "uint8", TensorOrder.NHWC, 640 * 640 * 3),)
        assert tensors.outputs == (
            TensorInfo("net/nms", (40080,), "float32", TensorOrder.NMS_BY_CLASS, 160320, nms=NmsShape(80, 100)),
        )


def test_fcr_is_nhwc_on_the_host() -> None:
    """Raw heads that the device sends features first are described as what they are in memory."""
    output = Stream("net/conv", (20, 20, 64), "UINT8", "FCR")
    (described,) = describe(Model([PICTURE], [output], {})).outputs
    assert described.order is TensorOrder.NHWC


def test_nms_by_score_is_bytes() -> None:
    """Packed records are bytes, whatever type the library names."""
    output = Stream("net/nms", (2 + 22 * 50,), "FLOAT32", "HAILO_NMS_BY_SCORE", is_nms=True)
    (found,) = describe(Model([PICTURE], [output], {"net/nms": (80, 50)})).outputs
    assert (found.dtype, found.nbytes) == ("uint8", 1102)


def test_quantisation_of_every_channel_is_kept() -> None:
    """A raw head comes with scale and zero point, one or one per channel."""
    output = Stream("net/conv", (80, 80, 2), "UINT16", "NHWC", ((0.5, 3.0), (0.25, 4.0)))
    (found,) = describe(Model([PICTURE], [output])).outputs
    assert (found.scale, found.zero_point, found.nbytes) == ((0.5, 0.25), (3.0, 4.0), 80 * 80 * 2 * 2)
    assert found.nms is None


@pytest.mark.parametrize(("type_name", "order_name"), [("INT4", "NHWC"), ("UINT8", "F8CR"), ("AUTO", "AUTO")])
def test_unknown_format_is_refused(type_name: str, order_name: str) -> None:
    """A tensor in a format that hailod does not know is an error that names tensor and format."""
    output = Stream("net/odd", (1,), type_name, order_name)
    with pytest.raises(ModelError, match=f"net/odd is {type_name} {order_name}"):
        describe(Model([PICTURE], [output]))


def test_description_survives_the_way_between_processes() -> None:
    """What the host describes is what the daemon reads, to the last channel."""
    per_channel = TensorInfo("head", (4, 4, 2), "uint16", TensorOrder.NHWC, 64, (0.1, 0.2), (1.0, 2.0))
    tensors = ModelTensors(TENSORS.inputs, (*TENSORS.outputs, per_channel))
    assert tensors_from_json(json.loads(json.dumps(tensors_to_json(tensors)))) == tensors


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "object"},
        {"dtype": "float64"},
        {"dtype": "nonsense"},
        {"order": "NCHW"},
        {"shape": ["x"]},
        {"shape": 5},
        {"nms": [1, 2, 3]},
        {"scale": None},
    ],
)
def test_nonsense_is_refused(change: dict[str, object]) -> None:
    """A description in which anything is not what it ought to be is refused as a whole."""
    document = json.loads(json.dumps(tensors_to_json(TENSORS)))
    document["outputs"][0].update(change)
    with pytest.raises((KeyError, TypeError, ValueError)):
        tensors_from_json(document)


@pytest.mark.parametrize("missing", ["inputs", "outputs"])
def test_model_without_input_or_output_is_refused(missing: str) -> None:
    """There is nothing to run in a model without a picture or a result."""
    document = {**tensors_to_json(TENSORS), missing: []}
    with pytest.raises(ValueError, match="at least one"):
        tensors_from_json(document)
