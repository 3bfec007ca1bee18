"""The share of anomalies among the test images, without labels, by the sharpest score that is still sound."""

from math import sqrt

import numpy as np

from ensemble_ad.blend.auto import fit_auto
from ensemble_ad.blend.rule import total_score
from ensemble_ad.statistics import Estimate, separation_many
from ensemble_ad.statistics.arrays import Floats, Floats64
from ensemble_ad.statistics.estimate import two_sided_quantile
from ensemble_ad.statistics.implied import LEVEL

# So many rows and columns make the estimate sharp, and still take less than a second.
_ROWS = 5_000
_COLUMNS = 50
_LEAST_ROWS = 40
# A threshold is charged so many standard errors: at a low one the ratio is right, but few images lie below it.
_SURE = 3.0
_Sides = tuple[Floats, Floats]
"""Scores of the reference and of the test images, a column a kind of error."""
_Excess = tuple[Floats64, Floats64]
"""What `_excess` gives: values and standard errors, a threshold each."""


def crossfit_share(reference: Floats, test: Floats) -> Estimate | None:
    """The share of anomalies among the test images, by the sharpest score that is still sound.

    Where no anomaly scores below a threshold t, F_test(t) / F_reference(t) = 1 - p (see `statistics.estimate_share`).
    A score that was fitted to tell test from reference sees a difference in the very images that it was fitted on,
    anomalies or not, and a single member or a flat mean finds fewer anomalies. So the rule `auto` is fitted on one half
    of both sides and scores the other half, and the other way round. The threshold is chosen on one half's scores,
    among shares of the reference that lie below it, where 1 - F_test / F_reference less three standard errors is
    largest; the ratio is read off the other half's scores, since the least of many noisy ratios is too small and one
    that was chosen elsewhere is not. The blend's method plays no part: blends of the same members tell the same share.

    Args:
        reference: (n, m) scores of held-out normal images, finite; higher = more anomalous.
        test: (k, m) scores of the test images.

    Returns:
        The mean of both halves, not below 0; None where a side has fewer than 40 images. Its standard error is that of
        one ratio, since the choice of rule and threshold takes away what averaging two brings, or half their difference
        where that is larger. Anomalies that score as normal images do are not counted, and a test set whose normal
        images differ from the reference counts them. Of more than 5,000 images a side, and of more than 50 columns, as
        many are used: images drawn with a fixed seed, columns by their separation within the fitted half.
    """
    if min(len(reference), len(test)) < _LEAST_ROWS:
        return None
    rng = np.random.default_rng(0)
    halves = [np.array_split(rng.permutation(len(side))[:_ROWS], 2) for side in (reference, test)]
    sides = [(reference[halves[0][half]], test[halves[1][half]]) for half in (0, 1)]
    curves = [_excess(*_scored(sides[fitted], sides[1 - fitted])) for fitted in (0, 1)]
    (one, one_error), (two, two_error) = _chosen_by(curves[0], curves[1]), _chosen_by(curves[1], curves[0])
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


def _scored(fitted: _Sides, scored: _Sides) -> tuple[Floats64, Floats64]:
    """Scores (r,) and (s,) of the `scored` images of both sides, by the rule `auto` of the `fitted` ones."""
    low, high = fitted
    columns = np.arange(low.shape[1])
    if len(columns) > _COLUMNS:
        order = np.argsort(-separation_many(low, high).value, kind="stable")
        columns = np.sort(order[:_COLUMNS])
    rule = fit_auto(low[:, columns], high[:, columns])
    reference, test = (total_score(rule.parts, side[:, columns]) for side in scored)
    return reference, test


def _chosen_by(curve: _Excess, other: _Excess) -> tuple[float, float]:
    """The excess and its standard error of `other`, at the threshold where `curve` says that the excess is largest."""
    (here, error_here), (there, error_there) = curve, other
    best = int(np.argmax(np.where(np.isfinite(error_there), here - _SURE * error_here, -np.inf)))
    return float(there[best]), float(error_there[best])


def _excess(reference: Floats64, test: Floats64) -> _Excess:
    """1 - F_test / F_reference at 1%, 2%, ... 99% of the reference, and its standard error.

    The error is infinite where fewer than a tenth of the reference, or fewer than 10 of its images, lie below.
    """
    n, k = len(reference), len(test)
    thresholds = np.quantile(reference, np.arange(1, 100) / 100)
    of_reference = np.searchsorted(np.sort(reference), thresholds, side="right") / n
    of_test = np.searchsorted(np.sort(test), thresholds, side="right") / k
    # Half an image keeps the standard error above zero where no test image lies below the threshold.
    least = np.maximum(of_test, 0.5 / k)
    error = least / of_reference * np.sqrt((1 - least) / (least * k) + (1 - of_reference) / (of_reference * n))
    return 1 - of_test / of_reference, np.where(of_reference * n >= max(10, n / 10), error, np.inf)
