"""What the detector is to answer for a picture, and how far off it is.

Every object is answered by the few cells that already do it best (task-aligned assignment): candidates near its middle,
on the grids that suit its size, ranked by score and overlap. Objectness learns how close to the best of them a cell
comes; the best itself learns 1, however bad it still is, so that small and rare things are not given up.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as nnf

from training.model import boxes_of

_TOP = 7
# Sides in pixels (geometric mean of width and height) that each grid answers for.
_SPANS = {8.0: (0.0, 52.0), 16.0: (22.0, 110.0), 32.0: (58.0, 1e4)}


@dataclass
class Targets:
    """The objects of a batch: `boxes` (n, g, 4) in pixels, `labels` (n, g), `kind` (n, g): 1 counts, -1 is ignored,
    0 is padding."""

    boxes: Tensor
    labels: Tensor
    kind: Tensor


def loss(rows: Tensor, targets: Targets, corners: Tensor, strides: Tensor) -> tuple[Tensor, dict[str, float]]:
    """The loss of a batch, and its parts for the log."""
    boxes = boxes_of(rows, corners, strides)
    middles = (corners + 0.5) * strides[:, None]
    with torch.no_grad():
        owner, quality, ignored = _assign(rows, boxes, targets, middles, strides)
    positive = owner >= 0
    total = quality.sum().clamp(min=1.0)
    objectness = nnf.binary_cross_entropy_with_logits(rows[..., 4], quality, reduction="none")
    object_loss = objectness[positive | ~ignored].sum() / total
    if not positive.any():
        return object_loss, {"obj": object_loss.item(), "box": 0.0, "cls": 0.0, "iou": 0.0}
    batch, cell = positive.nonzero(as_tuple=True)
    gt = owner[batch, cell]
    weight = 0.25 + 0.75 * quality[batch, cell]
    overlap, distance = _overlap(boxes[batch, cell], targets.boxes[batch, gt])
    box_loss = ((1 - overlap + distance) * weight).sum() / weight.sum()
    wanted = nnf.one_hot(targets.labels[batch, gt], rows.shape[-1] - 5).float()
    classes = nnf.binary_cross_entropy_with_logits(rows[batch, cell, 5:], wanted, reduction="none").sum(-1)
    class_loss = (classes * weight).sum() / weight.sum()
    parts = {"obj": object_loss.item(), "box": box_loss.item(), "cls": class_loss.item(), "iou": overlap.mean().item()}
    return object_loss + 4.0 * box_loss + class_loss, parts


def _assign(
    rows: Tensor, boxes: Tensor, targets: Targets, middles: Tensor, strides: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Per cell: the object that it answers for (-1: none), how well it does, and whether it is not judged."""
    gts, kind = targets.boxes[:, :, None], targets.kind
    size = (gts[..., 2:] - gts[..., :2]).clamp(min=1e-3)
    away = (middles - (gts[..., :2] + gts[..., 2:]) / 2).abs()
    side = size.prod(-1).sqrt()
    low = torch.tensor([_SPANS[float(s)][0] for s in strides.unique()])
    high = torch.tensor([_SPANS[float(s)][1] for s in strides.unique()])
    level = torch.searchsorted(strides.unique(), strides)
    suits = (side >= low[level]) & (side < high[level])
    core = torch.maximum(0.32 * size, 0.8 * strides[:, None])
    candidate = suits & (away < core).all(-1) & (kind == 1)[..., None]

    overlap, _ = _overlap(boxes[:, None], gts)
    overlap = overlap.clamp(min=0)
    scores = rows[..., 4:5].sigmoid() * rows[..., 5:].sigmoid()
    of_class = scores.transpose(1, 2).gather(1, targets.labels[..., None].expand(-1, -1, rows.shape[1]))
    near = torch.exp(-away.amax(-1) / strides)
    metric = (of_class.sqrt() * overlap**4 + 1e-5 * near) * candidate
    best = metric.topk(_TOP, dim=-1).indices
    chosen = torch.zeros_like(candidate).scatter_(-1, best, True) & candidate

    contested = torch.where(chosen, overlap + 1e-3 * near, torch.full_like(overlap, -1.0))
    value, owner = contested.max(1)
    owner = torch.where(value >= 0, owner, torch.full_like(owner, -1))
    aligned = torch.where(chosen, metric, torch.zeros_like(metric))
    strongest = aligned.amax(-1, keepdim=True).clamp(min=1e-9)
    share = (aligned / strongest).clamp(0, 1)
    quality = share.gather(1, owner.clamp(min=0)[:, None])[:, 0] * (owner >= 0)
    inside = ((middles > gts[..., :2]) & (middles < gts[..., 2:])).all(-1) & (kind == -1)[..., None]
    return owner, quality, inside.any(1)


def _overlap(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Intersection over union, and the distance of the middles as a share of the box around both, squared."""
    low, high = torch.maximum(one[..., :2], other[..., :2]), torch.minimum(one[..., 2:], other[..., 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    union = (one[..., 2:] - one[..., :2]).prod(-1) + (other[..., 2:] - other[..., :2]).prod(-1) - shared
    around = torch.maximum(one[..., 2:], other[..., 2:]) - torch.minimum(one[..., :2], other[..., :2])
    apart = (one[..., :2] + one[..., 2:] - other[..., :2] - other[..., 2:]) / 2
    return shared / union.clamp(min=1e-6), apart.square().sum(-1) / around.square().sum(-1).clamp(min=1e-6)
