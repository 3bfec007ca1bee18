"""Where in its images a blend sees anomalies: each image's surprise, spread over its pixels by the members' errors.

A pixel is anomalous where its image is and where it stands out in it: P(pixel) = P(image) P(pixel | image). An image is
as surprising as the blend's conformal p value of it is small; a pixel's share is how large the members' errors are
there, beside those of the whole image. So a dark image, of which all errors are small, shows its crack as a bright one
does, and maps compare between images as the blend's scores do.

A member has two maps: its errors, in multiples of what is usual at each place, and how far the residuals of each area
are from those of the training images most like it. Each is told in multiples of its mean over the image, so that maps
of any scale can be added; a place that a member's crop has cut off counts as the mean. All members count alike, since
a blend's weights say who ranks images well, not who sees where; one that the blend has inverted counts against. The
mean is smoothed by a Gaussian whose standard deviation is a 64th of the side, as PaDiM's (Defard et al. 2021, ICPR) of
4 pixels is of 256. What each of this is worth is measured in benchmarks/maps.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ensemble_ad.data.images import Images
from ensemble_ad.data.preprocess import Preprocess, apply, undone
from ensemble_ad.families import Model
from ensemble_ad.statistics.arrays import Floats32, Floats64
from ensemble_ad.training.anomaly_maps import anomaly_maps, area_maps, usual_place
from ensemble_ad.training.references import Reference

AT_ONCE = 64
_SMOOTHING = 1 / 64
_TINY = 1e-12


@dataclass(frozen=True, kw_only=True)
class Guide:
    """A member that says where.

    Attributes:
        model: in evaluation mode, on its device.
        preprocess: the crop and size that it was trained on.
        flips: whether it looks at mirror images too.
        residual: where its training images' residuals lie; None of a family that does not reconstruct.
        inverted: whether the blend takes what it calls normal for anomalous.
    """

    model: Model
    preprocess: Preprocess
    flips: bool
    residual: Reference | None
    inverted: bool


def surprise(p: Floats64) -> Floats32:
    """How surprising images are by their p values: -ln p, float32 (n,), on average 1 where p is uniform (Fisher 1925).

    >>> surprise(np.array([1.0, 0.05, 0.001])).round(2).tolist()
    [0.0, 3.0, 6.91]
    """
    return np.log(1 / p).astype(np.float32)


def blended_shares(guides: Sequence[Guide], images: Images, device: torch.device) -> Floats32:
    """Which share of its image's anomaly each pixel has, by the members' maps.

    Args:
        guides: the members that have maps, at least one.
        images: uint8 (n, side, side, C).
        device: where the models are.

    Returns:
        float32 (n, side, side), at least 0, of which each image's mean is 1.
    """
    deviation = images.shape[1] * _SMOOTHING
    found = np.empty(images.shape[:3], dtype=np.float32)
    for start in range(0, len(images), AT_ONCE):
        block = images[start : start + AT_ONCE]
        shares = np.maximum(_smoothed(1 + _excess(guides, block, device), deviation), _TINY)
        found[start : start + AT_ONCE] = shares / shares.mean(axis=(1, 2), keepdims=True)
    return found


def _excess(guides: Sequence[Guide], images: Images, device: torch.device) -> Floats32:
    """How much larger the members' maps are than all over the image, their mean, float32 (n, side, side)."""
    total = np.zeros(images.shape[:3], dtype=np.float32)
    for guide in guides:
        maps = _maps(guide, images, device)
        for each in maps:
            whole = undone(each, guide.preprocess, images.shape[1], outside=np.nan)
            share = whole / np.maximum(np.nanmean(whole, axis=(1, 2), keepdims=True), _TINY)
            total += (-1 if guide.inverted else 1) * np.nan_to_num(share - 1) / len(maps)
    total /= len(guides)
    return total


def _maps(guide: Guide, images: Images, device: torch.device) -> list[Floats32]:
    """A member's maps of what it sees of images, float32 (n * tiles, height, width) each."""
    seen = torch.tensor(np.ascontiguousarray(apply(images, guide.preprocess))).to(device)
    errors = anomaly_maps(guide.model, seen, flips=guide.flips)
    if guide.residual is None:
        return [errors]
    place = usual_place(guide.residual, (errors.shape[1], errors.shape[2]))
    return [errors / place, area_maps(guide.model, seen, guide.residual, flips=guide.flips)]


def _smoothed(maps: Floats32, deviation: float) -> Floats32:
    from scipy.ndimage import gaussian_filter  # a tenth of a second, which scoring need not wait for

    smoothed: Floats32 = gaussian_filter(maps, (0, deviation, deviation), mode="nearest")
    return smoothed
