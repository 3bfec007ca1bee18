"""How far a reconstruction is from its image: error kinds, higher = more anomalous, and training losses."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

_WINDOW = 7
# SSIM's constants for a data range L of 2: (0.01 L)^2 and (0.03 L)^2.
_C1, _C2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
# Numbers of the images whose SSIM is computed at a time: a dozen maps of them fit into a processor's cache.
_AT_ONCE, _AT_ONCE_ON_GPU = 1 << 17, 1 << 25
_TOP_SHARE = 0.1
GRID = 8


def root_sum_squares(image: Tensor, reconstruction: Tensor) -> Tensor:
    """Root of the summed squared error, which the ML2022 course's code scores by."""
    return (image - reconstruction).square().flatten(1).sum(1).sqrt()


def mean_absolute(image: Tensor, reconstruction: Tensor) -> Tensor:
    """Mean absolute error, which a few bad pixels move less."""
    return (image - reconstruction).abs().flatten(1).mean(1)


def top_absolute(image: Tensor, reconstruction: Tensor) -> Tensor:
    """Mean of the largest tenth of the absolute errors: for anomalies that fill little of the image."""
    error = (image - reconstruction).abs().flatten(1)
    return error.topk(max(1, int(error.shape[1] * _TOP_SHARE)), dim=1, sorted=False).values.mean(1)


def gradient(image: Tensor, reconstruction: Tensor) -> Tensor:
    """Root of the summed squared error of the horizontal and vertical differences: edges, whatever the brightness."""
    error = image - reconstruction
    across, down = error.diff(dim=3), error.diff(dim=2)
    return (across.square().flatten(1).sum(1) + down.square().flatten(1).sum(1)).sqrt()


def structural_dissimilarity(image: Tensor, reconstruction: Tensor) -> Tensor:
    """1 - mean SSIM over uniform 7x7 windows, for values in [-1, 1] (Wang et al. 2004, IEEE TIP 13(4)).

    Where no gradients are wanted, a few images are taken at a time, so that all maps stay in the processor's cache.
    """
    if torch.is_grad_enabled():
        return _dissimilarity(image, reconstruction)
    most = _AT_ONCE if image.device.type == "cpu" else _AT_ONCE_ON_GPU
    count = max(1, most // max(1, image[:1].numel()))
    parts = zip(torch.split(image, count), torch.split(reconstruction, count), strict=True)
    return torch.cat([_dissimilarity(*part) for part in parts])


def _dissimilarity(image: Tensor, reconstruction: Tensor) -> Tensor:
    n = _WINDOW**2
    # By the sum and the difference of the two images, whose squares give all products: four maps instead of five.
    total, away = image + reconstruction, image - reconstruction
    sums, squares = _window_sums(torch.cat([total, away, total * total, away * away])).chunk(2)
    (of_total, of_away), (total_square, away_square) = (sums * sums).chunk(2), squares.chunk(2)
    # Numerators and denominators of the two factors, all times 2 n^2 or, since SSIM is published with the sample
    # (co)variance, 2 (n - 1). Only fresh maps are changed in place.
    light, light_most = of_total - of_away, of_total + of_away
    spread = (total_square - away_square).sub_(light, alpha=1 / n).add_(2 * (n - 1) * _C2)
    spread_most = (total_square + away_square).sub_(light_most, alpha=1 / n).add_(2 * (n - 1) * _C2)
    light.add_(2 * n**2 * _C1)
    light_most.add_(2 * n**2 * _C1)
    similarity = light * spread / (light_most * spread_most)
    return 1 - similarity.flatten(1).mean(1)


def _window_sums(maps: Tensor) -> Tensor:
    """Sums over all windows of 7x7, (B, C, H - 6, W - 6)."""
    return _sums_of_seven(_sums_of_seven(maps, 3), 2) if maps.device.type == "cpu" else _pooled_sums(maps)


def _pooled_sums(maps: Tensor) -> Tensor:
    """The same; a GPU has the neighbours in its cache, and pools maps faster that lie one after the other."""
    return functional.avg_pool2d(maps.contiguous(), _WINDOW, 1) * _WINDOW**2


def _sums_of_seven(values: Tensor, dim: int) -> Tensor:
    """Sums of seven neighbours along `dim`, which gets shorter by six.

    They are made by doubling: four additions for a number, so that 7x7 take eight, and `avg_pool2d` takes 49.
    """
    end = values.shape[dim] - _WINDOW + 1
    two = values.narrow(dim, 0, end + 4) + values.narrow(dim, 1, end + 4)
    four = two.narrow(dim, 0, end) + two.narrow(dim, 2, end)
    return four.add_(two.narrow(dim, 4, end)).add_(values.narrow(dim, 6, end))


def residual_grid(image: Tensor, reconstruction: Tensor) -> Tensor:
    """Where an image is brighter or darker than its reconstruction, and where unlike it, by the areas of an 8x8 grid.

    Returns:
        float (B, 64 C + 64): the mean error of each channel, and the mean absolute error, of each area.
    """
    error = image - reconstruction
    parts = (error, error.abs().mean(1, keepdim=True))
    return torch.cat([functional.adaptive_avg_pool2d(part, GRID).flatten(1) for part in parts], dim=1)


ERROR_KINDS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "rss": root_sum_squares,
    "mae": mean_absolute,
    "top": top_absolute,
    "gradient": gradient,
    "ssim": structural_dissimilarity,
}
"""Each function takes images and reconstructions, float (B, C, H, W) in [-1, 1], and gives float (B,)."""


def mse_loss(image: Tensor, reconstruction: Tensor) -> Tensor:
    """Mean squared error."""
    return functional.mse_loss(reconstruction, image)


def l1_loss(image: Tensor, reconstruction: Tensor) -> Tensor:
    """Mean absolute error."""
    return functional.l1_loss(reconstruction, image)


def ssim_loss(image: Tensor, reconstruction: Tensor) -> Tensor:
    """Mean structural dissimilarity."""
    return structural_dissimilarity(image, reconstruction).mean()


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mse": mse_loss, "l1": l1_loss, "ssim": ssim_loss}
"""What training minimises: each function takes images and reconstructions, float (B, C, H, W), and gives a scalar."""
