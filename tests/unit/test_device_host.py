"""What the device host makes of models that HailoRT treats in its own way."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from hailod.device.host import Host, status_of
from hailod.device.slots import Layout, SlotPool
from hailod.device.tensors import tensors_to_json
from tests.support.device import TENSORS


class HailoRTInvalidOperationException(Exception):
    """As HailoRT raises it: the number is in the cause."""


class FakeInferModel:
    """A model whose NMS runs on the chip: it takes no threshold, and says so only in configure()."""

    def __init__(self) -> None:
        self.threshold: float | None = None
        self.batch_size = 0
        (tensor,), (output,) = TENSORS.inputs, TENSORS.outputs
        self.hef = SimpleNamespace(
            get_output_vstream_infos=lambda: [
                SimpleNamespace(name="out", nms_shape=SimpleNamespace(number_of_classes=2, max_bboxes_per_class=4))
            ]
        )
        self.inputs = [self._stream(tensor.name, tensor.shape, "UINT8", "NHWC", nms=False)]
        self.outputs = [self._stream(output.name, output.shape, "FLOAT32", "HAILO_NMS_BY_CLASS", nms=True)]

    def _stream(self, name: str, shape: tuple[int, ...], kind: str, order: str, *, nms: bool) -> Any:
        form = SimpleNamespace(type=SimpleNamespace(name=kind), order=SimpleNamespace(name=order))
        return SimpleNamespace(
            name=name,
            shape=list(shape),
            format=form,
            is_nms=nms,
            quant_infos=[],
            set_nms_score_threshold=self._set_threshold,
        )

    def _set_threshold(self, threshold: float) -> None:
        self.threshold = threshold

    def set_batch_size(self, batch_size: int) -> None:
        self.batch_size = batch_size

    def configure(self) -> Any:
        if self.threshold is not None:
            raise HailoRTInvalidOperationException("Invalid operation") from Exception("6")
        return SimpleNamespace(
            create_bindings=lambda inputs, outputs: (inputs, outputs), get_async_queue_size=lambda: 8
        )


@pytest.fixture
def host() -> Iterator[Host]:
    ends = [*socket.socketpair(), *socket.socketpair()]
    host = Host(ends[0], ends[2])
    host._vdevice = SimpleNamespace(create_infer_model=lambda path: FakeInferModel())
    yield host
    host._models.clear()
    for end in ends:
        end.close()


def test_nms_on_the_chip_keeps_its_own_threshold(host: Host, capfd: pytest.CaptureFixture[str]) -> None:
    """A HEF whose NMS runs on the chip refuses our threshold; it is loaded with its own instead of not at all."""
    pool = SlotPool(Layout.of(TENSORS, 5))
    loaded = host._load({"model": 1, "path": "ssd.hef", "batch_size": 1, "score_floor": 0.1}, [])
    assert loaded["tensors"] == tensors_to_json(TENSORS)
    fd = os.dup(pool.fd)
    try:
        message = {"model": 1, "tensors": loaded["tensors"], "slots": 5}
        assert host._configure(message, [fd]) == {"queue_size": 8}
    finally:
        os.close(fd)
        pool.close_fd()
    assert host._models[1].infer_model.batch_size == 1
    assert "ssd.hef is what was compiled in" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (HailoRTInvalidOperationException("Invalid operation"), 6),
        (Exception("74"), 74),
        (Exception("libhailort failed with error: 82 (HAILO_QUEUE_IS_FULL)"), 82),
        (Exception("something else"), 8),
    ],
    ids=["by its class", "by its own text", "by its message", "none"],
)
def test_status_of_an_exception(error: Exception, status: int) -> None:
    """HailoRT's number is found wherever it puts it; what has none is an internal failure."""
    assert status_of(error) == status
