"""Convolutions that are faster on a CPU, and stacks of them that several families share."""

from collections.abc import Sequence
from itertools import pairwise, product
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear

# Layers of more channels have maps of 4x4 and 8x8, where oneDNN's transposed convolution is as fast or faster.
_MOST_FOLDED = 64
# Products of channels below which it does not pay to lay a kernel out for several places of a map.
_LEAST_LAID_OUT = 64 * 64

_Network = TypeVar("_Network", bound=nn.Module)


class Convolution(nn.Conv2d):
    """`nn.Conv2d`, faster on a CPU where maps are so small that all places reach all others.

    Of a kernel of 3x3 over a map of one place, eight of nine products are with the padding, and oneDNN computes them
    all. Here the taps that meet the map are laid out as one matrix, by which all places are multiplied at once. The
    sums are the same, and there are never more products.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, in_channels, H, W) to (B, out_channels, h, w), as torch's layer does."""
        if maps.device.type == "cpu" and self._small(maps):
            return self._laid_out(maps)
        return super().forward(maps)

    def _small(self, maps: Tensor) -> bool:
        """Whether each tap meets a place of the map from each place of the result, and that pays."""
        if self.groups > 1 or self.dilation != (1, 1) or self.padding_mode != "zeros" or isinstance(self.padding, str):
            return False
        result = self._sides(maps)
        for side, places, kernel, stride, padding in zip(
            maps.shape[2:], result, self.kernel_size, self.stride, self.padding, strict=True
        ):
            if places < 1 or side + padding > kernel or stride * (places - 1) > padding:
                return False
        return result == (1, 1) or self.in_channels * self.out_channels >= _LEAST_LAID_OUT

    @property
    def _padding(self) -> tuple[int, ...]:
        assert not isinstance(self.padding, str)
        return self.padding

    def _sides(self, maps: Tensor) -> tuple[int, int]:
        """Height and width of the result."""
        sizes = zip(maps.shape[2:], self.kernel_size, self.stride, self._padding, strict=True)
        high, wide = ((side + 2 * padding - kernel) // stride + 1 for side, kernel, stride, padding in sizes)
        return high, wide

    def _laid_out(self, maps: Tensor) -> Tensor:
        (high, wide), (rows, columns) = maps.shape[2:], self._sides(maps)
        taps = self.weight.to(maps.dtype).permute(0, 2, 3, 1)
        met = []
        for row, column in product(range(rows), range(columns)):
            y, x = self._padding[0] - self.stride[0] * row, self._padding[1] - self.stride[1] * column
            met.append(taps[:, y : y + high, x : x + wide])
        weight = torch.stack(met).reshape(rows * columns * self.out_channels, -1)
        bias = None if self.bias is None else self.bias.repeat(rows * columns)
        result = linear(maps.permute(0, 2, 3, 1).flatten(1), weight, bias)
        return result.view(-1, rows, columns, self.out_channels).permute(0, 3, 1, 2)


def fast_on_small_maps(network: _Network) -> _Network:
    """The same network, its convolutions made `Convolution`s."""
    for layer in network.modules():
        if type(layer) is nn.Conv2d:
            layer.__class__ = Convolution  # which has no state of its own
    return network


class Doubling(nn.ConvTranspose2d):
    """`nn.ConvTranspose2d(channels_in, channels_out, 4, 2, 1)`, faster on a CPU in two cases.

    In bfloat16, where channels are few, it is computed as a convolution with a kernel of 2x2 that gives four times the
    channels, those of a block of 2x2 pixels, which are then dealt out to their places (Shi et al. 2016, "Is the
    deconvolution layer the same as a convolutional layer?", arXiv:1609.07009). The sums are the same. It is faster
    because oneDNN computes 16 channels at a time, however few there are. And of a map of one place only the middle of
    the kernel is used.
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, 4, 2, 1)

    def forward(self, maps: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Maps (B, channels_in, H, W) to (B, channels_out, 2 H, 2 W)."""
        if maps.device.type != "cpu":
            return super().forward(maps, output_size)
        if maps.shape[2:] == (1, 1):
            return self._middle(maps)
        if not torch.is_autocast_enabled("cpu") or self.out_channels > _MOST_FOLDED:
            return super().forward(maps, output_size)
        return self._folded(maps)

    def _middle(self, maps: Tensor) -> Tensor:
        weight = self.weight.to(maps.dtype)[:, :, 1:3, 1:3].permute(2, 3, 1, 0).flatten(0, 2)
        bias = None if self.bias is None else self.bias.repeat(4)
        return linear(maps.flatten(1), weight, bias).view(-1, 2, 2, self.out_channels).permute(0, 3, 1, 2)

    def _folded(self, maps: Tensor) -> Tensor:
        channels_in, channels = self.weight.shape[:2]
        # Block j of a row is x[j] w[0:2] + x[j-1] w[2:4]. The axes are in, out, and twice (block, place in the block).
        taps = self.weight.reshape(channels_in, channels, 2, 2, 2, 2).flip(2, 4)
        weight = taps.permute(3, 5, 1, 0, 2, 4).reshape(4 * channels, channels_in, 2, 2)
        bias = None if self.bias is None else self.bias.repeat(4)
        blocks = conv2d(maps, weight, bias, padding=1)
        n, _, high, wide = blocks.shape
        rows = blocks.permute(0, 2, 3, 1).reshape(n, high, wide, 2, 2 * channels).transpose(2, 3)
        # The outermost pixels are those that the padding takes away. Batch normalisation of maps with gaps in memory
        # takes several times as long.
        inner = rows.reshape(n, 2 * high, 2 * wide, channels)[:, 1:-1, 1:-1].contiguous()
        return inner.permute(0, 3, 1, 2)


def halving(channels: Sequence[int], *, batch_norm: bool = False, activate_last: bool = True) -> nn.Sequential:
    """Convolutions of kernel 4, stride 2 and padding 1 from `channels[0]` to `channels[-1]`.

    Batch normalisation, where it is asked for, and a ReLU follow each; the last only where `activate_last`.
    """
    layers = nn.Sequential()
    for i, (before, after) in enumerate(pairwise(channels)):
        layers.append(Convolution(before, after, 4, 2, 1))
        if i < len(channels) - 2 or activate_last:
            _activate(layers, after, batch_norm)
    return layers


def doubling(channels: Sequence[int], *, batch_norm: bool = False) -> nn.Sequential:
    """The mirror image of `halving`: transposed convolutions from `channels[0]` to the images' `channels[-1]`.

    Batch normalisation, where it is asked for, and a ReLU follow each but the last, which a Tanh follows.
    """
    layers = nn.Sequential()
    for before, after in pairwise(channels[:-1]):
        layers.append(Doubling(before, after))
        _activate(layers, after, batch_norm)
    layers.append(Doubling(channels[-2], channels[-1]))
    layers.append(nn.Tanh())
    return layers


def pooled(channels_in: int, width: int, stages: int) -> tuple[nn.Sequential, int]:
    """Convolutions of kernel 3 and stride 2 with normalisation and ReLU, then a mean over all places.

    Args:
        channels_in: the images' channels.
        width: channels of the first convolution, doubled at the second and third.
        stages: how many convolutions.

    Returns:
        The layers, from (B, channels_in, H, W) to (B, d), and d.
    """
    channels = [channels_in, *(width * 2 ** min(stage, 2) for stage in range(stages))]
    layers: list[nn.Module] = []
    for before, after in pairwise(channels):
        layers += [Convolution(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), channels[-1]


def _activate(layers: nn.Sequential, channels: int, batch_norm: bool) -> None:
    if batch_norm:
        layers.append(nn.BatchNorm2d(channels))
    layers.append(nn.ReLU())
