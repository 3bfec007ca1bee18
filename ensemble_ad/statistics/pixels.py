"""How well maps find where defects are: AUROC over pixels and AUPRO, in bounded memory for any number of images."""

import numpy as np
import numpy.typing as npt
from numpy.typing import ArrayLike

from ensemble_ad.errors import DataError, UsageError
from ensemble_ad.statistics.arrays import Bools, Floats64

MAX_FPR = 0.3
"""Up to which false positive rate AUPRO is taken, as in the paper."""
_BITS = 18  # of a float32's 32: scores that differ by less than 1/512 of themselves may count as equal
_BINS = 1 << _BITS


class PixelScores:
    """Counts of pixels by their score; images are added one by one, and 6 MB hold any number of them.

    Scores fall into the 2**18 bins of a float32's upper 18 bits, which keep the order of numbers of any size.
    """

    def __init__(self) -> None:
        self._normal = np.zeros(_BINS)
        self._anomalous = np.zeros(_BINS)
        self._overlap = np.zeros(_BINS)
        self._regions = 0

    def add(self, scores: ArrayLike, mask: ArrayLike) -> None:
        """Add an image.

        Args:
            scores: float (H, W), higher = more anomalous.
            mask: bool (H, W), True where the image is anomalous.

        Raises:
            DataError: for shapes that differ, or scores that are not finite.
        """
        from scipy.ndimage import label

        table, anomalous = np.asarray(scores, dtype=np.float32), np.asarray(mask, dtype=bool)
        if table.ndim != 2 or table.shape != anomalous.shape:
            raise DataError(f"a map and its mask must have one shape (H, W), got {table.shape} and {anomalous.shape}")
        if not np.isfinite(table).all():
            raise DataError("a map must be finite, and holds a number that is not: score the image again")
        bins = _bins(table)
        self._normal += np.bincount(bins[~anomalous], minlength=_BINS)
        if not anomalous.any():
            return
        found, count = label(anomalous, structure=np.ones((3, 3)))  # pixels hang together by corners too
        region = found[anomalous]
        sizes = np.bincount(region)
        inside = bins[anomalous]
        self._anomalous += np.bincount(inside, minlength=_BINS)
        self._overlap += np.bincount(inside, weights=1 / sizes[region], minlength=_BINS)
        self._regions += int(count)

    def auroc(self) -> float:
        """P(an anomalous pixel scores above a normal one), over all pixels of all images; equal scores count half.

        Raises:
            DataError: without normal or without anomalous pixels.
        """
        return _area(self._false_positive_rate(), _from_the_top(self._anomalous) / self._anomalous.sum(), 1.0)

    def aupro(self, max_fpr: float = MAX_FPR) -> float:
        """Area under the per-region overlap, up to a false positive rate, as a share of the largest there can be.

        The per-region overlap at a threshold is the mean, over the connected regions of all masks, of the share of a
        region that is above it: small defects count as much as large ones (Bergmann et al. 2020, CVPR,
        arXiv:1911.02357; 2021, IJCV 129). A map that says nothing reaches `max_fpr` / 2.

        Args:
            max_fpr: in (0, 1].

        Raises:
            DataError: without normal or without anomalous pixels.
            UsageError: unless 0 < max_fpr <= 1.
        """
        if not 0.0 < max_fpr <= 1.0:
            raise UsageError(f"max_fpr lies in (0, 1], got {max_fpr}: pass for example 0.3")
        rate = self._false_positive_rate()
        return _area(rate, _from_the_top(self._overlap) / self._regions, max_fpr) / max_fpr

    def _false_positive_rate(self) -> Floats64:
        if not self._regions or not self._normal.any():
            raise DataError("pixels need both classes: masks must have anomalous pixels, and images normal ones")
        return np.asarray(_from_the_top(self._normal) / self._normal.sum(), dtype=np.float64)


def _bins(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """The bin of each score, in the order of the scores."""
    bits = (scores + np.float32(0)).view(np.int32)  # there is one zero only
    # Of negative numbers the larger ones have the smaller bits.
    ordered = np.where(bits < 0, bits ^ np.int32(0x7FFFFFFF), bits).astype(np.int64)
    return (ordered >> (32 - _BITS)) + _BINS // 2


def _from_the_top(counts: Floats64) -> Floats64:
    """What lies above each threshold, from the highest to the lowest; 0 first."""
    return np.append(0.0, np.cumsum(counts[::-1]))


def _area(x: Floats64, y: Floats64, most: float) -> float:
    """The area under a rising curve from (0, 0), up to x = `most`."""
    inside: Bools = x <= most
    end = np.interp(most, x, y)
    return float(np.trapezoid(np.append(y[inside], end), np.append(x[inside], most)))
