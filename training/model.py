"""The detector: a small convolutional network with YOLOX's heads, in two sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as nnf

CLASSES: Final = 4
STRIDES: Final = (8, 16, 32)


@dataclass(frozen=True)
class Size:
    """Width and height of the input; channels at strides 2, 4, 8, 16 and 32; residual blocks at 4, 8 and 16; channels
    and depth of the heads."""

    input: tuple[int, int]
    channels: tuple[int, int, int, int, int]
    blocks: tuple[int, int, int]
    head: int
    head_depth: int


SIZES: Final = {
    "fast": Size((384, 224), (12, 24, 40, 64, 80), (0, 1, 1), 36, 1),
    "accurate": Size((512, 288), (16, 28, 56, 80, 96), (1, 2, 1), 44, 2),
}


class _Conv(nn.Sequential):
    def __init__(self, inside: int, outside: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inside, outside, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outside, momentum=0.03),
            nn.ReLU(inplace=True),
        )


class _Block(nn.Module):
    """A residual bottleneck."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_Conv(channels, channels // 2, 1), _Conv(channels // 2, channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class _Deep(nn.Module):
    """A residual block of depthwise convolution, for where channels are many and pixels few."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_Conv(channels, channels, 5, groups=channels), _Conv(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class _Tower(nn.Module):
    """Convolutions that all strides share, with statistics of each stride's own: they see different things."""

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(depth))
        self.norms = nn.ModuleList(
            nn.ModuleList(nn.BatchNorm2d(channels, momentum=0.03) for _ in range(depth)) for _ in STRIDES
        )

    def forward(self, x: Tensor, level: int) -> Tensor:
        norms = self.norms[level]
        assert isinstance(norms, nn.ModuleList)
        for conv, norm in zip(self.convs, norms, strict=True):
            x = nnf.relu(norm(conv(x)))
        return x


class Detector(nn.Module):
    """Pictures (n, 3, height, width) in RGB, 0..255, to rows (n, cells, 4 + 1 + classes) for strides 8, 16, 32.

    A row is x, y of the centre from its cell's corner, log width, log height, all in cells; the logits of objectness
    and of the classes follow.
    """

    def __init__(self, size: Size) -> None:
        super().__init__()
        c2, c4, c8, c16, c32 = size.channels
        b4, b8, b16 = size.blocks
        self.stem = _Conv(3, c2, 3, 2)
        self.down4 = nn.Sequential(_Conv(c2, c4, 3, 2), *(_Block(c4) for _ in range(b4)))
        self.down8 = nn.Sequential(_Conv(c4, c8, 3, 2), *(_Block(c8) for _ in range(b8)))
        self.down16 = nn.Sequential(_Conv(c8, c16, 3, 2), *(_Block(c16) for _ in range(b16)))
        self.down32 = nn.Sequential(
            _Conv(c16, c32, 1), _Conv(c32, c32, 5, 2, groups=c32), _Conv(c32, c32, 1), _Deep(c32)
        )
        head = size.head
        self.lateral = nn.ModuleList(_Conv(channels, head, 1) for channels in (c8, c16, c32))
        self.smooth = nn.ModuleList((_Conv(head, head), _Deep(head), _Deep(head)))
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.tower = _Tower(head, size.head_depth)
        self.box = nn.ModuleList(nn.Conv2d(head, 4, 1) for _ in STRIDES)
        self.score = nn.ModuleList(nn.Conv2d(head, 1 + CLASSES, 1) for _ in STRIDES)
        for layer in self.score:
            nn.init.constant_(layer.bias, -4.0)

    def forward(self, pictures: Tensor) -> Tensor:
        at4 = self.down4(self.stem(pictures * (1 / 255)))
        at8 = self.down8(at4)
        at16 = self.down16(at8)
        at32 = self.down32(at16)
        p8, p16, p32 = (layer(x) for layer, x in zip(self.lateral, (at8, at16, at32), strict=True))
        p16 = p16 + self.up(p32)
        p8 = p8 + self.up(p16)
        rows = []
        for level, x in enumerate((p8, p16, p32)):
            seen = self.tower(self.smooth[level](x), level)
            rows.append(torch.cat((self.box[level](seen), self.score[level](seen)), 1).flatten(2))
        return torch.cat(rows, 2).transpose(1, 2)


class Exported(nn.Module):
    """The detector as the device sees it: uint8 pictures (n, height, width, 3) in, scores through their sigmoid."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, pictures: Tensor) -> Tensor:
        rows = self.detector(pictures.float().permute(0, 3, 1, 2))
        return torch.cat((rows[..., :4], rows[..., 4:].sigmoid()), -1)


def cells(size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Corners (n, 2) of all cells, in cells, and the stride (n,) of each, in the order of the rows."""
    corners, strides = [], []
    for stride in STRIDES:
        rows, columns = torch.meshgrid(torch.arange(size[1] // stride), torch.arange(size[0] // stride), indexing="ij")
        corners.append(torch.stack((columns, rows), -1).reshape(-1, 2).float())
        strides.append(torch.full((corners[-1].shape[0],), float(stride)))
    return torch.cat(corners), torch.cat(strides)


def boxes_of(rows: Tensor, corners: Tensor, strides: Tensor) -> Tensor:
    """x1, y1, x2, y2 in pixels of the input."""
    centre = (rows[..., :2] + corners) * strides[:, None]
    half = rows[..., 2:4].clamp(-4, 5).exp() * strides[:, None] / 2
    return torch.cat((centre - half, centre + half), -1)
