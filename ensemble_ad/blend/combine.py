"""From normalised members to one score an image."""

from collections.abc import Callable

import numpy as np

from ensemble_ad.statistics.arrays import Floats, Floats64

GetColumn = Callable[[int], Floats]
"""Gives a member's normalised scores (r,); it is asked only for members that count."""

TOP = 3  # members that `top` averages: a third to a quarter of a usual pool


def weighted_mean(column: GetColumn, weights: Floats64) -> Floats64:
    """The members' scores times their weights (m,), added up; (r,).

    They are added member by member, and not by a matrix product, whose last bits depend on how many rows there are: a
    row has to get the same score alone and in a batch.
    """
    used = np.flatnonzero(weights)
    total: Floats64 = weights[used[0]] * np.asarray(column(int(used[0])), dtype=np.float64)
    for member in used[1:]:
        total += weights[member] * column(int(member))
    return total


def median(column: GetColumn, weights: Floats64) -> Floats64:
    """Median of the members with a weight above zero, nearly half of which may be broken."""
    middle: Floats64 = np.median(_stacked(column, weights), axis=1).astype(np.float64)
    return middle


def maximum(column: GetColumn, weights: Floats64) -> Floats64:
    """Highest score among the members with a weight above zero."""
    used = np.flatnonzero(weights)
    highest = np.array(column(int(used[0])), dtype=np.float64)
    for member in used[1:]:
        np.maximum(highest, column(int(member)), out=highest)
    return highest


def top_mean(column: GetColumn, weights: Floats64) -> Floats64:
    """Mean of the three highest scores among the members with a weight above zero."""
    used = _stacked(column, weights)
    count = min(TOP, used.shape[1])
    highest = np.sort(np.partition(used, -count, axis=1)[:, -count:], axis=1)
    return weighted_mean(lambda member: highest[:, member], np.full(count, 1 / count))


COMBINERS: dict[str, Callable[[GetColumn, Floats64], Floats64]] = {
    "weighted-mean": weighted_mean,
    "median": median,
    "max": maximum,
    "top": top_mean,
}


def _stacked(column: GetColumn, weights: Floats64) -> Floats:
    return np.stack([column(int(member)) for member in np.flatnonzero(weights)], axis=1)
