"""A bottleneck as one vector an image, short enough that a covariance can be fitted to many of them."""

import math

import torch
from torch import Tensor
from torch.nn import functional

_MOST_NUMBERS = 512


def flat_latent(*features: Tensor) -> Tensor:
    """The bottlenecks of a batch as one vector an image.

    Feature maps come to 512 numbers at most, shared equally. A map of more numbers than its share is averaged over
    areas to the finest grid that fits; one of more channels than its share is averaged over all places, then over
    neighbouring channels. Vectors stay as they are.

    Args:
        features: float (B, C, H, W) or (B, d) each.

    Returns:
        float (B, n), the features one after the other.
    """
    return torch.cat([_flat(values, _MOST_NUMBERS // len(features)) for values in features], dim=1)


def _flat(values: Tensor, most: int) -> Tensor:
    if values.ndim == 2 or values[0].numel() <= most:
        return values.flatten(1)
    channels, height, width = values.shape[1:]
    if channels > most:
        return functional.adaptive_avg_pool1d(values.mean((2, 3))[:, None], most).flatten(1)
    rows = min(height, math.isqrt(most // channels))
    return functional.adaptive_avg_pool2d(values, (rows, min(width, most // channels // rows))).flatten(1)
