"""How far a reconstruction is from its image: error kinds, higher = more anomalous, and training losses."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

_WINDOW = 7
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
    """1 - mean SSIM over uniform 7x7 windows, for values in [-1, 1] (Wang et al. 2004, IEEE TIP 13(4))."""
    # The paper's constants for a data range L of 2: (0.01 L)^2 and (0.03 L)^2.
    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    # By the sum and the difference of the two images, whose squares give all products: four maps instead of five.
    both = torch.cat([image + reconstruction, image - reconstruction])
    means, squares = (_sums_of_seven(_sums_of_seven(torch.cat([both, both * both]), 3), 2) / _WINDOW**2).chunk(2)
    # SSIM is published with the sample (co)variance.
    means = means * means
    variances = (squares - means) * (_WINDOW**2 / (_WINDOW**2 - 1) / 2)
    (mean_sum, mean_difference), (sum_, difference) = (means / 2).chunk(2), variances.chunk(2)
    similarity = (mean_sum - mean_difference + c1) * (sum_ - difference + c2)
    similarity = similarity / ((mean_sum + mean_difference + c1) * (sum_ + difference + c2))
    return 1 - similarity.flatten(1).mean(1)


def _sums_of_seven(values: Tensor, dim: int) -> Tensor:
    """Sums of seven neighbours along `dim`, which gets shorter by six.

    They are made by doubling: four additions for a number, so that 7x7 take eight, and `avg_pool2d` takes 49.
    """
    length = values.shape[dim]
    two = values.narrow(dim, 0, length - 1) + values.narrow(dim, 1, length - 1)
    four = two.narrow(dim, 0, length - 3) + two.narrow(dim, 2, length - 3)
    end = length - _WINDOW + 1
    return four.narrow(dim, 0, end) + two.narrow(dim, 4, end) + values.narrow(dim, 6, end)


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
