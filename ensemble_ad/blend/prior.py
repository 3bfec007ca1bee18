"""What is known of members before any test image is seen: how well they tell pseudo-anomalies from normal images."""

from collections.abc import Mapping
from typing import Self

import numpy as np

from ensemble_ad.members.defect_aucs import pooled
from ensemble_ad.statistics import separation_many
from ensemble_ad.statistics.arrays import Bools, Floats, Floats64

BEST = 5  # members that count


class KindAucs(dict[str, Floats64]):
    """How well each member sees each kind of pseudo-anomaly.

    By kind, float64 (m,): P(a pseudo-anomaly scores above a held-out normal image); NaN for members without scores of
    pseudo-anomalies.
    """

    @classmethod
    def of(cls, reference: Floats, pseudo: Mapping[str, Floats]) -> Self:
        """By the reference (n, m) and the pseudo-anomalies (d, m) of each kind, NaN where a member has none."""
        found = cls()
        for kind, scores in pseudo.items():
            known = np.isfinite(scores).all(axis=0)
            values = np.full(scores.shape[1], np.nan)
            if known.any():
                values[known] = separation_many(reference[:, known], scores[:, known]).value
            found[kind] = values
        return found

    @property
    def known(self) -> Bools:
        """(m,) True for members whose scores of pseudo-anomalies are known; there has to be a kind."""
        return np.asarray(np.isfinite(np.stack(list(self.values()))).all(axis=0))


def prior_weights(seen: KindAucs | None, votes: Floats64) -> Floats64:
    """Weights (m,) of the members, sum 1, without any test image.

    The five members count that see the kinds of pseudo-anomaly best (`defect_aucs.pooled`), each judged without the
    kind that it sees best: so a member that only sees turns does not win by turns. Each counts by the odds of that AUC,
    AUC / (1 - AUC): where two are good and all others poor, they are not drowned (benchmarks/prior.md). Members
    without scores of pseudo-anomalies are taken for middling ones: they get as much together as their votes say.
    Without pseudo-anomalies the votes are all that is known.

    Args:
        seen: what the members see; None, or without kinds, where that is not known.
        votes: (m,) what members count where nothing is known of them (`distinct.Distinct.votes`), sum 1.
    """
    if not seen:
        return votes
    known = seen.known & (votes > 0)
    if not known.any():
        return votes
    columns = np.flatnonzero(known)
    aucs = np.stack([values[columns] for values in seen.values()], axis=1)
    weights = votes.copy()
    worth = member_worth(aucs)
    best = np.argsort(-worth, kind="stable")[:BEST]
    odds = worth[best] / (1 - worth[best])
    weights[known] = 0.0
    weights[columns[best]] = votes[known].sum() * odds / odds.sum()
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def without(some: Bools, weights: Floats64) -> Floats64:
    """Weights (m,) without those of some members, sum 1; all as they are where nothing would be left."""
    left = np.where(some, 0.0, weights)
    return left / left.sum() if left.sum() > 0 else weights


def member_worth(aucs: Floats64) -> Floats64:
    """(m,) what each member's AUCs (m, K) come to, without its largest where there are several."""
    ascending = np.sort(aucs, axis=1)
    return np.array([pooled(row[:-1] if len(row) > 1 else row) for row in ascending.tolist()])
