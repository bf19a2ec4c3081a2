"""HailoRT's detection buffers byte for byte, written and read."""

from __future__ import annotations

import math
import struct

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray

from hailod.simulator.networks import layouts
from hailod.simulator.networks.layouts import MASKED_DETECTIONS, MaskedLayout
from hailod.simulator.networks.nms import Boxes
from hailod.simulator.pyhailort import results
from tests.unit.test_simulator_nms import boxes


def whole(_: int, rows: slice, columns: slice) -> NDArray[np.bool_]:
    """A mask that covers everything."""
    return np.ones((rows.stop - rows.start, columns.stop - columns.start), np.bool_)


def layout(profile: str = "4.23", *, size: int = 400, max_total: int = 5) -> MaskedLayout:
    return MaskedLayout(MASKED_DETECTIONS[profile], size, max_total, (10, 20))


def test_by_class_layout() -> None:
    """Each class is its count and its rows, the next class following at once."""
    packed = layouts.pack_by_class(boxes((1, 2, 3, 4, 0.5, 2)), 4).view(np.float32)
    assert packed.tolist() == [0, 0, 1, 1, 2, 3, 4, 0.5, 0]


def test_by_score_layout() -> None:
    """A count of two bytes, then 22 bytes per detection."""
    packed = layouts.pack_by_score(boxes((1, 2, 3, 4, 0.5, 7)))
    assert packed.tobytes() == struct.pack("<H5fH", 1, 1, 2, 3, 4, 0.5, 7)


def test_nothing_found_is_counts_of_zero() -> None:
    """An empty scene is a valid buffer in every layout."""
    assert layouts.pack_by_class(boxes(), 3).view(np.float32).tolist() == [0, 0, 0]
    assert layouts.pack_by_score(boxes()).tolist() == [0, 0]
    assert layout().pack(boxes(), whole).tolist() == [0, 0]


@pytest.mark.parametrize(("profile", "record"), [("4.23", 38), ("5.2", 46)])
def test_byte_mask_layout(profile: str, record: int) -> None:
    """A count, then per detection box, score, class, the mask's length and address, in 5.x its offset, and the mask."""
    found = boxes((0.1, 0.1, 0.3, 0.2, 0.75, 2), (0.5, 0.5, 0.7, 0.55, 0.5, 1))
    packed = layout(profile).pack(found, whole)
    memory = np.full(400, 9, np.uint8)
    used = memory[: packed.size]
    used[:] = packed
    assert layout(profile).locate(used)
    box = np.array([0.1, 0.1, 0.3, 0.2], np.float32)
    first = 2 + record
    # Ceilings of the box's sides in pixels, in float32: 3 by 2 and not 2 by 2, as 0.3 - 0.1 is a little above 0.2.
    size = 3 * 2 if math.ceil((box[2] - box[0]) * np.float32(10)) == 3 else 2 * 2
    address = memory.ctypes.data + first
    assert used[: first - (8 if profile == "5.2" else 0)].tobytes() == struct.pack(
        "<H5fHQQ", 2, *box, 0.75, 2, size, address
    )
    if profile == "5.2":
        assert used[first - 8 : first].tobytes() == struct.pack("<Q", first)
    assert used[first : first + size].tolist() == [1] * size
    second = first + size
    assert used[second + 20 : second + 22].tobytes() == struct.pack("<H", 1)


def test_a_mask_of_a_box_beyond_the_picture_keeps_its_full_width() -> None:
    """Only the inner part is copied, in rows as wide as the whole box; what is left over stays as it was."""
    found = boxes((0.0, -0.1, 0.2, 0.1, 0.75, 0))
    packed = layout().pack(found, whole)
    mask = packed[2 + 38 :].reshape(2, -1)
    assert mask.shape[1] == 4
    assert mask[:, :2].tolist() == [[1, 1]] * 2


def test_too_many_detections_are_counted_once_more_than_written() -> None:
    """Beyond the limit the count names one record that is not there, as HailoRT's does."""
    found = boxes(*((0.0, 0.0, 0.1, 0.05, 0.9 - i / 10, 0) for i in range(4)))
    packed = layout(max_total=2).pack(found, whole)
    assert packed[:2].tolist() == [3, 0]
    assert packed.size == 2 + 2 * (38 + 1)
    assert layout(max_total=2).locate(packed.copy())


def test_masks_that_do_not_fit_end_the_list() -> None:
    """What the memory for masks cannot hold is left out, and it can be told."""
    found = boxes((0.0, 0.0, 1.0, 1.0, 0.9, 0), (0.0, 0.0, 1.0, 1.0, 0.8, 0))
    packed = layout(size=2 + 2 * 38 + 300).pack(found, whole)
    assert packed[:2].tolist() == [2, 0]
    assert packed.size == 2 + 38 + 200
    assert not layout(size=2 + 2 * 38 + 300).locate(packed.copy())


def test_by_score_reads_no_further_than_its_memory() -> None:
    """Of more records than were bound those that are there are read, and zeros for the others."""
    raw = layouts.pack_by_score(boxes((1, 2, 3, 4, 0.5, 7), (1, 2, 3, 4, 0.25, 7)))[: 2 + 22]
    assert [found.score for found in results.convert_nms_by_score_buffer_to_detections(raw)] == [0.5, 0.0]


sides = st.floats(-0.25, 1.25, width=32)


@given(st.lists(st.tuples(sides, sides, sides, sides, st.floats(0, 1, width=32), st.integers(0, 3)), max_size=6))
def test_what_is_packed_is_read(rows: list[tuple[float, float, float, float, float, int]]) -> None:
    """Whatever boxes go in, the readers find as many detections as were written, with masks of the boxes' sizes."""
    ordered = [(min(a, c), min(b, d), max(a, c), max(b, d), score, label) for a, b, c, d, score, label in rows]
    found: Boxes = boxes(*ordered)
    by_score = results.convert_nms_by_score_buffer_to_detections(layouts.pack_by_score(found))
    assert [each.class_id for each in by_score] == found.classes.tolist()
    packed = layout(size=10_000, max_total=10).pack(found, whole).copy()
    assert layout(size=10_000, max_total=10).locate(packed)
    masked = results.convert_nms_with_byte_mask_buffer_to_detections(packed)
    assert [each.score for each in masked] == found.scores.tolist()
    for each in masked:
        height = math.ceil(np.float32(each.box.y_max - each.box.y_min) * np.float32(10))
        width = math.ceil(np.float32(each.box.x_max - each.box.x_min) * np.float32(20))
        assert each.mask().size == height * width
