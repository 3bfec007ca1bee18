"""From normalised members to one score an image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Numbers = NDArray[np.floating]
Column = Callable[[int], Numbers]  # member -> its normalised scores (r,); made only for members that count

TOP = 3  # members that `top` averages: a third to a quarter of a usual pool


def weighted_mean(column: Column, weights: Floats) -> Floats:
    """Sum of weight times member, (r,) each, weights (m,) -> (r,).

    Added up member by member and not by a matrix product, whose last bits depend on how many rows there are: a row
        has to get one score whether it comes alone or in a batch.
    """
    used = np.flatnonzero(weights)
    total: Floats = weights[used[0]] * np.asarray(column(int(used[0])), dtype=np.float64)
    for member in used[1:]:
        total += weights[member] * column(int(member))
    return total


def mean(column: Column, weights: Floats) -> Floats:
    """Mean of the members with a weight above zero."""
    return weighted_mean(column, (weights > 0) / int((weights > 0).sum()))


def median(column: Column, weights: Floats) -> Floats:
    """Median of the members with a weight above zero: half of them may be broken."""
    middle: Floats = np.median(_stacked(column, weights), axis=1).astype(np.float64)
    return middle


def maximum(column: Column, weights: Floats) -> Floats:
    """The most alarmed of the members with a weight above zero."""
    used = np.flatnonzero(weights)
    highest = np.array(column(int(used[0])), dtype=np.float64)
    for member in used[1:]:
        np.maximum(highest, column(int(member)), out=highest)
    return highest


def top_mean(column: Column, weights: Floats) -> Floats:
    """Mean of the three most alarmed members with a weight above zero."""
    used = _stacked(column, weights)
    count = min(TOP, used.shape[1])
    highest = np.sort(np.partition(used, -count, axis=1)[:, -count:], axis=1)
    return weighted_mean(lambda member: highest[:, member], np.full(count, 1 / count))


COMBINERS: dict[str, Callable[[Column, Floats], Floats]] = {
    "weighted-mean": weighted_mean,
    "mean": mean,
    "median": median,
    "max": maximum,
    "top": top_mean,
}


def _stacked(column: Column, weights: Floats) -> Numbers:
    return np.stack([column(int(member)) for member in np.flatnonzero(weights)], axis=1)
