"""Weights of the members, from normalised reference (n, m) and test (k, m) scores: non-negative, sum 1.

Each weigher is a pure function of a `Pool`. Only `from_labels` sees labels, which the user hands it on purpose.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ensemble_ad.blend.optimise import nonnegative_logistic, nonnegative_quadratic
from ensemble_ad.errors import UsageError
from ensemble_ad.statistics import separation_many
from ensemble_ad.statistics.arrays import Bools, Floats, Floats64

# Both were judged by the mean AUC over the 25 tasks of benchmarks/score_matrices.md.
RIDGE_LDA = 0.1  # share of the mean variance; between 0.01 and 0.3 the AUC moves by 0.0005
RIDGE_LOGISTIC = 0.01  # between 0.001 and 0.1 the AUC moves by 0.001
FIT_ROWS = 5_000  # rows a side that a weight is fitted on: its noise is then far below that of the test batch
_BINS = 1 << 14  # ranks are told apart to 1/16384, finer than a test batch's noise
_GREEDY_STEPS = 15
_BAGS, _BAG_STEPS = 20, 10


@dataclass(frozen=True, kw_only=True)
class Pool:
    """What a weigher sees.

    Attributes:
        reference, test: (n, m) and (k, m) normalised scores, higher = more anomalous.
        given: (m,) the user's weights, for the weigher `given` only.
        label: (k,) True for anomalies, for the weigher `labels` only.
        prior: (m,) weights by what was known before, for the weigher `prior` only.
        seed: seed of bags, folds and thinning.
    """

    reference: Floats
    test: Floats
    given: Floats64 | None = None
    label: Bools | None = None
    prior: Floats64 | None = None
    seed: int = 0


def normalised_weights(raw: Floats64, usable: Bools | None = None) -> Floats64:
    """`raw` made non-negative with sum 1; equal for the `usable` (all by default) if none is above zero."""
    clipped = np.maximum(np.nan_to_num(raw, nan=0.0), 0.0)
    if clipped.sum() > 0:
        return np.asarray(clipped / clipped.sum(), dtype=np.float64)
    mask = np.ones(len(raw), dtype=bool) if usable is None or not usable.any() else usable
    return np.asarray(mask / mask.sum(), dtype=np.float64)


def equal(pool: Pool) -> Floats64:
    """The same weight for all members but the constant ones, which say nothing and get 0."""
    return normalised_weights(varying(pool).astype(np.float64))


def given(pool: Pool) -> Floats64:
    """The user's weights, scaled to sum 1."""
    if pool.given is None:
        raise UsageError("the method 'given' needs weights, got none: pass weights=[...], one a member")
    return normalised_weights(pool.given)


def prior(pool: Pool) -> Floats64:
    """The weights of `prior.prior_weights`; equal ones where nothing was known."""
    return equal(pool) if pool.prior is None else pool.prior


def best_separation(pool: Pool) -> Floats64:
    """All the weight on the member with the highest separation, the first of equals."""
    value = separation_many(pool.reference, pool.test).value
    weights = np.zeros(len(value))
    weights[int(np.argmax(value))] = 1.0
    return weights


def greedy(pool: Pool) -> Floats64:
    """Caruana et al.'s (2004) selection with replacement, by separation instead of a score on labels.

    Starting from nothing, 15 times the member is added that makes the sum separate best; the best of the 15 sums is
    kept. Scores have to lie in [0, 1], as ranks do, since sums are compared on a fine histogram.
    """
    pool = thinned(pool, 2 * FIT_ROWS)
    return normalised_weights(_greedy_counts(pool.reference, pool.test, _GREEDY_STEPS), varying(pool))


