"""What pseudo-anomalies say of models: the AUC of each kind, and which kinds tell trials apart."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ensemble_ad import statistics
from ensemble_ad.errors import DataError
from ensemble_ad.statistics import Estimate
from ensemble_ad.statistics.arrays import Floats64

SOLVED = 0.98
UNSOLVED = 0.55


def synthetic_aucs(normal: npt.ArrayLike, pseudo: Mapping[str, npt.ArrayLike]) -> dict[str, Estimate]:
    """AUC of each kind: P(a pseudo-anomaly scores above a normal image), ties one half, with DeLong's error.

    That is `statistics.separation` of the two sets, the same Mann-Whitney statistic as an AUC with labels. The standard
    error takes the defects for independent of the normal images, which they are: they are made of other images.

    Args:
        normal: (n,) scores of normal images, higher = more anomalous.
        pseudo: (k,) scores of the defects, by kind.

    Raises:
        DataError: for no kinds, NaN, no scores or wrong dimensions.
    """
    if not pseudo:
        raise DataError("at least one kind of pseudo-anomaly has to be scored, got none")
    return {name: statistics.separation(normal, scores) for name, scores in pseudo.items()}


def kept_kinds(table: Sequence[Mapping[str, float]]) -> tuple[str, ...]:
    """The kinds that tell trials apart.

    A kind that every trial solves (all AUCs above 0.98) is dropped, and so is a kind that no trial solves (no AUC of
    0.55, some two standard errors above chance with 256 defects). If that drops all kinds, all are kept.

    Args:
        table: a row a trial, with the AUC of each kind; all rows have the same kinds.

    Raises:
        DataError: for no trials or kinds, kinds that differ, or an AUC outside [0, 1].
    """
    names, aucs = _columns(table)
    tells = (aucs.min(axis=0) <= SOLVED) & (aucs.max(axis=0) >= UNSOLVED)
    return tuple(names[i] for i in np.flatnonzero(tells)) or names


def synthetic_values(table: Sequence[Mapping[str, float]]) -> Floats64:
    """Each trial's mean AUC over the kept kinds, float64 (n_trials,): higher is better.

    Which kinds are kept depends on all trials, so values of different calls are not comparable.

    Raises:
        DataError: as `kept_kinds`.
    """
    names, aucs = _columns(table)
    kept = kept_kinds(table)
    values: Floats64 = aucs[:, [name in kept for name in names]].mean(axis=1)
    return values


def _columns(table: Sequence[Mapping[str, float]]) -> tuple[tuple[str, ...], Floats64]:
    """Kinds, and the AUCs as float64 (trials, kinds)."""
    if not table or not table[0]:
        raise DataError("at least one trial with one kind of pseudo-anomaly is needed, got none; score some first")
    names = tuple(table[0])
    for row in table:
        if set(row) != set(names):
            raise DataError(
                f"all trials must have the same kinds, got {sorted(names)} and {sorted(row)}; score them alike"
            )
    aucs = np.array([[row[name] for name in names] for row in table], dtype=np.float64)
    if not ((aucs >= 0) & (aucs <= 1)).all():
        odd = aucs[~((aucs >= 0) & (aucs <= 1))][0]
        raise DataError(f"an AUC must lie in [0, 1], got {odd}; leave that trial out")
    return names, aucs
