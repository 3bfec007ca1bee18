"""Numbers read off the ROC and precision-recall curves, as scikit-learn defines them."""

import numpy as np
from numpy.typing import ArrayLike

from ensemble_ad.errors import UsageError
from ensemble_ad.statistics.arrays import Floats64, as_labels, as_scores, check_paired


def roc_counts(label: ArrayLike, score: ArrayLike) -> tuple[Floats64, Floats64]:
    """Counts of false and of true positives at each distinct threshold, from high to low; both (t + 1,), 0 first."""
    check_paired(label, score, "label and score")
    values = as_scores(score, "score", 1)
    flags = as_labels(label, len(values))
    order = np.argsort(values)[::-1]  # the order within a group of ties does not matter
    ordered, truth = values[order], flags[order]
    last = np.append(ordered[1:] != ordered[:-1], True)
    true_positive = np.cumsum(truth)[last].astype(np.float64)
    false_positive = np.cumsum(~truth)[last].astype(np.float64)
    return np.append(0.0, false_positive), np.append(0.0, true_positive)


def average_precision(label: ArrayLike, score: ArrayLike) -> float:
    """Sum over thresholds of precision times the gain in recall (scikit-learn's `average_precision_score`).

    Chance is the share of anomalies, not 0.5.

    Raises:
        DataError: as for `auc`.
    """
    false_positive, true_positive = roc_counts(label, score)
    precision = true_positive[1:] / (true_positive[1:] + false_positive[1:])
    return float(np.sum(np.diff(true_positive) * precision) / true_positive[-1])


def fpr_at_tpr(label: ArrayLike, score: ArrayLike, tpr: float = 0.95) -> float:
    """Smallest false positive rate at which at least a share `tpr` of the anomalies is found.

    0 is best, chance is about `tpr`. Only thresholds that occur are used, without interpolation.

    Raises:
        DataError: as for `auc`.
        UsageError: unless 0 < tpr <= 1.
    """
    if not 0.0 < tpr <= 1.0:
        raise UsageError(f"tpr lies in (0, 1], got {tpr}: pass for example 0.95")
    false_positive, true_positive = roc_counts(label, score)
    reached = int(np.argmax(true_positive >= tpr * true_positive[-1] - 1e-9))
    return float(false_positive[reached] / false_positive[-1])


def partial_auc(label: ArrayLike, score: ArrayLike, max_fpr: float = 0.1) -> float:
    """AUC below the false positive rate `max_fpr`, standardised so that chance is 0.5 and perfect 1 (McClish 1989).

    The same number as scikit-learn's `roc_auc_score(max_fpr=...)`.

    Raises:
        DataError: as for `auc`.
        UsageError: unless 0 < max_fpr <= 1.
    """
    if not 0.0 < max_fpr <= 1.0:
        raise UsageError(f"max_fpr lies in (0, 1], got {max_fpr}: pass for example 0.1")
    false_positive, true_positive = roc_counts(label, score)
    fpr, tpr = false_positive / false_positive[-1], true_positive / true_positive[-1]
    stop = int(np.searchsorted(fpr, max_fpr, side="right"))
    edge = np.interp(max_fpr, fpr[stop - 1 : stop + 1], tpr[stop - 1 : stop + 1])
    area = float(np.trapezoid(np.append(tpr[:stop], edge), np.append(fpr[:stop], max_fpr)))
    if max_fpr == 1.0:
        return area
    least = max_fpr * max_fpr / 2
    return 0.5 * (1 + (area - least) / (max_fpr - least))
