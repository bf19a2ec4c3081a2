"""Non-maximum suppression as HailoRT does it on the host: per class, plain IoU, the better score wins."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hailod.types import F32, I32


def suppress(boxes: F32, scores: F32, classes: I32, *, iou: float, max_per_class: int) -> NDArray[np.intp]:
    """Indices of the boxes that remain, by descending score; ties keep their order.

    `boxes` (n, 4) are x1, y1, x2, y2. A box goes when a better one of its class overlaps it by `iou` or more, or when
    `max_per_class` better ones of its class remain.
    """
    rest = np.argsort(-scores, kind="stable")
    x1, y1, x2, y2 = boxes.T
    areas = (x2 - x1) * (y2 - y1)
    kept: list[int] = []
    kept_of_class: dict[int, int] = {}
    while rest.size:
        best, rest = int(rest[0]), rest[1:]
        kept.append(best)
        label = int(classes[best])
        kept_of_class[label] = kept_of_class.get(label, 0) + 1
        same = classes[rest] == label
        if kept_of_class[label] >= max_per_class:
            rest = rest[~same]
            continue
        width = np.minimum(x2[rest], x2[best]) - np.maximum(x1[rest], x1[best])
        height = np.minimum(y2[rest], y2[best]) - np.maximum(y1[rest], y1[best])
        overlap = np.maximum(width, 0.0) * np.maximum(height, 0.0)
        union = areas[rest] + areas[best] - overlap
        # Without a division, so that boxes without area are neither an error nor equal to each other.
        rest = rest[~(same & (overlap >= iou * union) & (overlap > 0.0))]
    return np.array(kept, np.intp)
