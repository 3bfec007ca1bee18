"""What members count before any test image is seen: by how well they tell pseudo-anomalies from normal images."""

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from ensemble_ad.blend.seen import SeenDefects, worth
from ensemble_ad.blend.selection import selected
from ensemble_ad.statistics.arrays import Bools, Floats64

BEST = 5  # members that count by themselves
_ALONE = 0.5  # what these have of the weights
_FEW = 30  # of more members they have less
_CANDIDATES = 60  # members that may join others
_SEES = 0.5  # one that may join sees damaged images at least so far from normal ones, as a part of what the best does


def prior_weights(seen: SeenDefects | None, votes: Floats64) -> Floats64:
    """Weights (m,) of the members, sum 1, without any test image.

    Half by `by_odds`, half by `selection.selected` of those that see pseudo-anomalies best, sixty at most. The former
    goes by what each is worth alone, so that near-copies may have it all; the latter by what they are worth together,
    which takes more images to tell. Of m > 30 members the former have 15 / m instead of half: the best of many are so
    by luck, and near-copies (benchmarks/prior.md). Members without scores of pseudo-anomalies are taken for middling
    ones: they get as much together as their votes say. Without pseudo-anomalies the votes are all that is known.

    Args:
        seen: what the members see; None where that is not known.
        votes: (m,) what members count where nothing is known of them (`distinct.Distinct.votes`), sum 1.
    """
    if seen is None:
        return votes
    columns = np.flatnonzero(seen.known & (votes > 0))
    if not len(columns):
        return votes
    own = worth(seen.aucs[columns])
    joining, alone = _joining(own), _ALONE * min(1.0, _FEW / len(columns))
    found = alone * by_odds(own)
    found[joining] += (1 - alone) * selected(seen, columns[joining])
    weights = votes.copy()
    weights[columns] = votes[columns].sum() * found
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def _joining(own: Floats64) -> NDArray[np.intp]:
    """The members that may join others, the best first: one that sees next to nothing would join by chance."""
    distance = np.array([NormalDist().inv_cdf(auc) for auc in own.tolist()])
    best = np.argsort(-own, kind="stable")[:_CANDIDATES]
    farthest = distance[best[0]]
    return np.asarray(best[distance[best] >= min(farthest, _SEES * farthest)])


def by_odds(own: Floats64) -> Floats64:
    """Weights (m,), sum 1, of members that see pseudo-anomalies so well (m,), by the odds of that AUC, AUC / (1 - AUC).

    The five best count. Where two are good and all others poor, they are not drowned.
    """
    best = np.argsort(-own, kind="stable")[:BEST]
    weights = np.zeros(len(own))
    weights[best] = own[best] / (1 - own[best])
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def without(some: Bools, weights: Floats64) -> Floats64:
    """Weights (m,) without those of some members, sum 1; all as they are where nothing would be left."""
    left = np.where(some, 0.0, weights)
    return left / left.sum() if left.sum() > 0 else weights
