"""The mapping that daemon and host share: where its tensors lie, who has which slot, and that nothing of it stays."""

from __future__ import annotations

import gc
import itertools
import mmap
import os
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hailod.device.slots import MAX_SLOTS, Layout, SlotMap, SlotPool
from hailod.types import ModelTensors, TensorInfo, TensorOrder
from tests.support.device import TENSORS


def tensor(name: str, shape: tuple[int, ...], dtype: str = "uint8") -> TensorInfo:
    nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return TensorInfo(name, shape, dtype, TensorOrder.NHWC, nbytes)


@given(st.lists(st.integers(1, 3 * mmap.PAGESIZE), min_size=1, max_size=5), st.integers(1, MAX_SLOTS))
def test_tensors_lie_on_pages_of_their_own(sizes: list[int], slots: int) -> None:
    """Every tensor of every slot begins on a page, and no two share one."""
    infos = tuple(tensor(str(number), (size,)) for number, size in enumerate(sizes))
    layout = Layout.of(ModelTensors(infos[:1], infos[1:]), slots)
    ends = sorted((layout.offsets[info.name], layout.offsets[info.name] + info.nbytes) for info in infos)
    assert all(start % mmap.PAGESIZE == 0 for start, _ in ends)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(ends))
    assert layout.stride % mmap.PAGESIZE == 0
    assert ends[-1][1] <= layout.stride
    assert layout.size == slots * layout.stride


@pytest.mark.parametrize(
    ("infos", "slots"),
    [
        ((), 1),
        ((tensor("empty", (0,)),), 1),
        ((tensor("vast", (2**31,)),), 1),
        ((tensor("large", (2**28,)),), 9),
        ((tensor("small", (1,)),), 0),
        ((tensor("small", (1,)),), MAX_SLOTS + 1),
    ],
)
def test_layout_without_reason_is_refused(infos: tuple[TensorInfo, ...], slots: int) -> None:
    """Tensors of no size, mappings beyond 2 GB and more slots than a job can name are refused before they are made."""
    with pytest.raises(ValueError, match=r"bytes|slots|empty"):
        SlotPool(Layout.of(ModelTensors(infos), slots))


def test_both_sides_see_the_same_pages() -> None:
    """What the daemon writes into an input the host reads, and its outputs are read in place."""
    layout = Layout.of(TENSORS, 3)
    daemon = SlotPool(layout)
    host = SlotMap(layout, daemon.fd)
    daemon.close_fd()
    for slot in range(3):
        daemon.inputs[slot]["in"][:] = slot + 1
        host.outputs[slot]["out"][:] = 0.5 + slot
    for slot in range(3):
        assert (host.inputs[slot]["in"] == slot + 1).all()
        assert (daemon.outputs[slot]["out"] == 0.5 + slot).all()
    view = host.inputs[1]["in"]
    assert (view.shape, view.dtype.name, view.flags.c_contiguous) == ((16, 32, 3), "uint8", True)
    assert view.ctypes.data % mmap.PAGESIZE == 0
    assert daemon.outputs[1]["out"].dtype == np.float32


def test_slots_are_given_out_once() -> None:
    """A slot that is out is not given out again before it came home, and too few are none."""
    pool = SlotPool(Layout.of(TENSORS, 5))
    pool.close_fd()
    first = pool.take(3)
    assert first is not None
    assert pool.free == 2
    assert pool.take(3) is None
    assert pool.free == 2
    second = pool.take(2)
    assert second is not None
    assert sorted(first + second) == list(range(5))
    pool.give(first)
    assert pool.free == 3
    assert sorted(pool.take(3) or []) == sorted(first)


def test_mapping_ends_with_its_last_view() -> None:
    """The pages live exactly as long as anybody can see them; the descriptor no longer than it is needed."""
    pool = SlotPool(Layout.of(TENSORS, 2))
    fd = pool.fd
    inode = os.fstat(fd).st_ino
    pool.close_fd()
    pool.close_fd()
    assert pool.fd == -1
    view = pool.outputs[1]["out"]
    view[:] = 7.0
    gone = weakref.ref(pool)
    del pool
    gc.collect()
    assert gone() is None
    assert (view == 7.0).all()
    assert mapped(inode)
    del view
    gc.collect()
    assert not mapped(inode)


def mapped(inode: int) -> bool:
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        return any("/memfd:hailod-slots" in line and line.split()[4] == str(inode) for line in maps)
