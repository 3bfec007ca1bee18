"""What is known of members before any test image is seen: how well they tell pseudo-anomalies from normal images."""

from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np

from ensemble_ad.members.defect_aucs import kept_kinds
from ensemble_ad.statistics import separation_many
from ensemble_ad.statistics.arrays import Floats, Floats64

BEST = 5  # members that count


class Seen(dict[str, Floats64]):
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

    def of_members(self, columns: Sequence[int]) -> "Seen":
        """The same of some members."""
        return Seen({kind: values[columns] for kind, values in self.items()})

    def without(self, kind: str) -> "Seen":
        """The same without one kind."""
        return Seen({name: values for name, values in self.items() if name != kind})


def prior_weights(seen: Seen | None, votes: Floats64) -> Floats64:
    """Weights (m,) of the members, sum 1, without any test image.

    The five members count alike that see the kinds of pseudo-anomaly best in the mean, each judged without the kind
    that it sees best: so a member that only sees blur does not win by blur. Kinds that do not tell these members apart
    are dropped (`defect_aucs.kept_kinds`). Members without scores of pseudo-anomalies are taken for middling ones: they
    get as much together as their votes say. Without pseudo-anomalies the votes are all that is known.

    Args:
        seen: what the members see; None, or without kinds, where that is not known.
        votes: (m,) what members count where nothing is known of them (`distinct.Distinct.votes`), sum 1.
    """
    if not seen:
        return votes
    known = np.isfinite(np.stack(list(seen.values()))).all(axis=0) & (votes > 0)
    if not known.any():
        return votes
    columns = np.flatnonzero(known)
    table = [{kind: float(values[column]) for kind, values in seen.items()} for column in columns]
    kinds = kept_kinds(table)
    aucs = np.array([[row[kind] for kind in kinds] for row in table])
    weights = votes.copy()
    best = columns[np.argsort(-_worth(aucs), kind="stable")[:BEST]]
    weights[known] = 0.0
    weights[best] = votes[known].sum() / len(best)
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def _worth(aucs: Floats64) -> Floats64:
    """(m,) mean of each member's AUCs (m, K), without its largest where there are several."""
    kinds = aucs.shape[1]
    if kinds == 1:
        return aucs[:, 0]
    return np.asarray((aucs.sum(axis=1) - aucs.max(axis=1)) / (kinds - 1), dtype=np.float64)
