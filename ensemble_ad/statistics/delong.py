"""AUC and separation, with DeLong's standard errors and paired tests."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import erfc, sqrt

import numpy as np
from numpy.typing import ArrayLike

from ensemble_ad.errors import DataError
from ensemble_ad.statistics.arrays import Bools, Floats, Floats64, as_labels, as_scores, check_paired
from ensemble_ad.statistics.estimate import Comparison, Estimate, probability_estimate, two_sided_quantile
from ensemble_ad.statistics.ranks import CHUNK_NUMBERS, placement_moments, placements

# A cache line of float32 where rows lie together: fewer columns at a time would read the whole table more than once.
_LEAST_COLUMNS = 16

_ByColumn = tuple[Floats, Floats]
"""Scores of the negatives (c, n0) and of the positives (c, n1), a row a column of the table."""


@dataclass(frozen=True, kw_only=True)
class AucColumns:
    """AUCs of m columns on the same images.

    Attributes:
        value: (m,) AUC.
        standard_error: (m,) DeLong's standard error (0 where a column separates completely: see `estimate`).
        negatives, positives: number of images of each class.
    """

    value: Floats64
    standard_error: Floats64
    negatives: int
    positives: int

    def estimate(self, column: int, level: float = 0.95) -> Estimate:
        """The Estimate of one column, as `auc` would give it."""
        smaller = min(self.negatives, self.positives)
        variance = float(self.standard_error[column]) ** 2
        return probability_estimate(float(self.value[column]), variance, smaller, level, "DeLong")


def auc(label: ArrayLike, score: ArrayLike, level: float = 0.95) -> Estimate:
    """Area under the ROC curve: P(an anomaly scores above a normal image), ties one half.

    Mann-Whitney's statistic by midranks; the standard error of DeLong, DeLong and Clarke-Pearson (1988) in the fast
    form of Sun and Xu (2014); an interval on the logit scale, and an honest one at exactly 0 or 1 (see
    `probability_estimate`).

    Args:
        label: (n,) of 0 and 1 (or bool), 1 = anomaly.
        score: (n,) anomaly scores, higher = more anomalous. Infinities rank like any number, NaN is refused.
        level: confidence level of the interval, in (0, 1).

    Raises:
        DataError: for a NaN, an empty array, another length, wrong dimensions, or one class only.
        UsageError: unless 0 < level < 1.

    >>> print(auc([0, 0, 0, 0, 1, 1, 1, 1], [0.1, 0.2, 0.3, 0.6, 0.4, 0.5, 0.7, 0.8]))
    0.875 [0.345, 0.989]
    """
    check_paired(label, score, "label and score")
    values = as_scores(score, "score", 1)
    flags = as_labels(label, len(values))
    return separation(values[~flags], values[flags], level)


def separation(reference: ArrayLike, test: ArrayLike, level: float = 0.95) -> Estimate:
    """A = P(test score > reference score) + half the ties: the AUC between two sets of images.

    Where the reference are held-out normal images, the test is an unlabelled batch with a share p of anomalies, and
    the normal images of both are alike, A = 0.5 + p (AUC - 0.5) (Menon et al. 2015; Jain et al. 2017). So A ranks
    scores as the AUC would.

    Args:
        reference: (n,) scores of normal images that the model was not trained on.
        test: (k,) scores of unlabelled images.
        level: confidence level of the interval, in (0, 1).

    Raises:
        DataError: for a NaN, an empty array, or wrong dimensions.
        UsageError: unless 0 < level < 1.

    >>> separation([0.1, 0.2, 0.3], [0.25, 0.3, 0.9]).value
    0.8333333333333334
    """
    negative = as_scores(reference, "reference", 1)
    positive = as_scores(test, "test", 1)
    value, of_positive, of_negative = placement_moments(negative, positive)
    variance = of_positive / len(positive) + of_negative / len(negative)
    return probability_estimate(value, variance, min(len(negative), len(positive)), level, "DeLong")


def auc_many(label: ArrayLike, scores: ArrayLike) -> AucColumns:
    """AUC and DeLong's standard error of every column of `scores` (n, m).

    Some columns are ranked at a time, so it takes little more memory than `scores` do.

    Raises:
        DataError: as for `auc`; for a NaN the message names its column.
    """
    check_paired(label, scores, "label and scores")
    table = as_scores(scores, "scores", 2)
    flags = as_labels(label, len(table))
    return _many(table.shape[1], int((~flags).sum()), int(flags.sum()), _by_label(table, flags))


def separation_many(reference: ArrayLike, test: ArrayLike) -> AucColumns:
    """Separation and DeLong's standard error of every column: reference (n, m) against test (k, m).

    Raises:
        DataError: as for `separation`, and for another number of columns; for a NaN the message names its column.
    """
    negative = as_scores(reference, "reference", 2)
    positive = as_scores(test, "test", 2)
    _same_columns(negative, positive)

    def pick(part: slice) -> _ByColumn:
        return _contiguous(negative[:, part]), _contiguous(positive[:, part])

    return _many(negative.shape[1], len(negative), len(positive), pick)


def _many(columns: int, negatives: int, positives: int, pick: Callable[[slice], _ByColumn]) -> AucColumns:
    """AUCs of all columns; `pick` gives the scores of some at a time."""
    value, variance = np.empty(columns), np.empty(columns)
    for part in _column_chunks(columns, negatives + positives):
        for column, (negative, positive) in enumerate(zip(*pick(part), strict=True), start=part.start):
            value[column], of_positive, of_negative = placement_moments(negative, positive)
            variance[column] = of_positive / positives + of_negative / negatives
    return AucColumns(value=value, standard_error=np.sqrt(variance), negatives=negatives, positives=positives)


def _by_label(table: Floats, label: Bools) -> Callable[[slice], _ByColumn]:
    """Gives the two classes' scores of some columns of a table (n, m)."""

    def pick(part: slice) -> _ByColumn:
        rows = _contiguous(table[:, part])
        return rows[:, ~label], rows[:, label]

    return pick


