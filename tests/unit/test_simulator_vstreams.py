"""Conversions of the simulated virtual streams, and what carries their frames between processes."""

from __future__ import annotations

import os
from multiprocessing import get_context

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hailod.simulator.pyhailort.native_vstreams import dequantised, quantised
from hailod.simulator.pyhailort.rings import Event, Ring, deliver, ready
from hailod.types import TensorInfo, TensorOrder


def tensor(scale: tuple[float, ...], zero: tuple[float, ...], dtype: str = "uint8") -> TensorInfo:
    return TensorInfo("t", (2, 3), dtype, TensorOrder.NHW, 6, scale, zero)


def test_one_quantisation_for_the_whole_tensor() -> None:
    """real = (q - zero) x scale, rounded half to even and saturated on the way back."""
    one = tensor((0.5,), (10.0,))
    assert dequantised(one, np.array([0, 10, 255], np.uint8)).tolist() == [-5.0, 0.0, 122.5]
    assert quantised(one, np.array([-100.0, 0.25, 0.75, 1000.0], np.float32)).tolist() == [0, 10, 12, 255]


def test_a_quantisation_for_each_feature() -> None:
    """A tensor with one entry per feature is converted feature by feature, there and back."""
    each = tensor((0.5, 1.0, 2.0), (0.0, 1.0, 2.0), "uint16")
    values = np.array([1, 2, 3, 4, 5, 6], np.uint16)
    real = dequantised(each, values)
    assert real.tolist() == [0.5, 1.0, 2.0, 2.0, 4.0, 8.0]
    assert np.array_equal(quantised(each, real), values)


@given(st.lists(st.integers(0, 65_535), min_size=1), st.floats(1e-3, 10.0), st.integers(0, 255))
def test_quantised_values_survive(values: list[int], scale: float, zero: int) -> None:
    """Every value of the device comes back from its real value."""
    of_device = np.array(values, np.uint16)
    info = tensor((scale,), (float(zero),), "uint16")
    assert np.array_equal(quantised(info, dequantised(info, of_device)), of_device)


def test_a_ring_keeps_order_and_lengths() -> None:
    """Frames come out as they went in, each as long as it was, and a place that nobody frees is not used again."""
    ring = Ring(2, 5)
    for content in (b"ab", b"cdefg"):
        number = ring.free.take()
        assert number is not None
        ring.put(number, np.frombuffer(content, np.uint8))
    assert ring.free.take() is None
    assert not ring.drained(0)
    numbers = [ring.filled.take(), ring.filled.take()]
    assert [bytes(ring.frame(number)) for number in numbers if number is not None] == [b"ab", b"cdefg"]
    assert ring.filled.take() is None
    for number in numbers:
        assert number is not None
        ring.free.put(number)
    assert ring.drained(0)
    ring.close()
    with pytest.raises(ValueError, match="1 to 255 places"):
        Ring(256, 1)


def test_dropped_frames_free_their_places() -> None:
    """What nobody has fetched can be forgotten."""
    ring = Ring(1, 1)
    number = ring.free.take()
    assert number is not None
    assert deliver([ring.place(number)], [np.zeros(1, np.uint8)]) == 0
    ring.filled.put(number)
    ring.drop()
    assert ring.drained(0)
    ring.close()


def test_a_ring_crosses_a_fork() -> None:
    """A frame that a forked process puts in comes out in its parent, who waits for it without looking."""
    ring, told = Ring(1, 4), Event()

    def child() -> None:
        number = ring.free.take()
        if number is not None:
            ring.put(number, np.frombuffer(os.getpid().to_bytes(4, "little"), np.uint8))
        told.set()

    process = get_context("fork").Process(target=child)
    process.start()
    assert ready([ring.filled], 10) == [ring.filled]
    number = ring.filled.take()
    assert number is not None
    assert int.from_bytes(bytes(ring.frame(number)), "little") == process.pid
    assert ready([told], 10) == [told]
    told.clear()
    assert not told.is_set
    process.join()
    ring.close()
    told.close()
