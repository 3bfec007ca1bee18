"""Weights of the members, from normalised reference (n, m) and test (k, m) scores: non-negative, sum 1.

Each weigher is a pure function of a `Pool`. None sees a label but `from_labels`, which is handed them on purpose.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ensemble_ad.blend.optimise import nonnegative_logistic, nonnegative_quadratic
from ensemble_ad.errors import UsageError
from ensemble_ad.statistics import separation_many

Floats = NDArray[np.float64]
Numbers = NDArray[np.floating]

RIDGE_LDA = 0.1  # of the mean variance; between 0.01 and 0.3 the 25 tasks' mean AUC moves by 0.0005
RIDGE_LOGISTIC = 0.01  # between 0.001 and 0.1 it moves by 0.001
_FIT_ROWS = 5_000  # rows a side that a weight is fitted on: its noise is then far below that of the test batch
_BINS = 1 << 14  # ranks are told apart to 1/16384, finer than a test batch's noise


@dataclass(frozen=True, kw_only=True)
class Pool:
    """What a weigher sees.

    Attributes:
        reference, test: (n, m) and (k, m) normalised scores, higher = more anomalous.
        given: (m,) the user's weights, for `given`.
        label: (k,) bool, for `labels` only.
        seed: For bagging, folds and thinning.
    """

    reference: Numbers
    test: Numbers
    given: Floats | None = None
    label: NDArray[np.bool_] | None = None
    seed: int = 0


def normalised_weights(raw: Floats, usable: NDArray[np.bool_] | None = None) -> Floats:
    """`raw` made non-negative with sum 1; equal over `usable` (all by default) where nothing is above zero."""
    clipped = np.maximum(np.nan_to_num(raw, nan=0.0), 0.0)
    if clipped.sum() > 0:
        return np.asarray(clipped / clipped.sum(), dtype=np.float64)
    mask = np.ones(len(raw), dtype=bool) if usable is None or not usable.any() else usable
    return np.asarray(mask / mask.sum(), dtype=np.float64)


def equal(pool: Pool) -> Floats:
    """One weight for all but the constant members, which say nothing (they get 0)."""
    return normalised_weights(varying(pool).astype(np.float64))


def given(pool: Pool) -> Floats:
    """The user's weights, scaled to sum 1."""
    if pool.given is None:
        raise UsageError("the method 'given' needs weights, got none: pass weights=[...], one a member")
    return normalised_weights(pool.given)


def best_separation(pool: Pool) -> Floats:
    """All on the member with the highest separation (the first of equals)."""
    value = separation_many(pool.reference, pool.test).value
    weights = np.zeros(len(value))
    weights[int(np.argmax(value))] = 1.0
    return weights


def greedy(pool: Pool, steps: int = 15) -> Floats:
    """Caruana et al.'s (2004) selection with replacement, with separation in the place of the labelled score.

    Starting from nothing, add the member whose addition to the running sum separates best; of the `steps` sums the
    best is kept. Scores have to lie in [0, 1] (ranks), since candidates are compared on a fine histogram.
    """
    pool = thinned(pool, 2 * _FIT_ROWS)
    return normalised_weights(_greedy_counts(pool.reference, pool.test, steps), varying(pool))


