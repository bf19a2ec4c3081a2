"""The shared mapping between daemon and host: page-aligned input and output slots of one model, bound once.

One memfd per loaded model. The daemon makes it, letterboxes into the inputs and decodes from the outputs; the host maps
the same pages and binds every slot to a HailoRT `Bindings` once. No pixel is copied between the processes.
"""

from __future__ import annotations

import mmap
import os
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hailod.types import ModelTensors, TensorInfo

MAX_SLOTS = 255
MAX_MAPPING = 2**31


def _page_up(size: int) -> int:
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE


@dataclass(frozen=True, slots=True)
class Layout:
    """Where each tensor of each slot lies: slot `i` begins at `i * stride`, its tensors at `offsets` from there."""

    tensors: ModelTensors
    slots: int
    stride: int
    offsets: Mapping[str, int]

    @staticmethod
    def of(tensors: ModelTensors, slots: int) -> Layout:
        """The layout of `slots` slots; raises ValueError where it would not fit into reason."""
        offsets: dict[str, int] = {}
        end = 0
        for info in (*tensors.inputs, *tensors.outputs):
            if not 0 < info.nbytes < MAX_MAPPING:
                raise ValueError(f"tensor {info.name} has {info.nbytes} bytes")
            offsets[info.name] = end
            end += _page_up(info.nbytes)
        if not 0 < slots <= MAX_SLOTS or slots * end > MAX_MAPPING:
            raise ValueError(f"{slots} slots of {end} bytes are more than a mapping may hold")
        return Layout(tensors, slots, end, offsets)

    @property
    def size(self) -> int:
        return self.slots * self.stride


class SlotMap:
    """NumPy views of every slot of a mapped memfd. The mapping lives for as long as any view does."""

    def __init__(self, layout: Layout, fd: int) -> None:
        memory = mmap.mmap(fd, layout.size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self.layout = layout
        self.inputs = [self._views(memory, layout.tensors.inputs, slot) for slot in range(layout.slots)]
        self.outputs = [self._views(memory, layout.tensors.outputs, slot) for slot in range(layout.slots)]

    def _views(self, memory: mmap.mmap, infos: tuple[TensorInfo, ...], slot: int) -> dict[str, NDArray[Any]]:
        views = {}
        for info in infos:
            start = slot * self.layout.stride + self.layout.offsets[info.name]
            raw = np.frombuffer(memory, np.uint8, info.nbytes, start)
            views[info.name] = raw.view(np.dtype(info.dtype)).reshape(info.shape)
        return views


class SlotPool(SlotMap):
    """The daemon's side: makes the memfd and owns the free list."""

    def __init__(self, layout: Layout) -> None:
        self.fd = os.memfd_create("hailod-slots", os.MFD_CLOEXEC)
        try:
            os.ftruncate(self.fd, layout.size)
            super().__init__(layout, self.fd)
        except BaseException:
            self.close_fd()
            raise
        self._free = deque(range(layout.slots))

    def take(self, count: int) -> list[int] | None:
        """`count` free slots, or None if there are not that many. One taker at a time; givers may run beside it."""
        if len(self._free) < count:
            return None
        return [self._free.popleft() for _ in range(count)]

    def give(self, slots: list[int]) -> None:
        """Slots come home."""
        self._free.extend(slots)

    @property
    def free(self) -> int:
        return len(self._free)

    def close_fd(self) -> None:
        """Close the descriptor, once the host has it; the mapping stays for as long as there are views."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
