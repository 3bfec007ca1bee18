"""Which members say something of their own, and how much each counts where nothing is learnt."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Self

import numpy as np

from ensemble_ad.blend.weight import Pool, thinned
from ensemble_ad.statistics.arrays import Bools, Floats, Floats64

REPEAT_POWER = 8  # members correlated 0.99 share 92% of a vote, members correlated 0.7 share 6%
_VOTE_ROWS = 2_000  # rows a side that the correlations are computed on


@dataclass(frozen=True, kw_only=True)
class Distinct:
    """The members without repetitions: one of each group that ranks all images alike.

    Attributes:
        columns: the d distinct members. Constant members are in no group, unless all are constant.
        spreading: (m, d) spreads the weight of a group evenly over its members.
        votes: (d,) a member's vote is 1 over the number of members that repeat it, where near-copies count nearly
            fully; sum 1.
    """

    columns: list[int]
    spreading: Floats64
    votes: Floats64

    @classmethod
    def of(cls, reference: Floats, test: Floats, left_out: Bools) -> Self:
        """The distinct ones of the members that are not `left_out` (m,), by their ranks (n, m) and (k, m)."""
        groups: dict[bytes, list[int]] = {}
        for column in np.flatnonzero(~left_out).tolist():
            first = reference[0, column]
            if (reference[:, column] != first).any() or (test[:, column] != first).any():
                digest = sha256(np.ascontiguousarray(reference[:, column]).tobytes())
                digest.update(np.ascontiguousarray(test[:, column]).tobytes())
                groups.setdefault(digest.digest(), []).append(column)
        together = list(groups.values()) or [np.flatnonzero(~left_out).tolist()]
        spreading = np.zeros((reference.shape[1], len(together)))
        for index, group in enumerate(together):
            spreading[group, index] = 1 / len(group)
        columns = [group[0] for group in together]
        return cls(columns=columns, spreading=spreading, votes=_votes(reference, test, columns))

    @property
    def every_vote(self) -> Floats64:
        """(m,) the votes of all members, sum 1."""
        return self.spread(self.votes)

    def spread(self, raw: Floats64) -> Floats64:
        """Raw weights (d,) of the distinct members as weights (m,) of all, sum 1."""
        return np.asarray(self.spreading @ (raw / raw.sum()), dtype=np.float64)


def _votes(reference: Floats, test: Floats, columns: list[int]) -> Floats64:
    pool = thinned(Pool(reference=reference, test=test), _VOTE_ROWS)
    rows = np.concatenate([pool.reference[:, columns], pool.test[:, columns]]).astype(np.float64)
    rows -= rows.mean(axis=0)
    size = np.sqrt((rows**2).sum(axis=0))
    alike = np.maximum(rows.T @ rows / np.maximum(np.outer(size, size), 1e-300), 0.0)
    np.fill_diagonal(alike, 1.0)
    votes: Floats64 = 1 / (alike**REPEAT_POWER).sum(axis=0)
    return np.asarray(votes / votes.sum(), dtype=np.float64)
