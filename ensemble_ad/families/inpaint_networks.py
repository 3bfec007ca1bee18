"""The networks that fill in what is hidden: each takes the image without the hidden pixels, and the mask."""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from ensemble_ad.data.images import ChannelsFirst


class Mlp(nn.Module):
    """Linear layers from the seen pixels and the mask to all pixels."""

    def __init__(self, shape: ChannelsFirst, width: int, hidden_layers: int) -> None:
        super().__init__()
        pixels = math.prod(shape)
        sizes = (pixels + shape[1] * shape[2], *(width,) * hidden_layers)
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), nn.GELU()]
        self.layers = nn.Sequential(*layers, nn.Linear(width, pixels))

    def forward(self, seen: Tensor, hidden: Tensor) -> Tensor:
        found: Tensor = self.layers(torch.cat([seen.flatten(1), hidden.flatten(1)], 1))
        return found.reshape(seen.shape)


class UNet(nn.Module):
    """A small U-Net (Ronneberger, Fischer and Brox 2015, arXiv:1505.04597) of three scales."""

    def __init__(self, shape: ChannelsFirst, channels: int) -> None:
        super().__init__()
        wide = [channels * 2**scale for scale in range(3)]
        self.first = _convolutions(shape[0] + 1, wide[0])
        self.down = nn.ModuleList([_convolutions(a, b, stride=2) for a, b in pairwise(wide)])
        self.up = nn.ModuleList([_convolutions(a + b, a) for a, b in pairwise(wide)])
        self.last = nn.Conv2d(wide[0], shape[0], 1)

    def forward(self, seen: Tensor, hidden: Tensor) -> Tensor:
        values = self.first(torch.cat([seen, hidden], 1))
        kept = []
        for down in self.down:
            kept.append(values)
            values = down(values)
        for up in reversed(self.up):
            beside = kept.pop()
            values = up(torch.cat([functional.interpolate(values, size=beside.shape[2:]), beside], 1))
        found: Tensor = self.last(values)
        return found


def _convolutions(before: int, after: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride, 1),
        nn.GroupNorm(1, after),
        nn.GELU(),
        nn.Conv2d(after, after, 3, 1, 1),
        nn.GroupNorm(1, after),
        nn.GELU(),
    )
