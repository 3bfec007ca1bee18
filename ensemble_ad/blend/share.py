"""The share of anomalies among the test images, without labels, by the sharpest score that is still sound."""

from math import sqrt

import numpy as np
import numpy.typing as npt

from ensemble_ad.blend.auto import fit_auto
from ensemble_ad.blend.rule import total_score
from ensemble_ad.statistics import Estimate, separation_many
from ensemble_ad.statistics.estimate import two_sided_quantile
from ensemble_ad.statistics.implied import LEVEL

# Of the cross-fitted share: what makes it sharp, and still takes less than a second.
_SHARE_ROWS = 5_000
_SHARE_COLUMNS = 50
_SHARE_LEAST_ROWS = 40
_SHARE_SURE = 3.0  # standard errors that a threshold is charged: a low one is right, but sees few images
Floats = npt.NDArray[np.float64]


def crossfit_share(reference: npt.NDArray[np.floating], test: npt.NDArray[np.floating]) -> Estimate | None:
    """The share of anomalies among the test images, without labels, by the sharpest score that is still sound.

    Where no anomaly scores below a threshold t, F_test(t) / F_reference(t) = 1 - p (see `statistics.estimate_share`).
    A score that was fitted to tell test from reference sees a difference in the very images that it was fitted on,
    anomalies or not, and a single member or a flat mean finds fewer of them. So the rule `auto` is fitted on one half
    of both sides and scores the other, and the other way round. The threshold is chosen on one half's scores, in
    shares of the reference below it and where 1 - F_test / F_reference less three standard errors is largest, and the
    ratio is read off the other half's: the least of many noisy ratios is too small, one that was chosen elsewhere is
    not. The method of the blend plays no part, so blends of the same members tell the same share.

    Args:
        reference: (n, m) scores of held-out normal images, finite; higher = more anomalous.
        test: (k, m) scores of the test images.

    Returns:
        The mean of both halves, not below 0; None where a side has fewer than 40 images. Its standard error is that of
        one ratio, since the choice of rule and threshold takes away what averaging two brings, or half their difference
        where that is larger. Anomalies that score as normal images do are
        not in it, and a test set whose normal images differ from the reference is. Of more than 5,000 images a side,
        and 50 columns, as many are used: images drawn with a fixed seed, columns by separation within the fitted half.
    """
    if min(len(reference), len(test)) < _SHARE_LEAST_ROWS:
        return None
    rng = np.random.default_rng(0)
    halves = [np.array_split(rng.permutation(len(side))[:_SHARE_ROWS], 2) for side in (reference, test)]
    curves = []
    for fitted, scored in ((0, 1), (1, 0)):
        low, high = reference[halves[0][fitted]], test[halves[1][fitted]]
        some = np.arange(low.shape[1])
        if len(some) > _SHARE_COLUMNS:
            order = np.argsort(-separation_many(low, high).value, kind="stable")
            some = np.sort(order[:_SHARE_COLUMNS])
        rule = fit_auto(low[:, some], high[:, some])
        base = total_score(rule.parts, reference[np.ix_(halves[0][scored], some)])
        curves.append(_excess(base, total_score(rule.parts, test[np.ix_(halves[1][scored], some)])))
    found = []
    for (here, error_here), (there, error_there) in (curves, curves[::-1]):
        chosen = int(np.argmax(np.where(np.isfinite(error_there), here - _SHARE_SURE * error_here, -np.inf)))
        found.append((float(there[chosen]), float(error_there[chosen])))
    (one, one_error), (two, two_error) = found
    value = min(1.0, max(0.0, (one + two) / 2))
    error = max(sqrt((one_error**2 + two_error**2) / 2), abs(one - two) / 2)
    half = two_sided_quantile(LEVEL) * error
    return Estimate(
        value=value,
        low=max(0.0, value - half),
        high=min(1.0, value + half),
        standard_error=error,
        level=LEVEL,
        method="1 - F_test / F_reference, rule and threshold cross-fitted",
        note="an estimate without labels",
    )


def _excess(reference: Floats, test: Floats) -> tuple[Floats, Floats]:
    """1 - F_test / F_reference at 1%, 2%, ... 99% of the reference, and its standard error.

    Infinite where fewer than a tenth of the reference, or 10 of it, lie below.
    """
    n, k = len(reference), len(test)
    thresholds = np.quantile(reference, np.arange(1, 100) / 100)
    of_reference = np.searchsorted(np.sort(reference), thresholds, side="right") / n
    of_test = np.searchsorted(np.sort(test), thresholds, side="right") / k
    # Half an image keeps the standard error above zero where no test image lies below the threshold.
    least = np.maximum(of_test, 0.5 / k)
    error = least / of_reference * np.sqrt((1 - least) / (least * k) + (1 - of_reference) / (of_reference * n))
    return 1 - of_test / of_reference, np.where(of_reference * n >= max(10, n / 10), error, np.inf)
