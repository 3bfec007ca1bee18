"""Where in its images a blend sees anomalies: the maps of its members, added up by their weights.

Each member's map is told in multiples of its usual error, less the 1 that is usual, so that members of any scale can be
added and a place that a member's crop has cut off adds nothing. Members count by the sum of their columns' weights; a
column that the blend has inverted counts against. The sum is smoothed by a Gaussian whose standard deviation is a 64th
of the side, as PaDiM's (Defard et al. 2021, ICPR) of 4 pixels is of 256.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ensemble_ad.data.images import Images
from ensemble_ad.data.preprocess import Preprocess, apply, undone
from ensemble_ad.families import Model
from ensemble_ad.statistics.arrays import Floats32
from ensemble_ad.training.anomaly_maps import anomaly_maps

AT_ONCE = 64
_SMOOTHING = 1 / 64


@dataclass(frozen=True, kw_only=True)
class Guide:
    """A member that says where.

    Attributes:
        model: in evaluation mode, on its device.
        preprocess: the crop and size that it was trained on.
        flips: whether it looks at mirror images too.
        usual: float32 (height, width), its usual error; see `training.anomaly_maps.usual_error`.
        weight: what it counts; below 0 where the blend has inverted it.
    """

    model: Model
    preprocess: Preprocess
    flips: bool
    usual: Floats32
    weight: float


def blended_maps(guides: Sequence[Guide], images: Images, device: torch.device) -> Floats32:
    """The weighted sum of the members' maps of images.

    Args:
        guides: the members that have maps, at least one of them with a weight other than 0.
        images: uint8 (n, side, side, C).
        device: where the models are.

    Returns:
        float32 (n, side, side), in multiples of the usual error: about 1 on normal images, higher = more anomalous.
    """
    side = images.shape[1]
    found = np.empty(images.shape[:3], dtype=np.float32)
    for start in range(0, len(images), AT_ONCE):
        block = images[start : start + AT_ONCE]
        found[start : start + AT_ONCE] = 1 + _smoothed(_excess(guides, block, device), side * _SMOOTHING)
    return found


def _excess(guides: Iterable[Guide], images: Images, device: torch.device) -> Floats32:
    """How much more than usual the members' errors are, in usual errors, the weighted mean, float32 (n, side, side)."""
    total = np.zeros(images.shape[:3], dtype=np.float32)
    weights = 0.0
    for guide in guides:
        seen = torch.tensor(np.ascontiguousarray(apply(images, guide.preprocess))).to(device)
        more = anomaly_maps(guide.model, seen, flips=guide.flips) / guide.usual - 1
        total += guide.weight * undone(more, guide.preprocess, images.shape[1], outside=0.0)
        weights += abs(guide.weight)
    total /= weights
    return total


def _smoothed(maps: Floats32, deviation: float) -> Floats32:
    from scipy.ndimage import gaussian_filter  # a tenth of a second, which scoring need not wait for

    smoothed: Floats32 = gaussian_filter(maps, (0, deviation, deviation), mode="nearest")
    return smoothed
