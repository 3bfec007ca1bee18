"""Midranks and placements, for many columns at once: what every AUC here is made of."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ensemble_ad.statistics.arrays import Floats, Floats64

CHUNK_NUMBERS = 400_000
"""Numbers to rank at a time, so that the working arrays stay within a processor's cache."""


def midranks(rows: Floats) -> Floats64:
    """Ranks 1..n within each row of an (m, n) array, float64 (m, n); tied numbers get the mean of their ranks.

    The same as `scipy.stats.rankdata(rows, axis=1)`, but ten times faster (0.05 s against 0.5 s for 100 x 20,000),
    since numpy's argsort is vectorised, and without the import of scipy.stats.
    """
    return sorted_midranks(rows)[1]


def sorted_midranks(rows: Floats) -> tuple[Floats, Floats64]:
    """Each row of an (m, n) array sorted, and its `midranks`: one sort gives both."""
    count, length = rows.shape
    order = np.argsort(rows, axis=1)
    ordered = np.take_along_axis(rows, order, axis=1)
    fresh = np.ones((count, length), dtype=bool)
    np.not_equal(ordered[:, 1:], ordered[:, :-1], out=fresh[:, 1:])
    ranks = np.empty((count, length))
    if fresh.all():
        np.put_along_axis(ranks, order, np.arange(1.0, length + 1)[None, :], axis=1)
        return ordered, ranks
    starts = np.flatnonzero(fresh)
    sizes = np.diff(np.append(starts, count * length))
    middle = starts % length + (sizes + 1) / 2
    np.put_along_axis(ranks, order, np.repeat(middle, sizes).reshape(count, length), axis=1)
    return ordered, ranks


def rank_correlation(a: ArrayLike, b: ArrayLike) -> float:
    """Spearman's rank correlation of two (n,) arrays, tied numbers by midrank; NaN if one is constant."""
    return float(rank_correlations([a], b)[0])


def rank_correlations(columns: Sequence[ArrayLike], score: ArrayLike) -> Floats64:
    """`rank_correlation` of each of m columns (n,) with `score` (n,), which is ranked only once; (m,)."""
    theirs = _centred_ranks(np.asarray(score))
    result = np.full(len(columns), np.nan)
    for index, column in enumerate(columns):
        own = _centred_ranks(np.asarray(column))
        scale = float(np.sqrt((own**2).sum() * (theirs**2).sum()))
        if scale > 0:
            result[index] = float(own @ theirs) / scale
    return result


def _centred_ranks(values: NDArray[np.generic]) -> Floats64:
    ranks = midranks(np.asarray(values, dtype=values.dtype if values.dtype == np.float32 else np.float64)[None, :])[0]
    centred: Floats64 = ranks - ranks.mean()
    return centred


def placement_moments(negative: Floats, positive: Floats) -> tuple[float, float, float]:
    """An AUC and the two variances that its error is made of, by two sorts and a search, without single placements.

    Args:
        negative: (n0,) scores of the negatives.
        positive: (n1,) scores of the positives.

    Returns:
        The AUC, rounded once; the variances of the positives' and of the negatives' components, which are those of
        `placements`. A variance has n - 1 in the denominator, and is nan for a single image.
    """
    n0, n1 = len(negative), len(positive)
    few, many = (np.sort(negative), np.sort(positive)) if n0 <= n1 else (np.sort(positive), np.sort(negative))
    left, right = np.searchsorted(many, few, side="left"), np.searchsorted(many, few, side="right")
    # Twice the number of the other class below each image, a tie counting one half: whole numbers throughout.
    of_few = left + right
    counted = np.bincount(left, minlength=len(many) + 1) + np.bincount(right, minlength=len(many) + 1)
    of_many = np.cumsum(counted[:-1])
    wins = int(of_few.sum()) if n1 < n0 else 2 * n0 * n1 - int(of_few.sum())
    variance_few, variance_many = _variance(of_few) / (2 * len(many)) ** 2, _variance(of_many) / (2 * len(few)) ** 2
    of_positive, of_negative = (variance_few, variance_many) if n1 < n0 else (variance_many, variance_few)
    return wins / (2 * n0 * n1), of_positive, of_negative


def _variance(counts: NDArray[np.int64]) -> float:
    return float(counts.var(ddof=1)) if len(counts) > 1 else float("nan")


def placements(negative: Floats, positive: Floats) -> tuple[Floats64, Floats64]:
    """DeLong's structural components of m scores, by ranks (Sun and Xu 2014).

    Args:
        negative: (m, n0) scores of the negatives, a row a score.
        positive: (m, n1) scores of the positives.

    Returns:
        float64 (m, n1), for each positive the share of negatives below it, a tie counting one half (V10);
        float64 (m, n0), for each negative the share of positives above it (V01). A row's mean is its AUC in both.
    """
    count, n0 = negative.shape
    n1 = positive.shape[1]
    together = np.concatenate([negative, positive], axis=1)
    order = np.argsort(together, axis=1)
    ordered = np.take_along_axis(together, order, axis=1)
    is_positive = order >= n0
    positives_to_here = np.cumsum(is_positive, axis=1, dtype=np.int32).astype(np.float64)
    negatives_to_here = np.arange(1.0, n0 + n1 + 1) - positives_to_here
    fresh = np.ones(order.shape, dtype=bool)
    np.not_equal(ordered[:, 1:], ordered[:, :-1], out=fresh[:, 1:])
    if not fresh.all():
        # Within a group of ties each count becomes the mean of the count before the group and the one at its end.
        starts = np.flatnonzero(fresh)
        ends = np.append(starts[1:], fresh.size) - 1
        for counts, is_class in ((positives_to_here, is_positive), (negatives_to_here, ~is_positive)):
            before = counts.ravel()[starts] - is_class.ravel()[starts]
            middle = (before + counts.ravel()[ends]) / 2
            counts[...] = np.repeat(middle, ends - starts + 1).reshape(count, -1)
    # Back to the original order in each row: a position occurs once in `order`, so assigning is enough.
    placed = np.empty(order.shape)
    np.put_along_axis(placed, order, np.where(is_positive, negatives_to_here, positives_to_here), axis=1)
    return placed[:, n0:] / n0, 1.0 - placed[:, :n0] / n1
