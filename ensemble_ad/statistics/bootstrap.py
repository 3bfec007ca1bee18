"""The stratified bootstrap of AUCs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ensemble_ad.errors import UsageError
from ensemble_ad.statistics.arrays import Bools, Floats, Floats64, as_labels, as_scores
from ensemble_ad.statistics.delong import auc_many
from ensemble_ad.statistics.estimate import two_sided_quantile
from ensemble_ad.statistics.ranks import CHUNK_NUMBERS


@dataclass(frozen=True, kw_only=True)
class BootstrapAuc:
    """Stratified bootstrap of m AUCs; every column saw the same resamples, so differences are paired.

    Attributes:
        value: (m,) AUC on all images.
        resampled: (n_resamples, m) AUC in each resample.
        low, high: (m,) ends of the percentile interval at `level`.
        standard_error: (m,) standard deviation over the resamples.
        level: confidence level of the intervals, in (0, 1).
    """

    value: Floats64
    resampled: Floats64
    low: Floats64
    high: Floats64
    standard_error: Floats64
    level: float = 0.95


def bootstrap_auc(
    label: ArrayLike, scores: ArrayLike, n_resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> BootstrapAuc:
    """Stratified bootstrap: normal images and anomalies are resampled apart, and every column sees the same images.

    Args:
        label: (n,) of 0 and 1, 1 = anomaly.
        scores: (n,) or (n, m) anomaly scores.
        n_resamples: number of resamples, at least 2.
        seed: the resampling's seed.
        level: confidence level of the percentile intervals, in (0, 1).

    Raises:
        DataError: as for `auc`.
        UsageError: for fewer than two resamples, and unless 0 < level < 1.
    """
    table = np.asarray(scores)
    table = as_scores(table[:, None] if table.ndim == 1 else table, "scores", 2)
    flags = as_labels(label, len(table))
    two_sided_quantile(level)  # refuses a level that is none
    if n_resamples < 2:
        raise UsageError(f"a bootstrap needs at least 2 resamples, got {n_resamples}: 1000 is usual")
    rng = np.random.default_rng(seed)
    negatives, positives = np.flatnonzero(~flags), np.flatnonzero(flags)
    resampled = np.empty((n_resamples, table.shape[1]))
    block = max(1, CHUNK_NUMBERS // len(table))
    prepared = [_tie_groups(table[:, column]) for column in range(table.shape[1])]
    for start in range(0, n_resamples, block):
        rows = min(block, n_resamples - start)
        counts = np.zeros((rows, len(table)))
        for images in (negatives, positives):
            drawn = rng.integers(0, len(images), size=(rows, len(images)))
            for row in range(rows):
                counts[row, images] = np.bincount(drawn[row], minlength=len(images))
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


def _tie_groups(score: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The order (n,) of scores (n,), and the places in it where the groups of tied scores begin."""
    order = np.argsort(score, kind="stable")
    ordered = score[order]
    return order, np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))


def _weighted_auc(counts: Floats64, label: Bools, starts: NDArray[np.intp]) -> Floats64:
    """AUC (rows,) of images in the order of their scores, which occur `counts` (rows, n) times; `starts` as above."""
    negative = np.add.reduceat(counts * ~label, starts, axis=1)
    positive = np.add.reduceat(counts * label, starts, axis=1)
    below = np.cumsum(negative, axis=1) - negative / 2
    area: Floats64 = (positive * below).sum(axis=1) / (negative.sum(axis=1) * positive.sum(axis=1))
    return area