def greedy_bagged(pool: Pool) -> Floats64:
    """Mean of 20 greedy selections, each on half of the members and a bootstrap of the images.

    Caruana et al. (2004), section 2.3.
    """
    pool = thinned(pool, 1_000)
    rng = np.random.default_rng(pool.seed)
    members = pool.reference.shape[1]
    counts = np.zeros(members)
    for _ in range(_BAGS):
        some = np.sort(rng.choice(members, size=max(1, (members + 1) // 2), replace=False))
        low = pool.reference[rng.integers(0, len(pool.reference), len(pool.reference))][:, some]
        high = pool.test[rng.integers(0, len(pool.test), len(pool.test))][:, some]
        chosen = _greedy_counts(low, high, _BAG_STEPS)
        counts[some] += chosen / max(chosen.sum(), 1.0)
    return normalised_weights(counts, varying(pool))


def pu_lda(pool: Pool) -> Floats64:
    """Non-negative Fisher direction of test against reference.

    With the test T, the reference V and d = mean_T - mean_V, w maximises w'd - w'(Cov_T + ridge) w / 2 over w >= 0.
    Where T holds a share p of anomalies that lie D from the normal images, and W is the covariance within each class,
    Cov_T = W + p (1 - p) D D' and d = p D. So without ridge and sign constraint w points where the labelled Fisher
    discriminant W^-1 D does (Sherman and Morrison 1950). Members need not be independent.
    """
    pool = thinned(pool, 4 * FIT_ROWS)
    shift = pool.test.mean(axis=0, dtype=np.float64) - pool.reference.mean(axis=0, dtype=np.float64)
    if len(pool.test) < 2:
        return normalised_weights(shift, varying(pool))
    centred = pool.test - pool.test.mean(axis=0)
    covariance = (centred.T @ centred).astype(np.float64) / (len(pool.test) - 1)
    mean_variance = max(float(np.trace(covariance)) / len(shift), 1e-12)
    covariance[np.diag_indices_from(covariance)] += RIDGE_LDA * mean_variance
    return normalised_weights(nonnegative_quadratic(covariance, shift), varying(pool))


def pu_logistic(pool: Pool) -> Floats64:
    """Non-negative logistic regression of test against reference, cross-fitted.

    It orders images as a regression on labels would (Elkan and Noto 2008). The weights are the mean of those of five
    fits, each without a fifth of the images.
    """
    pool = thinned(pool, FIT_ROWS)
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


def select(pool: Pool) -> Floats64:
    """SELECT's vertical selection (Rayana and Akoglu 2016): keeps members that raise the agreement with the consensus.

    Here for comparison: members that agree because they are alike are kept, and a good one that stands alone is not.
    """
    pool = thinned(pool, 4 * FIT_ROWS)
    usable = np.flatnonzero(varying(pool))
    if len(usable) < 2:
        return equal(pool)
    scores = pool.test[:, usable].astype(np.float64)
    target = scores.mean(axis=1)
    # The images that the consensus ranks first count most: each has the weight 1 / rank.
    mass = 1 / (1 + np.argsort(np.argsort(-target, kind="stable"), kind="stable"))
    mass /= mass.sum()

    def agreement(a: Floats64, b: Floats64) -> float:
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


def spectral(pool: Pool) -> Floats64:
    """Spectral meta-learner: the rank-one part of the covariance (Parisi et al. 2014; on ranks, Ahsen et al. 2019).

    Here for comparison: it takes members for independent given the label, and autoencoders are not.
    """
    pool = thinned(pool, 4 * FIT_ROWS)
    matrix = np.atleast_2d(np.cov(pool.test.astype(np.float64), rowvar=False)) if len(pool.test) > 1 else np.eye(1)
    if len(matrix) < 3 or not np.isfinite(matrix).all():
        return equal(pool)
    # The diagonal holds each member's own variance: it is replaced until the matrix is as near rank one as it gets.
    filled = matrix.copy()
    vector = np.zeros(len(matrix))
    for _ in range(50):
        values, vectors = np.linalg.eigh(filled)
        vector = vectors[:, -1] * np.sqrt(max(values[-1], 0.0))
        np.fill_diagonal(filled, vector**2)
    vector *= np.sign(vector.sum()) or 1.0
    return normalised_weights(vector, varying(pool))


def from_labels(pool: Pool) -> Floats64:
    """Non-negative logistic regression on the user's labels: an upper mark for comparison, never used by `auto`."""
    if pool.label is None:
        raise UsageError("the method 'labels' needs labels of the test images, got none: pass label=[...]")
    weights = nonnegative_logistic(pool.test[~pool.label], pool.test[pool.label], RIDGE_LOGISTIC)
    return normalised_weights(weights, varying(pool))


WEIGHERS: dict[str, Callable[[Pool], Floats64]] = {
    "equal": equal,
    "given": given,
    "prior": prior,
    "best-separation": best_separation,
    "greedy": greedy,
    "greedy-bagged": greedy_bagged,
    "pu-lda": pu_lda,
    "pu-logistic": pu_logistic,
    "select": select,
    "spectral": spectral,
    "labels": from_labels,
}


UNLEARNT = ("equal", "given", "prior")
"""Weighers that look at no test image but to see which members are constant."""
NEED_BOUNDED = ("greedy", "greedy-bagged")
"""Weighers that take scores in [0, 1] only."""


def varying(pool: Pool) -> Bools:
    """(m,) True for members that are not constant over reference and test."""
    # The extremes are a row each; a comparison with the first row would make a whole table of truth values.
    least = np.minimum(pool.reference.min(axis=0), pool.test.min(axis=0, initial=np.inf))
    varies: Bools = least != np.maximum(pool.reference.max(axis=0), pool.test.max(axis=0, initial=-np.inf))
    return varies


def thinned(pool: Pool, rows: int) -> Pool:
    """The pool with at most `rows` reference and `rows` test images, drawn by its seed; without its labels."""
    if max(len(pool.reference), len(pool.test)) <= rows:
        return pool
    rng = np.random.default_rng(pool.seed)

    def some(side: Floats) -> Floats:
        drawn = np.sort(rng.choice(len(side), size=min(len(side), rows), replace=False))
        return side.T[:, drawn].T  # a column lies together

    return Pool(reference=some(pool.reference), test=some(pool.test), given=pool.given, seed=pool.seed)


def _greedy_counts(reference: Floats, test: Floats, steps: int) -> Floats64:
    """How often each member (m,) is in the best of the sums."""
    members = reference.shape[1]
    counts, best_counts, best = np.zeros(members), np.zeros(members), -1.0
    sums = np.zeros(len(reference) + len(test))
    low, high = sums[: len(reference)], sums[len(reference) :]
    # A constant member moves all sums alike, which looks like a gain where they cross the edge of a bin.
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
    """Separation of whole numbers in [0, 16383] by counting, in a tenth of the time of sorting.

    Twice the number of reference images below each bin is a whole number, though ties count one half: the sum is exact.
    """
    counted = np.bincount(reference, minlength=_BINS)
    below = 2 * np.cumsum(counted) - counted
    return int(below[test].sum()) / (2 * len(reference) * len(test))
