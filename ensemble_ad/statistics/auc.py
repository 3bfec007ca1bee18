"""AUC and separation, with DeLong's errors, paired tests and a stratified bootstrap."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import erfc, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ensemble_ad.errors import DataError, UsageError
from ensemble_ad.statistics.estimate import Comparison, Estimate, probability_estimate, two_sided_quantile
from ensemble_ad.statistics.ranks import Floats, as_labels, as_scores, placement_moments, placements

_CHUNK_NUMBERS = 400_000  # numbers ranked at a time: the working arrays stay within a processor's cache
_LEAST_COLUMNS = 16  # a cache line of float32, where rows lie together: fewer would read the whole table more than once

Sides = tuple[NDArray[np.floating], NDArray[np.floating]]


@dataclass(frozen=True, kw_only=True)
class AucColumns:
    """AUCs of m columns on the same images.

    Attributes:
        value: (m,) AUC.
        standard_error: (m,) DeLong's standard error (0 where a column separates completely: see `estimate`).
        covariance: (m, m) DeLong's covariance where asked for, else None.
        negatives, positives: Images of each class.
    """

    value: Floats
    standard_error: Floats
    covariance: Floats | None
    negatives: int
    positives: int

    def estimate(self, column: int, level: float = 0.95) -> Estimate:
        """The Estimate of one column, as `auc` would give it."""
        smaller = min(self.negatives, self.positives)
        variance = float(self.standard_error[column]) ** 2
        return probability_estimate(float(self.value[column]), variance, smaller, level, "DeLong")


@dataclass(frozen=True, kw_only=True)
class BootstrapAuc:
    """Stratified bootstrap of m AUCs; every column saw the same resamples, so differences are paired.

    Attributes:
        value: (m,) AUC on all images.
        resampled: (n_resamples, m) AUC in each resample.
        low, high: (m,) percentile interval at `level`.
        standard_error: (m,) standard deviation over the resamples.
    """

    value: Floats
    resampled: Floats
    low: Floats
    high: Floats
    standard_error: Floats
    level: float = 0.95

    def difference(self, a: int, b: int) -> Estimate:
        """Column a's AUC minus column b's, with the percentile interval of the paired differences."""
        drawn = self.resampled[:, a] - self.resampled[:, b]
        value = float(self.value[a] - self.value[b])
        low, high = np.quantile(drawn, [(1 - self.level) / 2, (1 + self.level) / 2])
        return Estimate(
            value=value,
            low=min(float(low), value),
            high=max(float(high), value),
            standard_error=float(drawn.std(ddof=1)),
            level=self.level,
            method="stratified paired bootstrap",
        )


def auc(label: ArrayLike, score: ArrayLike, level: float = 0.95) -> Estimate:
    """Area under the ROC curve: P(an anomaly scores above a normal image), ties one half.

    Mann-Whitney by midranks; standard error by DeLong, DeLong and Clarke-Pearson (1988) in the fast form of Sun and
    Xu (2014); interval on the logit scale, and an honest one at exactly 0 or 1 (see `probability_estimate`).

    Args:
        label: (n,) 0 or 1 (or bool), 1 = anomaly.
        score: (n,) higher = more anomalous. Infinities rank; NaN does not.
        level: Confidence level.

    Raises:
        DataError: NaN, empty, another length, wrong dimensions, one class only.

    >>> print(auc([0, 0, 0, 0, 1, 1, 1, 1], [0.1, 0.2, 0.3, 0.6, 0.4, 0.5, 0.7, 0.8]))
    0.875 [0.345, 0.989]
    """
    values = as_scores(score, "score", 1)
    flags = as_labels(label, len(values))
    return separation(values[~flags], values[flags], level)


def separation(reference: ArrayLike, test: ArrayLike, level: float = 0.95) -> Estimate:
    """A = P(test score > reference score) + half the ties: the AUC between two sets of images.

    With held-out normal images as reference and an unlabelled batch with a share p of anomalies as test, and
    normals alike in both, A = 0.5 + p (AUC - 0.5) (Menon et al. 2015; Jain et al. 2017), so A ranks scores as the
    AUC would.

    Args:
        reference: (n,) scores of normal images that the model was not trained on.
        test: (k,) scores of unlabelled images.
        level: Confidence level.

    Raises:
        DataError: NaN, empty, wrong dimensions.

    >>> separation([0.1, 0.2, 0.3], [0.25, 0.3, 0.9]).value
    0.8333333333333334
    """
    low = as_scores(reference, "reference", 1)
    high = as_scores(test, "test", 1)
    value, of_test, of_reference = placement_moments(low, high)
    variance = of_test / len(high) + of_reference / len(low)
    return probability_estimate(value, variance, min(len(low), len(high)), level, "DeLong")


def auc_many(label: ArrayLike, scores: ArrayLike, *, covariance: bool = False) -> AucColumns:
    """AUC and DeLong's standard error of every column of `scores` (n, m).

    Some columns are ranked at a time, so memory is that of `scores` and little more. The (m, m) covariance is computed
    on request and then needs m x n numbers of its own.

    Raises:
        DataError: As `auc`, naming the column of a NaN.
    """
    table = as_scores(scores, "scores", 2)
    flags = as_labels(label, len(table))
    return _many(table.shape[1], int((~flags).sum()), int(flags.sum()), _by_label(table, flags), covariance)


def separation_many(reference: ArrayLike, test: ArrayLike, *, covariance: bool = False) -> AucColumns:
    """Separation of every column: reference (n, m) against test (k, m), as `auc_many` does for labels."""
    low = as_scores(reference, "reference", 2)
    high = as_scores(test, "test", 2)
    _same_columns(low, high)

    def pick(part: slice) -> Sides:
        return _contiguous(low[:, part]), _contiguous(high[:, part])

    return _many(low.shape[1], len(low), len(high), pick, covariance)


def _many(columns: int, negatives: int, positives: int, pick: Callable[[slice], Sides], covariance: bool) -> AucColumns:
    """AUCs of columns; `pick` gives some at a time, a row a column: negatives (c, n0) and positives (c, n1)."""
    value, variance = np.empty(columns), np.empty(columns)
    kept: tuple[list[Floats], list[Floats]] = ([], [])
    for part in _column_chunks(columns, negatives + positives):
        low, high = pick(part)
        for column, (negative, positive) in enumerate(zip(low, high, strict=True), start=part.start):
            value[column], of_positive, of_negative = placement_moments(negative, positive)
            variance[column] = of_positive / positives + of_negative / negatives
        if covariance:
            for side, found in zip(kept, placements(low, high), strict=True):
                side.append(found)
    return AucColumns(
        value=value,
        standard_error=np.sqrt(variance),
        covariance=_covariance(np.concatenate(kept[0])) + _covariance(np.concatenate(kept[1])) if covariance else None,
        negatives=negatives,
        positives=positives,
    )


def _by_label(table: NDArray[np.floating], label: NDArray[np.bool_]) -> Callable[[slice], Sides]:
    def pick(part: slice) -> Sides:
        rows = _contiguous(table[:, part])
        return rows[:, ~label], rows[:, label]

    return pick


def _contiguous(columns: NDArray[np.floating]) -> NDArray[np.floating]:
    """Columns (n, c) as rows (c, n) that lie together."""
    return np.ascontiguousarray(columns.T)


def compare_auc(label: ArrayLike, a: ArrayLike, b: ArrayLike, level: float = 0.95) -> Comparison:
    """DeLong's paired test of two scores on the same images: is a's AUC another than b's?

    Args:
        label: (n,) 0 or 1, 1 = anomaly.
        a, b: (n,) scores, higher = more anomalous.
        level: Confidence level of the interval of the difference.

    Raises:
        DataError: As `auc`.

    >>> label = [0, 0, 0, 0, 1, 1, 1, 1]
    >>> print(compare_auc(label, [1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 3, 6, 4, 5, 7, 8]))
    +0.125 [-0.158, +0.408], p = 0.39
    """
    first, second = as_scores(a, "a", 1), as_scores(b, "b", 1)
    if len(first) != len(second):
        raise DataError(f"a and b have to have one length, got {len(first)} and {len(second)}: align them by id")
    flags = as_labels(label, len(first))
    rows = np.stack([first.astype(np.float64), second.astype(np.float64)])
    of_positive, of_negative = placements(rows[:, ~flags], rows[:, flags])
    on_positive, on_negative = of_positive[0] - of_positive[1], of_negative[0] - of_negative[1]
    difference = float(on_positive.mean())
    variance = float((_variance(on_positive[None, :]) + _variance(on_negative[None, :]))[0])
    z = two_sided_quantile(level)
    if np.isnan(variance):  # one image of a class: Birnbaum and Klose's bound, as if the two were independent
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


def two_sided_p(difference: Floats, error: Floats) -> Floats:
    """P values of differences (m,) with standard errors (m,); no difference and no error give 1."""
    ratio = np.divide(np.abs(difference), error, out=np.full(len(error), np.inf), where=error > 0)
    ratio[(error == 0) & (np.abs(difference) < 1e-12)] = 0.0
    # 2 Phi(-z); the module waits for no scipy.
    return np.array([erfc(z / sqrt(2)) for z in ratio.tolist()])


def bootstrap_auc(
    label: ArrayLike, scores: ArrayLike, n_resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> BootstrapAuc:
    """Stratified bootstrap: normals and anomalies resampled apart, the same images for every column.

    Args:
        label: (n,) 0 or 1.
        scores: (n,) or (n, m).
        n_resamples: Resamples, at least 2.
        seed: Of the resampling.
        level: Of the percentile intervals.

    Raises:
        DataError: As `auc`. UsageError: fewer than two resamples.
    """
    table = np.asarray(scores)
    table = as_scores(table[:, None] if table.ndim == 1 else table, "scores", 2)
    flags = as_labels(label, len(table))
    two_sided_quantile(level)
    if n_resamples < 2:
        raise UsageError(f"a bootstrap needs at least 2 resamples, got {n_resamples}: 1000 is usual")
    rng = np.random.default_rng(seed)
    negatives, positives = np.flatnonzero(~flags), np.flatnonzero(flags)
    resampled = np.empty((n_resamples, table.shape[1]))
    block = max(1, _CHUNK_NUMBERS // len(table))
    prepared = [_tie_groups(table[:, column]) for column in range(table.shape[1])]
    for start in range(0, n_resamples, block):
        rows = min(block, n_resamples - start)
        counts = np.zeros((rows, len(table)))
        for members in (negatives, positives):
            drawn = rng.integers(0, len(members), size=(rows, len(members)))
            for row in range(rows):
                counts[row, members] = np.bincount(drawn[row], minlength=len(members))
        for column, (order, starts) in enumerate(prepared):
            resampled[start : start + rows, column] = _weighted_auc(counts[:, order], flags[order], starts)
    quantiles = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return BootstrapAuc(
        value=auc_many(flags, table).value,
        resampled=resampled,
        low=quantiles[0],
        high=quantiles[1],
        standard_error=resampled.std(axis=0, ddof=1),
        level=level,
    )


def paired_differences(label: NDArray[np.bool_], scores: NDArray[np.floating], best: int) -> tuple[Floats, Floats]:
    """Every column's AUC minus column `best`'s, and DeLong's standard errors of these differences; both (m,)."""
    columns = scores.shape[1]
    difference, variance = np.empty(columns), np.empty(columns)
    pick = _by_label(scores, label)
    best_positive, best_negative = placements(*pick(slice(best, best + 1)))
    for part in _column_chunks(columns, len(scores)):
        low, high = pick(part)
        for some in _column_chunks(len(low), len(scores), least=1):
            of_positive, of_negative = placements(low[some], high[some])
            of_positive -= best_positive
            of_negative -= best_negative
            place = slice(part.start + some.start, part.start + some.stop)
            difference[place] = of_positive.mean(axis=1)
            variance[place] = _variance(of_positive) + _variance(of_negative)
    return difference, np.sqrt(variance)


