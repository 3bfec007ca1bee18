"""Midranks and placements, for many columns at once: what every AUC here is made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ensemble_ad.errors import DataError

Floats = NDArray[np.float64]


def midranks(rows: NDArray[np.floating]) -> Floats:
    """Ranks 1..n within each row of an (m, n) array, ties sharing their mean rank; float64 (m, n).

    The same numbers as `scipy.stats.rankdata(rows, axis=1)`, ten times faster (0.05 s against 0.5 s for 100 x
    20,000) since numpy's vectorised argsort does the work, and without importing scipy.stats.
    """
    return sorted_midranks(rows)[1]


def sorted_midranks(rows: NDArray[np.floating]) -> tuple[NDArray[np.floating], Floats]:
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
    """Spearman's rank correlation of two (n,) arrays, ties by midrank; NaN where one is constant."""
    return float(rank_correlations([a], b)[0])


def rank_correlations(columns: Sequence[ArrayLike], score: ArrayLike) -> Floats:
    """`rank_correlation` of each of m columns (n,) with `score` (n,), which is ranked once: (m,)."""
    theirs = _centred_ranks(np.asarray(score))
    result = np.full(len(columns), np.nan)
    for index, column in enumerate(columns):
        own = _centred_ranks(np.asarray(column))
        scale = float(np.sqrt((own**2).sum() * (theirs**2).sum()))
        if scale > 0:
            result[index] = float(own @ theirs) / scale
    return result


def _centred_ranks(values: NDArray[np.generic]) -> Floats:
    ranks = midranks(values.astype(np.float64)[None, :])[0]
    centred: Floats = ranks - ranks.mean()
    return centred


def placement_moments(negative: NDArray[np.floating], positive: NDArray[np.floating]) -> tuple[float, float, float]:
    """What an AUC and its error are made of, without placing single images: two sorts and a search.

    Args:
        negative: (n0,) scores of the negatives.
        positive: (n1,) scores of the positives.

    Returns:
        The AUC (exact before its one rounding), and the variances (n - 1 below) of the positives' and the negatives'
        components as `placements` has them; nan for a single image of a class.
    """
    n0, n1 = len(negative), len(positive)
    few, many = (np.sort(negative), np.sort(positive)) if n0 <= n1 else (np.sort(positive), np.sort(negative))
    left, right = np.searchsorted(many, few, side="left"), np.searchsorted(many, few, side="right")
    # Twice the number of the others below each image, ties one half, so that all of it is whole numbers.
    of_few = left + right
    counted = np.bincount(left, minlength=len(many) + 1) + np.bincount(right, minlength=len(many) + 1)
    of_many = np.cumsum(counted[:-1])
    wins = int(of_few.sum()) if n1 < n0 else 2 * n0 * n1 - int(of_few.sum())
    variance_few, variance_many = _variance(of_few) / (2 * len(many)) ** 2, _variance(of_many) / (2 * len(few)) ** 2
    of_positive, of_negative = (variance_few, variance_many) if n1 < n0 else (variance_many, variance_few)
    return wins / (2 * n0 * n1), of_positive, of_negative


def _variance(counts: NDArray[np.int64]) -> float:
    return float(counts.var(ddof=1)) if len(counts) > 1 else float("nan")


def placements(negative: NDArray[np.floating], positive: NDArray[np.floating]) -> tuple[Floats, Floats]:
    """DeLong's structural components of m scores, by ranks (Sun and Xu 2014).

    Args:
        negative: (m, n0) scores of the negatives, a row a score.
        positive: (m, n1) scores of the positives.

    Returns:
        (m, n1): for each positive the share of negatives below it, ties one half (V10);
        (m, n0): for each negative the share of positives above it (V01). Both rows' means are the AUC.
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
        # Within a group of ties the counts below are the mean of those before the group and those at its end.
        starts = np.flatnonzero(fresh)
        ends = np.append(starts[1:], fresh.size) - 1
        for counts, is_class in ((positives_to_here, is_positive), (negatives_to_here, ~is_positive)):
            before = counts.ravel()[starts] - is_class.ravel()[starts]
            middle = (before + counts.ravel()[ends]) / 2
            counts[...] = np.repeat(middle, ends - starts + 1).reshape(count, -1)
    # Row by row, each class in its original order: positions in `order` are unique, so a scatter is enough.
    placed = np.empty(order.shape)
    np.put_along_axis(placed, order, np.where(is_positive, negatives_to_here, positives_to_here), axis=1)
    return placed[:, n0:] / n0, 1.0 - placed[:, :n0] / n1


def as_scores(values: ArrayLike, name: str, ndim: int) -> NDArray[np.floating]:
    """`values` as a float array of `ndim` dimensions, never empty, never NaN (infinities rank like any number).

    Raises:
        DataError: Otherwise, naming the column of the first NaN.
    """
    array = np.asarray(values)
    if array.dtype not in (np.float32, np.float64):
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(f"{name} has to hold numbers, got dtype {array.dtype}: convert it first") from error
    if array.ndim != ndim:
        want = "one number an image" if ndim == 1 else "images x columns"
        raise DataError(f"{name} has to have {ndim} dimension(s) ({want}), got shape {array.shape}: reshape it")
    if array.size == 0:
        raise DataError(f"{name} is empty, shape {array.shape}: at least one image is needed")
    if np.isnan(array.min()):  # a NaN is every minimum, and needs no second array to be found
        bad = np.isnan(array)
        first = np.argwhere(bad)[0]
        where = f"row {first[0]}" if ndim == 1 else f"column {first[1]}, row {first[0]}"
        raise DataError(f"{name} must not contain NaN, got {int(bad.sum())} (first: {where}): drop or recompute them")
    return array


def as_labels(values: ArrayLike, length: int) -> NDArray[np.bool_]:
    """Labels of `length` images as booleans (True = anomaly), both classes present.

    Raises:
        DataError: On a wrong shape, another length, values other than 0 and 1, or one class only.
    """
    array = np.asarray(values)
    if array.ndim != 1:
        raise DataError(f"labels have to have 1 dimension, got shape {array.shape}: pass one 0 or 1 an image")
    if len(array) != length:
        raise DataError(f"labels and scores have to have one length, got {len(array)} and {length}: align them by id")
    if array.dtype != bool and not np.isin(array, (0, 1)).all():
        odd = array[~np.isin(array, (0, 1))][0]
        raise DataError(f"labels have to be 0 (normal) or 1 (anomaly), got {odd!r}: map them first")
    flags = array.astype(bool)
    if flags.all() or not flags.any():
        only = int(flags[0])
        raise DataError(f"labels have to hold both 0 and 1, got {length} times {only}: an AUC needs both classes")
    return flags