def greedy_bagged(pool: Pool, bags: int = 20, steps: int = 10) -> Floats:
    """Mean of greedy selections on half of the members and a bootstrap of the images (Caruana et al. 2004, 2.3)."""
    pool = thinned(pool, 1_000)
    rng = np.random.default_rng(pool.seed)
    members = pool.reference.shape[1]
    counts = np.zeros(members)
    for _ in range(bags):
        some = np.sort(rng.choice(members, size=max(1, (members + 1) // 2), replace=False))
        low = pool.reference[rng.integers(0, len(pool.reference), len(pool.reference))][:, some]
        high = pool.test[rng.integers(0, len(pool.test), len(pool.test))][:, some]
        chosen = _greedy_counts(low, high, steps)
        counts[some] += chosen / max(chosen.sum(), 1.0)
    return normalised_weights(counts, varying(pool))


def pu_lda(pool: Pool) -> Floats:
    """Non-negative Fisher direction of test against reference.

    With d = mean_T - mean_V and the test's covariance, w maximises w'd - w'(Cov_T + ridge) w / 2 over w >= 0. Where
    T holds a share p of anomalies, Cov_T = W + p (1 - p) D D' and d = p D, so without ridge and sign constraint the
    direction is that of the labelled Fisher discriminant W^-1 D (Sherman and Morrison 1950); no independence of the
    members is assumed.
    """
    pool = thinned(pool, 4 * _FIT_ROWS)
    shift = pool.test.mean(axis=0, dtype=np.float64) - pool.reference.mean(axis=0, dtype=np.float64)
    if len(pool.test) < 2:
        return normalised_weights(shift, varying(pool))
    centred = pool.test - pool.test.mean(axis=0)
    covariance = (centred.T @ centred).astype(np.float64) / (len(pool.test) - 1)
    mean_variance = max(float(np.trace(covariance)) / len(shift), 1e-12)
    covariance[np.diag_indices_from(covariance)] += RIDGE_LDA * mean_variance
    return normalised_weights(nonnegative_quadratic(covariance, shift), varying(pool))


def pu_logistic(pool: Pool) -> Floats:
    """Non-negative logistic regression of test against reference (Elkan and Noto 2008 on why its order is the right
    one).

    Cross-fitted: the mean of the weights of five fits that each leave out a fifth of the images.
    """
    pool = thinned(pool, _FIT_ROWS)
    rng = np.random.default_rng(pool.seed)
    folds = min(5, len(pool.reference), len(pool.test))
    if folds < 2:
        return normalised_weights(nonnegative_logistic(pool.reference, pool.test, RIDGE_LOGISTIC), varying(pool))
    of_reference = rng.permutation(len(pool.reference)) % folds
    of_test = rng.permutation(len(pool.test)) % folds
    total = np.zeros(pool.reference.shape[1])
    for fold in range(folds):
        low, high = pool.reference[of_reference != fold], pool.test[of_test != fold]
        total += nonnegative_logistic(low, high, RIDGE_LOGISTIC)
    return normalised_weights(total, varying(pool))


def select(pool: Pool) -> Floats:
    """SELECT's vertical selection (Rayana and Akoglu 2016): keep members that raise the agreement with the consensus.

    For comparison: members that agree by being alike are kept, a good one that stands alone is dropped.
    """
    pool = thinned(pool, 4 * _FIT_ROWS)
    usable = np.flatnonzero(varying(pool))
    if len(usable) < 2:
        return equal(pool)
    scores = pool.test[:, usable].astype(np.float64)
    target = scores.mean(axis=1)
    # The images that the consensus ranks first count most: weight 1 / rank.
    mass = 1 / (1 + np.argsort(np.argsort(-target, kind="stable"), kind="stable"))
    mass /= mass.sum()

    def agreement(a: Floats, b: Floats) -> float:
        a, b = a - mass @ a, b - mass @ b
        size = np.sqrt((mass @ (a * a)) * (mass @ (b * b)))
        return float(mass @ (a * b) / size) if size > 0 else 0.0

    waiting = list(range(len(usable)))
    first = max(waiting, key=lambda j: agreement(scores[:, j], target))
    kept, current = [first], scores[:, first].copy()
    waiting.remove(first)
    while waiting:
        candidate = max(waiting, key=lambda j: agreement(scores[:, j], current))
        waiting.remove(candidate)
        joined = (current * len(kept) + scores[:, candidate]) / (len(kept) + 1)
        if agreement(joined, target) > agreement(current, target):
            kept.append(candidate)
            current = joined
    weights = np.zeros(pool.test.shape[1])
    weights[usable[kept]] = 1 / len(kept)
    return weights


def spectral(pool: Pool) -> Floats:
    """Spectral meta-learner (Parisi et al. 2014, on ranks as Ahsen et al. 2019): the rank-one part of the covariance.

    For comparison: it takes members to be independent given the label, and autoencoders are not.
    """
    pool = thinned(pool, 4 * _FIT_ROWS)
    matrix = np.atleast_2d(np.cov(pool.test.astype(np.float64), rowvar=False)) if len(pool.test) > 1 else np.eye(1)
    if len(matrix) < 3 or not np.isfinite(matrix).all():
        return equal(pool)
    # The diagonal holds each member's own variance; replace it until the matrix is as near rank one as it gets.
    filled = matrix.copy()
    vector = np.zeros(len(matrix))
    for _ in range(50):
        values, vectors = np.linalg.eigh(filled)
        vector = vectors[:, -1] * np.sqrt(max(values[-1], 0.0))
        np.fill_diagonal(filled, vector**2)
    vector *= np.sign(vector.sum()) or 1.0
    return normalised_weights(vector, varying(pool))


def from_labels(pool: Pool) -> Floats:
    """Non-negative logistic regression on labels that the user handed over: an upper bound, never used by `auto`."""
    if pool.label is None:
        raise UsageError("the method 'labels' needs labels of the test images, got none: pass label=[...]")
    weights = nonnegative_logistic(pool.test[~pool.label], pool.test[pool.label], RIDGE_LOGISTIC)
    return normalised_weights(weights, varying(pool))


WEIGHERS: dict[str, Callable[[Pool], Floats]] = {
    "equal": equal,
    "given": given,
    "best-separation": best_separation,
    "greedy": greedy,
    "greedy-bagged": greedy_bagged,
    "pu-lda": pu_lda,
    "pu-logistic": pu_logistic,
    "select": select,
    "spectral": spectral,
    "labels": from_labels,
}


def varying(pool: Pool) -> NDArray[np.bool_]:
    """(m,) True for members that are not constant over reference and test."""
    # Extremes are one row each; comparing with the first row would make a table of truth values.
    least = np.minimum(pool.reference.min(axis=0), pool.test.min(axis=0))
    varies: NDArray[np.bool_] = least != np.maximum(pool.reference.max(axis=0), pool.test.max(axis=0))
    return varies


def thinned(pool: Pool, rows: int) -> Pool:
    """The pool with at most `rows` reference and `rows` test images, drawn by the pool's seed."""
    if max(len(pool.reference), len(pool.test)) <= rows:
        return pool
    rng = np.random.default_rng(pool.seed)

    def some(side: Numbers) -> Numbers:
        drawn = np.sort(rng.choice(len(side), size=min(len(side), rows), replace=False))
        return side.T[:, drawn].T  # columns contiguous

    return Pool(
        reference=some(pool.reference),
        test=some(pool.test),
        given=pool.given,
        seed=pool.seed,
    )


def _greedy_counts(reference: Numbers, test: Numbers, steps: int) -> Floats:
    members = reference.shape[1]
    counts, best_counts, best = np.zeros(members), np.zeros(members), -1.0
    sums = np.zeros(len(reference) + len(test))
    low, high = sums[: len(reference)], sums[len(reference) :]
    # A constant member moves all sums alike, which looks like a gain where a bin's edge is crossed.
    usable = np.flatnonzero(varying(Pool(reference=reference, test=test)))
    if not len(usable):
        return counts
    value = np.full(members, -1.0)
    trial, bins = np.empty(len(sums)), np.empty(len(sums), dtype=np.intp)
    for step in range(steps):
        scale = (_BINS - 1) / (step + 1)
        for j in usable:
            np.add(low, reference[:, j], out=trial[: len(low)])
            np.add(high, test[:, j], out=trial[len(low) :])
            np.multiply(trial, scale, out=trial)
            np.copyto(bins, trial, casting="unsafe")
            value[j] = _binned_separation(bins[: len(low)], bins[len(low) :])
        chosen = int(np.argmax(value))
        low += reference[:, chosen]
        high += test[:, chosen]
        counts[chosen] += 1
        if value[chosen] > best + 1e-9:
            best, best_counts = value[chosen], counts.copy()
    return best_counts


def _binned_separation(reference: NDArray[np.intp], test: NDArray[np.intp]) -> float:
    """Separation of whole numbers in [0, 16383], equal ones tied: a tenth of the time of sorting.

    Twice the number of reference images below each bin, ties one half, is a whole number, so the sum is exact.
    """
    counted = np.bincount(reference, minlength=_BINS)
    below = 2 * np.cumsum(counted) - counted
    return int(below[test].sum()) / (2 * len(reference) * len(test))