def _variance(rows: Floats) -> Floats:
    """Variance of each row's mean; nan for a single image."""
    length = rows.shape[1]
    if length < 2:
        return np.full(len(rows), np.nan)
    result: Floats = rows.var(axis=1, ddof=1) / length
    # Rounding leaves 1e-34 where the components are all equal; that is no variance.
    result[result < 1e-30] = 0.0
    return result


def _covariance(rows: Floats) -> Floats:
    length = rows.shape[1]
    if length < 2:
        return np.full((len(rows), len(rows)), np.nan)
    rows -= rows.mean(axis=1, keepdims=True)
    product: Floats = rows @ rows.T / ((length - 1) * length)
    return product


def _column_chunks(columns: int, length: int, least: int = _LEAST_COLUMNS) -> Iterator[slice]:
    width = max(least, _CHUNK_NUMBERS // length)
    for start in range(0, columns, width):
        yield slice(start, min(columns, start + width))


def _same_columns(reference: NDArray[np.floating], test: NDArray[np.floating]) -> None:
    if reference.shape[1] != test.shape[1]:
        raise DataError(
            "reference and test have to have the same columns, one a member, "
            f"got {reference.shape[1]} and {test.shape[1]}: pass the same members to both"
        )


def _tie_groups(score: NDArray[np.floating]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    order = np.argsort(score, kind="stable")
    ordered = score[order]
    return order, np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))


def _weighted_auc(counts: Floats, label: NDArray[np.bool_], starts: NDArray[np.intp]) -> Floats:
    """AUC of images in score order that occur counts (rows, n) times; `starts` begin the groups of tied scores."""
    negative = np.add.reduceat(counts * ~label, starts, axis=1)
    positive = np.add.reduceat(counts * label, starts, axis=1)
    below = np.cumsum(negative, axis=1) - negative / 2
    area: Floats = (positive * below).sum(axis=1) / (negative.sum(axis=1) * positive.sum(axis=1))
    return area
