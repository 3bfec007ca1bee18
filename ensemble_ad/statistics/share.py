"""How many of the test images are anomalies, estimated without labels."""

from math import log, sqrt

import numpy as np
from numpy.typing import ArrayLike

from ensemble_ad.statistics.arrays import Bools, Floats, as_scores
from ensemble_ad.statistics.estimate import Estimate, two_sided_quantile
from ensemble_ad.statistics.implied import MOST_ANOMALIES

SURE = 0.99
"""Confidence of the lower bound on the share by which the guards judge."""
_BINS = 64


def implausible(reference: ArrayLike, test: ArrayLike, most: float = MOST_ANOMALIES) -> bool:
    """Whether scores speak, with 99% confidence, of a larger share of anomalies than `most`.

    Such scores see how the test set's normal images differ from the reference, and say little about anomalies.

    Args:
        reference: (n,) scores of normal images.
        test: (k,) scores of the unlabelled batch, higher = more anomalous.
        most: the largest share that is believed.

    Raises:
        DataError: for a NaN, an empty array, or wrong dimensions.
    """
    return estimate_share(reference, test, level=SURE).low > most


def implausible_ranks(reference: Floats, test: Floats, most: float = MOST_ANOMALIES) -> Bools:
    """`implausible` of each column of ranks in (0, 1), (n, m) and (k, m): bool (m,).

    Counts in 64 bins bound the share, and only columns that may be implausible by these are sorted.
    """
    columns = reference.shape[1]
    (n, upto), (k, before) = ((len(side), np.cumsum(_counted(side), axis=1)) for side in (reference, test))
    before = np.concatenate([np.zeros((columns, 1)), before[:, :-1]], axis=1)
    # Below a threshold within a bin lie no more reference images than up to its end, and no fewer test images than
    # before it.
    room = upto / n - _margin(n, SURE)
    found = np.asarray((before / k + _margin(k, SURE) < (1 - most) * room).any(axis=1))
    for column in np.flatnonzero(found):
        found[column] = implausible(reference[:, column], test[:, column], most)
    return found


def _counted(ranks: Floats) -> Floats:
    """(m, 64): how many ranks (n, m) in (0, 1) lie in each of 64 bins of one width."""
    columns = ranks.shape[1]
    place = (ranks * _BINS).astype(np.intp) + _BINS * np.arange(columns)
    return np.bincount(place.ravel(order="K"), minlength=_BINS * columns).reshape(columns, _BINS).astype(np.float64)


def _margin(size: int, level: float) -> float:
    """By so much, with confidence `level`, two distribution functions of samples are off at most."""
    return sqrt(log(4 / (1 - level)) / (2 * size))


def estimate_share(reference: ArrayLike, test: ArrayLike, level: float = 0.95) -> Estimate:
    """The share p of anomalies in the test batch: 1 - min over thresholds of F_test / F_reference.

    The scores of the test images T are a mixture of those of normal images (the reference V) and of anomalies (A),
    F_T = (1 - p) F_V + p F_A. So F_T / F_V >= 1 - p at every threshold, with equality where no anomaly scores that low.
    The least of many noisy ratios is too small. Therefore (after Blanchard, Lee and Scott 2010) a threshold needs at
    least 10 reference images and a tenth of them below it, and one standard error is added to each ratio.

    `low` adds the uniform margins of Dvoretzky, Kiefer, Wolfowitz and Massart instead: a sound lower bound on p where
    the test's normal images are like the reference. No upper bound is sound without labels, since anomalies that look
    normal are invisible: `high` assumes that no anomaly scores below the chosen threshold.

    Args:
        reference: (n,) scores of normal images.
        test: (k,) scores of the unlabelled batch, higher = more anomalous.
        level: confidence level of the interval, in (0, 1).

    Raises:
        DataError: for a NaN, an empty array, or wrong dimensions.
        UsageError: unless 0 < level < 1.
    """
    sorted_reference = np.sort(as_scores(reference, "reference", 1))
    sorted_test = np.sort(as_scores(test, "test", 1))
    n, k = len(sorted_reference), len(sorted_test)
    z = two_sided_quantile(level)
    thresholds = np.unique(sorted_reference)
    below_reference = np.searchsorted(sorted_reference, thresholds, side="right")
    below_test = np.searchsorted(sorted_test, thresholds, side="right")
    usable = below_reference >= min(n, max(10, int(np.ceil(n / 10))))
    share_reference = below_reference[usable] / n
    # Half an image keeps the standard error above zero where no test image lies below the threshold.
    share_test = np.maximum(below_test[usable], 0.5) / k
    ratio = below_test[usable] / k / share_reference
    error = np.maximum(share_test / share_reference, 1e-12) * np.sqrt(
        np.maximum(1 - share_test, 0) / (share_test * k) + (1 - share_reference) / (share_reference * n)
    )
    best = int(np.argmax(1 - ratio - error))
    value = float(np.clip(1 - ratio[best] - error[best], 0.0, 1.0))
    margin_reference, margin_test = _margin(n, level), _margin(k, level)
    room = share_reference - margin_reference
    with np.errstate(divide="ignore"):
        bound = np.where(room > 0, (below_test[usable] / k + margin_test) / np.maximum(room, 1e-12), np.inf)
    low = float(np.clip(1 - bound.min(), 0.0, value))
    high = float(np.clip(1 - ratio[best] + z * error[best], value, 1.0))
    return Estimate(
        value=value,
        low=low,
        high=high,
        standard_error=float(error[best]),
        level=level,
        method="1 - min F_test / F_reference, charged one standard error",
        note="an estimate without labels",
    )
