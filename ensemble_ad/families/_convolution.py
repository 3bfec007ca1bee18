"""Stacks of the course's convolutions: kernel 4, stride 2, padding 1, each halves or doubles height and width."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn


def halving(channels: Sequence[int], *, batch_norm: bool = False, activate_last: bool = True) -> nn.Sequential:
    """Convolutions from `channels[0]` to `channels[-1]`, each with its normalisation and ReLU."""
    layers = nn.Sequential()
    for i, (before, after) in enumerate(pairwise(channels)):
        layers.append(nn.Conv2d(before, after, 4, 2, 1))
        if i < len(channels) - 2 or activate_last:
            _activate(layers, after, batch_norm)
    return layers


def doubling(channels: Sequence[int], *, batch_norm: bool = False) -> nn.Sequential:
    """Transposed convolutions from `channels[0]` to the images' `channels[-1]`; the last ends in a Tanh."""
    layers = nn.Sequential()
    for before, after in pairwise(channels[:-1]):
        layers.append(nn.ConvTranspose2d(before, after, 4, 2, 1))
        _activate(layers, after, batch_norm)
    layers.append(nn.ConvTranspose2d(channels[-2], channels[-1], 4, 2, 1))
    layers.append(nn.Tanh())
    return layers


def _activate(layers: nn.Sequential, channels: int, batch_norm: bool) -> None:
    if batch_norm:
        layers.append(nn.BatchNorm2d(channels))
    layers.append(nn.ReLU())
