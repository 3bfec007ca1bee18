"""How many of the test images are anomalies, estimated without labels."""

from __future__ import annotations

from math import log, sqrt

import numpy as np
from numpy.typing import ArrayLike

from ensemble_ad.statistics.estimate import Estimate, two_sided_quantile
from ensemble_ad.statistics.ranks import as_scores

MOST_ANOMALIES = 0.6
"""A test batch of more anomalies than that is less likely than one whose normal images differ from the reference."""
SURE = 0.99
"""Confidence of the lower bound on the share that a guard goes by."""


def implausible(reference: ArrayLike, test: ArrayLike, most: float = MOST_ANOMALIES) -> bool:
    """Whether scores speak, with 99% confidence, of a larger share of anomalies than `most`.

    They then see how the test set's normal images differ from the reference, and say little about anomalies.

    Args:
        reference: (n,) scores of normal images.
        test: (k,) scores of the unlabelled batch, higher = more anomalous.
        most: The largest share that is believed.

    Raises:
        DataError: NaN, empty, wrong dimensions.
    """
    return estimate_share(reference, test, level=SURE).low > most


def estimate_share(reference: ArrayLike, test: ArrayLike, level: float = 0.95) -> Estimate:
    """The share p of anomalies in the test batch: 1 - min over thresholds of F_test / F_reference.

    Test images are a mixture, F_T = (1 - p) F_V + p F_A, so at every threshold F_T / F_V >= 1 - p, with equality
    where no anomaly scores that low. The plain minimum over noisy ratios overshoots, so (after Blanchard, Lee and
    Scott 2010) thresholds need at least 10 reference images and a tenth of them below, and each ratio is charged
    one standard error; `low` charges the uniform Dvoretzky-Kiefer-Wolfowitz-Massart margins instead and is a sound
    lower bound on p where the test's normal images are like the reference. No upper bound is sound without labels
    (anomalies that look normal are invisible): `high` assumes that the score puts no anomaly below the chosen
    threshold.

    Args:
        reference: (n,) scores of normal images.
        test: (k,) scores of the unlabelled batch, higher = more anomalous.
        level: Of the interval.

    Raises:
        DataError: NaN, empty, wrong dimensions.
    """
    low_scores = np.sort(as_scores(reference, "reference", 1))
    high_scores = np.sort(as_scores(test, "test", 1))
    n, k = len(low_scores), len(high_scores)
    z = two_sided_quantile(level)
    thresholds = np.unique(low_scores)
    below_reference = np.searchsorted(low_scores, thresholds, side="right")
    below_test = np.searchsorted(high_scores, thresholds, side="right")
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
    margin_reference, margin_test = (sqrt(log(4 / (1 - level)) / (2 * size)) for size in (n, k))
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
