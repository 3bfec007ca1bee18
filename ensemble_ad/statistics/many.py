"""Comparisons of many: of columns on one set of images, and of methods across tasks."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ensemble_ad.errors import DataError
from ensemble_ad.statistics.arrays import Bools, Floats64, as_labels, as_scores, check_paired
from ensemble_ad.statistics.delong import auc_many, paired_differences, two_sided_p
from ensemble_ad.statistics.estimate import Estimate, two_sided_quantile


@dataclass(frozen=True, kw_only=True)
class BestComparison:
    """Every column against the best one, in the columns' order.

    Attributes:
        best: index of the column with the highest AUC, the first of equals.
        value: (m,) AUC.
        difference: (m,) AUC minus the best AUC, never positive.
        standard_error: (m,) DeLong's standard error of the paired difference.
        p_value: (m,) two-sided p value, Holm-corrected over the m - 1 comparisons; 1 for the best itself.
        tied: (m,) True where the column cannot be told from the best at `level`: the tie group.
        level: confidence level, in (0, 1).
    """

    best: int
    value: Floats64
    difference: Floats64
    standard_error: Floats64
    p_value: Floats64
    tied: Bools
    level: float = 0.95


@dataclass(frozen=True, kw_only=True)
class TaskComparison:
    """One method against a baseline across tasks.

    Attributes:
        difference: mean over tasks of method minus baseline, with its percentile bootstrap interval over tasks.
        p_value: two-sided p value of Wilcoxon's signed-rank test.
        p_holm: the same, Holm-corrected over the methods that are compared at once.
        wins, losses: number of tasks with a positive and with a negative difference.
    """

    difference: Estimate
    p_value: float
    p_holm: float
    wins: int
    losses: int


def holm(p_values: ArrayLike) -> Floats64:
    """Holm's (1979) step-down correction of (m,) p values, in their order.

    Raises:
        DataError: for an array that is empty, not one-dimensional, or holds a NaN or a number outside [0, 1].
    """
    raw = as_scores(p_values, "p_values", 1).astype(np.float64)
    if (raw < 0).any() or (raw > 1).any():
        raise DataError(f"p values lie in [0, 1], got {raw.min()} to {raw.max()}: pass probabilities")
    order = np.argsort(raw, kind="stable")
    stepped = np.maximum.accumulate(raw[order] * np.arange(len(raw), 0, -1))
    corrected = np.empty(len(raw))
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected


def compare_to_best(label: ArrayLike, scores: ArrayLike, level: float = 0.95) -> BestComparison:
    """DeLong's paired test of every column of `scores` (n, m) against the best, Holm-corrected.

    The best was chosen on the same images, so the tie group is rather too large than too small: the safe side.

    Raises:
        DataError: as for `auc`.
        UsageError: unless 0 < level < 1.
    """
    check_paired(label, scores, "label and scores")
    table = as_scores(scores, "scores", 2)
    flags = as_labels(label, len(table))
    two_sided_quantile(level)  # refuses a level that is none
    value = auc_many(flags, table).value
    best = int(np.argmax(value))
    difference, error = paired_differences(flags, table, best)
    error = np.where(np.isnan(error), np.sqrt(0.5 / min(flags.sum(), (~flags).sum())), error)
    error[best] = 0.0
    p_value = np.ones(len(value))
    others = np.arange(len(value)) != best
    if others.any():
        p_value[others] = holm(two_sided_p(difference[others], error[others]))
    return BestComparison(
        best=best,
        value=value,
        difference=difference,
        standard_error=error,
        p_value=p_value,
        tied=p_value > 1 - level,
        level=level,
    )


def wilcoxon_across_tasks(
    methods: ArrayLike, baseline: ArrayLike, level: float = 0.95, n_resamples: int = 10_000, seed: int = 0
) -> list[TaskComparison]:
    """Methods (tasks, m) against one baseline (tasks,): Wilcoxon's signed-rank test with Holm's correction.

    Ranks and no t-test, since the AUC differences of two tasks are not on one scale (Demsar 2006). The interval of the
    mean difference is a bootstrap over tasks, since a new user brings another task.

    Returns:
        One TaskComparison a method.

    Raises:
        DataError: for shapes that do not match, a NaN, or fewer than two tasks.
    """
    from scipy.stats import wilcoxon

    table = as_scores(methods, "methods", 2).astype(np.float64)
    base = as_scores(baseline, "baseline", 1).astype(np.float64)
    if len(base) != len(table):
        raise DataError(
            f"methods and baseline have to have the same tasks, got {len(table)} and {len(base)}: align them"
        )
    if len(base) < 2:
        raise DataError(f"a comparison across tasks needs at least 2 tasks, got {len(base)}: add tasks")
    differences = table - base[:, None]
    drawn = np.random.default_rng(seed).integers(0, len(base), size=(n_resamples, len(base)))
    raw = np.ones(table.shape[1])
    for column in range(table.shape[1]):
        if np.any(differences[:, column] != 0):
            raw[column] = wilcoxon(differences[:, column]).pvalue
    corrected = holm(raw)
    return [
        TaskComparison(
            difference=_mean_over_tasks(gain, gain[drawn].mean(axis=1), level),
            p_value=float(raw[column]),
            p_holm=float(corrected[column]),
            wins=int((gain > 0).sum()),
            losses=int((gain < 0).sum()),
        )
        for column, gain in enumerate(differences.T)
    ]


def _mean_over_tasks(gain: Floats64, resampled: Floats64, level: float) -> Estimate:
    """The mean of gains (tasks,), with the percentile interval of resampled means (n_resamples,)."""
    mean = float(gain.mean())
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(
        value=mean,
        low=min(float(low), mean),
        high=max(float(high), mean),
        standard_error=float(gain.std(ddof=1) / np.sqrt(len(gain))),
        level=level,
        method="bootstrap over tasks",
    )
