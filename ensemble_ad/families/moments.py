"""The mean and the covariance of images, summed up in float64 batch by batch."""

from collections.abc import Iterable

import torch
from torch import Tensor


def moments(batches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """float64 mean (d,) and covariance (d, d) of batches of images, each of d numbers.

    Raises:
        ValueError: if there are no images.
    """
    count = 0
    total: Tensor | None = None
    products: Tensor | None = None
    for batch in batches:
        flat = batch.flatten(1).double()
        count += len(flat)
        total = flat.sum(0) if total is None else total.add_(flat.sum(0))
        products = flat.T @ flat if products is None else products.addmm_(flat.T, flat)
    if total is None or products is None:
        raise ValueError("there are no images")
    mean = total / count
    return mean, products / count - torch.outer(mean, mean)
