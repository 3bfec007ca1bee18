"""Gaussian noise, drawn in the layout that the values have."""

import torch
from torch import Tensor


def add_noise(values: Tensor, scale: float) -> Tensor:
    """`values` plus Gaussian noise of standard deviation `scale`; `values` itself where the scale is 0."""
    return values + scale * standard_normal(values) if scale > 0 else values


def standard_normal(like: Tensor) -> Tensor:
    """Draws from N(0, 1) of the shape, dtype and device of `like`, maps (B, C, H, W) in channels-last layout.

    Where the layout is not the default, `torch.randn_like` draws number by number, which is many times slower on a CPU.
    """
    if like.dim() != 4:
        return torch.randn(like.shape, dtype=like.dtype, device=like.device)
    images, channels, high, wide = like.shape
    drawn = torch.randn((images, high, wide, channels), dtype=like.dtype, device=like.device)
    return drawn.permute(0, 3, 1, 2)