def _contiguous(columns: Floats) -> Floats:
    """Columns (n, c) as rows (c, n), each in one piece of memory."""
    return np.ascontiguousarray(columns.T)


def compare_auc(label: ArrayLike, a: ArrayLike, b: ArrayLike, level: float = 0.95) -> Comparison:
    """DeLong's paired test of whether two scores have different AUCs on the same images.

    Args:
        label: (n,) of 0 and 1, 1 = anomaly.
        a, b: (n,) anomaly scores, higher = more anomalous.
        level: confidence level of the difference's interval, in (0, 1).

    Raises:
        DataError: as for `auc`.
        UsageError: unless 0 < level < 1.

    >>> label = [0, 0, 0, 0, 1, 1, 1, 1]
    >>> print(compare_auc(label, [1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 3, 6, 4, 5, 7, 8]))
    +0.125 [-0.158, +0.408], p = 0.39
    """
    for one, other, names in ((label, a, "label and a"), (label, b, "label and b"), (a, b, "a and b")):
        check_paired(one, other, names)
    first, second = as_scores(a, "a", 1), as_scores(b, "b", 1)
    if len(first) != len(second):
        raise DataError(f"a and b have to have one length, got {len(first)} and {len(second)}: align them by id")
    flags = as_labels(label, len(first))
    rows = np.stack([first.astype(np.float64), second.astype(np.float64)])
    of_positive, of_negative = placements(rows[:, ~flags], rows[:, flags])
    on_positive, on_negative = of_positive[0] - of_positive[1], of_negative[0] - of_negative[1]
    difference = float(on_positive.mean())
    variance = float((_variance_of_means(on_positive[None, :]) + _variance_of_means(on_negative[None, :]))[0])
    z = two_sided_quantile(level)
    if np.isnan(variance):  # one image of a class: Birnbaum and Klose's bound, as if the AUCs were independent
        smaller = int(min(flags.sum(), (~flags).sum()))
        variance = 0.5 / smaller
    error = sqrt(variance)
    return Comparison(
        difference=difference,
        low=max(-1.0, difference - z * error),
        high=min(1.0, difference + z * error),
        standard_error=error,
        p_value=float(two_sided_p(np.array([difference]), np.array([error]))[0]),
        level=level,
    )


def two_sided_p(difference: Floats64, error: Floats64) -> Floats64:
    """P values (m,) of differences (m,) with standard errors (m,); 1 where there is no difference and no error."""
    ratio = np.divide(np.abs(difference), error, out=np.full(len(error), np.inf), where=error > 0)
    ratio[(error == 0) & (np.abs(difference) < 1e-12)] = 0.0
    # 2 Phi(-z), without the import of scipy.
    return np.array([erfc(z / sqrt(2)) for z in ratio.tolist()])


def paired_differences(label: Bools, scores: Floats, best: int) -> tuple[Floats64, Floats64]:
    """Every column's AUC minus column `best`'s, and DeLong's standard errors of these differences; both (m,)."""
    columns = scores.shape[1]
    difference, variance = np.empty(columns), np.empty(columns)
    pick = _by_label(scores, label)
    best_positive, best_negative = placements(*pick(slice(best, best + 1)))
    for part in _column_chunks(columns, len(scores)):
        negative, positive = pick(part)
        for some in _column_chunks(len(negative), len(scores), least=1):
            of_positive, of_negative = placements(negative[some], positive[some])
            of_positive -= best_positive
            of_negative -= best_negative
            place = slice(part.start + some.start, part.start + some.stop)
            difference[place] = of_positive.mean(axis=1)
            variance[place] = _variance_of_means(of_positive) + _variance_of_means(of_negative)
    return difference, np.sqrt(variance)


def _variance_of_means(rows: Floats64) -> Floats64:
    """Variance (m,) of the mean of each row (m, n); nan for a single image."""
    length = rows.shape[1]
    if length < 2:
        return np.full(len(rows), np.nan)
    result: Floats64 = rows.var(axis=1, ddof=1) / length
    # Rounding leaves some 1e-34 where all components are equal, and that is no variance.
    result[result < 1e-30] = 0.0
    return result


def _column_chunks(columns: int, length: int, least: int = _LEAST_COLUMNS) -> Iterator[slice]:
    """Slices of some columns at a time, each column `length` numbers long."""
    width = max(least, CHUNK_NUMBERS // length)
    for start in range(0, columns, width):
        yield slice(start, min(columns, start + width))


def _same_columns(reference: Floats, test: Floats) -> None:
    if reference.shape[1] != test.shape[1]:
        raise DataError(
            "reference and test have to have the same columns, one a member, "
            f"got {reference.shape[1]} and {test.shape[1]}: pass the same members to both"
        )
