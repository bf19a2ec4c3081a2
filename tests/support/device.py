"""Small things of the device package that tests need again and again."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hailod.device.flight import Batch, ModelSpec, Session
from hailod.device.slots import Layout, SlotPool
from hailod.mailbox import Item
from hailod.types import Frame, ModelTensors, NmsShape, Picture, PixelFormat, TensorInfo, TensorOrder

CLASSES = 2
MAX_PER_CLASS = 4
_ELEMENTS = CLASSES * (1 + 5 * MAX_PER_CLASS)

TENSORS = ModelTensors(
    inputs=(TensorInfo("in", (16, 32, 3), "uint8", TensorOrder.NHWC, 16 * 32 * 3),),
    outputs=(
        TensorInfo(
            "out",
            (_ELEMENTS,),
            "float32",
            TensorOrder.NMS_BY_CLASS,
            4 * _ELEMENTS,
            nms=NmsShape(CLASSES, MAX_PER_CLASS),
        ),
    ),
)

GREY = Picture(PixelFormat.GRAY, 64, 32, (np.full((32, 64), 90, np.uint8),))


def spec(name: str = "two", *, batch_size: int = 1, score_floor: float = 0.1) -> ModelSpec:
    return ModelSpec(name, Path(f"/models/{name}.hef"), batch_size, score_floor)


def session(
    name: str = "two", *, key: int = 1, generation: int = 1, batch_size: int = 1, window: int | None = None
) -> Session:
    """A session with slots of its own, as the link makes them."""
    pool = SlotPool(Layout.of(TENSORS, 4 * batch_size + 1))
    pool.close_fd()
    return Session(
        spec(name, batch_size=batch_size), key, generation, TENSORS, pool, batch_size, window or 2 * batch_size
    )


def frame(camera: str = "front", number: int = 1, *, captured: float = 1000.0, picture: Picture = GREY) -> Frame:
    return Frame(camera, number, captured, 1_795_000_000.0, picture)


def batch(of: Session, count: int = 1, *, camera: str = "front") -> Batch:
    """A batch that was never in a mailbox, its slots taken from the session's pool."""
    slots = of.pool.take(count)
    assert slots is not None
    items = [Item(frame(camera, number), of.spec.name) for number in range(count)]
    return Batch(of, items, slots, [None] * count, taken=1000.0)
