"""Ensemble selection on pseudo-anomalies: which members see them best together.

Caruana, Niculescu-Mizil, Crew and Ksikes 2004 (ICML), with pseudo-anomalies in the place of labels. Of members that see
them best by themselves many are near-copies of one another; a member joins by what it adds to those that have.
"""

import numpy as np
from numpy.typing import NDArray

from ensemble_ad.blend.normalise import reference_tail
from ensemble_ad.blend.seen import SeenDefects, worth
from ensemble_ad.statistics.arrays import Floats, Floats64
from ensemble_ad.statistics.ranks import placements

ROUNDS = 10  # in each of which one member joins
_ROWS = 1_000  # of the held-out images, and of each kind of pseudo-anomaly


def selected(seen: SeenDefects, columns: NDArray[np.intp]) -> Floats64:
    """How much each of some members counts, float64 (c,), sum 1: the portion of the rounds in which it has joined.

    In each round that member joins, again or for the first time, with which the mean of -log p over those that have
    joined sees pseudo-anomalies best (`seen.worth`).

    Args:
        seen: the members' scores of pseudo-anomalies.
        columns: (c,) the members, at least one, all with such scores; of two that add alike the first joins.
    """
    low, high = _tails(seen, columns)
    sizes = [len(_evenly(kind)) for kind in seen.pseudo.values()]
    joined, of_low, of_high = np.zeros(len(columns)), np.zeros(len(low)), np.zeros(len(high))
    for _ in range(ROUNDS):
        best = int(np.argmax(worth(_aucs(of_low[:, None] + low, of_high[:, None] + high, sizes))))
        joined[best] += 1
        of_low += low[:, best]
        of_high += high[:, best]
    return joined / ROUNDS


def _tails(seen: SeenDefects, columns: NDArray[np.intp]) -> tuple[Floats64, Floats64]:
    """-log p of members' scores among their held-out ones: of these, and of pseudo-anomalies, kind after kind."""
    low = _evenly(seen.reference)[:, columns]
    high = np.concatenate([_evenly(kind)[:, columns] for kind in seen.pseudo.values()])
    out = np.empty((len(low) + len(high), len(columns)), order="F")
    reference_tail(low, high, out)
    return out[: len(low)], out[len(low) :]


def _evenly(side: Floats) -> Floats:
    return side[:: -(-len(side) // _ROWS)]


def _aucs(low: Floats64, high: Floats64, sizes: list[int]) -> Floats64:
    """(c, K) the AUC of each column of (r, c) and (d, c) by kind, of which so many rows come one after another."""
    below, _ = placements(low.T, high.T)
    return np.asarray(np.add.reduceat(below, np.cumsum([0, *sizes[:-1]]), axis=1) / np.array(sizes))
