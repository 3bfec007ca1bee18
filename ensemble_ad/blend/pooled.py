"""What the parts of `auto` are fitted on: the members' ranks among reference and test images together."""

from dataclasses import dataclass

import numpy as np

from ensemble_ad.blend.distinct import Distinct
from ensemble_ad.blend.guard import surely_inverted
from ensemble_ad.blend.normalise import FrozenNormaliser, halves, reshaped
from ensemble_ad.blend.rule import Part
from ensemble_ad.statistics import separation_many
from ensemble_ad.statistics.arrays import Bools, Floats, Floats64


@dataclass(frozen=True, kw_only=True)
class PooledRanks:
    """The ranks of both sides.

    Attributes:
        frozen: the normaliser that ranks reference and test together.
        reference, test: (n, m) and (k, m) pooled ranks.
        members: the members to use.
        seed: seed of all random choices.
    """

    frozen: FrozenNormaliser
    reference: Floats
    test: Floats
    members: Distinct
    seed: int

    @property
    def rows(self) -> int:
        """How many rows are ranked together."""
        return len(self.reference) + len(self.test)

    def scored(self, part: Part, some: Floats) -> Floats64:
        """A part's score of rows (r, m) whose pooled ranks are known: nothing is looked up twice."""
        name = part.normaliser.name
        return part.of_normalised(some, lambda column: reshaped(name, column.astype(np.float64), self.rows))

    def upside_down(self) -> Bools:
        """(m,) True for members that are surely inverted; only those whose test ranks are the lower ones are sorted."""
        found: Bools = self.test.mean(axis=0, dtype=np.float64) < self.reference.mean(axis=0, dtype=np.float64)
        if found.any():
            found[found] = surely_inverted(separation_many(self.reference[:, found], self.test[:, found]))
        return found

    def tails(self, weights: Floats64) -> tuple[Floats64, Floats64]:
        """(n,) and (k,): the members' weighted mean of -log p among the reference, as the normaliser `tail` has it."""
        n, totals = len(self.reference), (np.zeros(len(self.reference)), np.zeros(len(self.test)))
        tail = -np.log(np.arange(n + 1, 0, -1) / (n + 1))  # by how many of the reference lie below
        for member in np.flatnonzero(weights):
            places = [halves(side[:, member], self.rows) for side in (self.reference, self.test)]
            counts = np.bincount(places[0], minlength=2 * self.rows)
            below = np.cumsum(counts) - counts
            for total, place in zip(totals, places, strict=True):
                total += weights[member] * tail[below[place]]
        return totals
