"""Members on one scale. A fitted normaliser is frozen: it scores new rows one at a time, without the batch."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from ensemble_ad.statistics.arrays import Floats, Floats64
from ensemble_ad.statistics.ranks import CHUNK_NUMBERS, sorted_midranks

_EXACT_ROWS = 50_000  # of more rows, the frozen copy keeps some: 40,000 rows x 100 members already take 16 MB
_TABLE_PAYS = 50  # times as many rows as are looked up, for the quantiles of all ranks to be made for them
_LINEAR = 6.0  # a robust z beyond it grows with its logarithm, so that one absurd value cannot own the blend


@dataclass(frozen=True, kw_only=True)
class FrozenNormaliser:
    """A normaliser with what it has learnt.

    Attributes:
        name: its key in `NORMALISERS`.
        base: (q, m) sorted scores among which new ones are ranked; for robust-z (2, m), centre and scale.
        count: (q + 1,) how many rows of the full set lie at or below each row of `base`, with a 0 first. So ranks are
            those of the full set even where `base` holds only some of its rows.
    """

    name: str
    base: Floats
    count: Floats64

    def transform_column(self, score: Floats, column: int) -> Floats64:
        """Normalised scores (r,) of one member; each depends on its row alone."""
        if self.name == "robust-z":
            return _compressed((score.astype(np.float64) - self.base[0, column]) / self.base[1, column])
        return self.from_counts(*self.counts(score, column))

    def counts(self, score: Floats, column: int) -> tuple[Floats64, Floats64]:
        """How many base rows lie below, and how many at or below, each of (r,) scores of one member."""
        base = self.base[:, column]
        # Looked up in ascending order, the binary searches stay within the processor's cache: four times faster.
        order = np.argsort(score)
        ordered = score[order]
        below, upto = np.empty(len(score)), np.empty(len(score))
        below[order] = self.count[np.searchsorted(base, ordered, side="left")]
        upto[order] = self.count[np.searchsorted(base, ordered, side="right")]
        return below, upto

    def from_counts(self, below: Floats64, upto: Floats64) -> Floats64:
        """Normalised scores (r,) from what `counts` gave, by this normaliser or another one with the same base."""
        total = float(self.count[-1])
        if self.name == "tail":
            tail: Floats64 = -np.log((total - below + 1) / (total + 1))
            return tail
        middle = (below + upto) / 2
        if self.name == "ecdf":
            ecdf: Floats64 = (middle + 0.5) / (total + 1)
            return ecdf
        return reshaped(self.name, np.clip(middle / total, 0.5 / total, 1 - 0.5 / total), int(total))


def reshaped(name: str, rank: Floats64, rows: int) -> Floats64:
    """What the normaliser `name` makes of ranks in (0, 1) among so many rows, which are multiples of half a row."""
    if name == "gauss":
        place = halves(rank, rows)
        if place.size * _TABLE_PAYS < rows:
            lower = _lower_quantiles(np.minimum(place, 2 * rows - place) / (2 * rows))
            return np.where(place > rows, -lower, lower)
        return _quantiles_of_ranks(rows)[place]
    if name == "pooled-tail":
        stretched: Floats64 = -np.log1p(-rank)
        return stretched
    return rank


def halves(rank: Floats, rows: int) -> NDArray[np.intp]:
    """Ranks in (0, 1) among so many rows by their number of half rows, 1 to 2 * rows - 1."""
    return np.rint(rank * np.float64(2 * rows)).astype(np.intp)


@lru_cache(maxsize=2)
def _quantiles_of_ranks(rows: int) -> Floats64:
    """The normal quantile of every rank there can be, by the number of half rows."""
    lower = _lower_quantiles(np.arange(1, rows + 1) / (2 * rows))
    return np.concatenate([[0.0], lower, -lower[-2::-1]])


def _lower_quantiles(chances: Floats64) -> Floats64:
    """The normal quantiles of chances up to one half: Python's, since scipy's import takes a seventh of a second."""
    return np.array([*map(NormalDist().inv_cdf, chances.ravel().tolist())]).reshape(chances.shape)


def _compressed(z: Floats64) -> Floats64:
    size = np.abs(z)
    bent: Floats64 = np.where(size <= _LINEAR, z, np.sign(z) * (_LINEAR + np.log(np.maximum(size, _LINEAR) / _LINEAR)))
    return bent


def batch_rank(reference: Floats, test: Floats, out: Floats) -> FrozenNormaliser:
    """Rank among the test batch, (midrank - 0.5) / k: what a Kaggle rank blend does; ignores the reference."""
    return _applied(_ranked("rank", test), reference, test, out)


def pooled_rank(reference: Floats, test: Floats, out: Floats) -> FrozenNormaliser:
    """Rank among reference and test together: like the rank in the batch, but comparable between the two."""
    return _ranked_together("pooled-rank", reference, test, out)


def gaussian_rank(reference: Floats, test: Floats, out: Floats) -> FrozenNormaliser:
    """Pooled rank through the normal quantile function: bell-shaped, which suits a linear discriminant."""
    return _ranked_together("gauss", reference, test, out)


def pooled_tail(reference: Floats, test: Floats, out: Floats) -> FrozenNormaliser:
    """-log(1 - pooled rank): stretches the anomalous end, which finds few but extreme anomalies."""
    return _ranked_together("pooled-tail", reference, test, out)


def reference_ecdf(reference: Floats, test: Floats, out: Floats) -> FrozenNormaliser:
    """Share of reference images below, in (0, 1): an image's score does not depend on what else is in the batch."""
    return _applied(_ranked("ecdf", reference), reference, test, out)


def reference_tail(reference: Floats, test: Floats, out: Floats) -> FrozenNormaliser:
    """-log of the conformal p value (1 + reference images at or above) / (n + 1): stretches the anomalous end."""
    return _applied(_ranked("tail", reference), reference, test, out)


def robust_z(reference: Floats, test: Floats, out: Floats) -> FrozenNormaliser:
    """(score - median) / (1.4826 MAD) of the reference; beyond 6 it grows logarithmically."""
    columns = reference.shape[1]
    base = np.empty((2, columns))
    for column in range(columns):
        values = reference[:, column].astype(np.float64)
        centre = float(np.median(values))
        away = np.abs(values - centre)
        base[0, column] = centre
        # A MAD of 0 (most scores equal) does not tell the spread; the mean deviation does, unless all are equal.
        base[1, column] = 1.4826 * float(np.median(away)) or 1.2533 * float((away / len(away)).sum()) or 1.0
    return _applied(FrozenNormaliser(name="robust-z", base=base, count=np.zeros(3)), reference, test, out)


NORMALISERS: dict[str, Callable[[Floats, Floats, Floats], FrozenNormaliser]] = {
    "rank": batch_rank,
    "pooled-rank": pooled_rank,
    "gauss": gaussian_rank,
    "pooled-tail": pooled_tail,
    "ecdf": reference_ecdf,
    "tail": reference_tail,
    "robust-z": robust_z,
}
"""Fits a normaliser on reference (n, m) and test (k, m), and writes both into `out` (n + k, m), normalised."""

POOLED = ("pooled-rank", "gauss", "pooled-tail")
"""Normalisers that do not know which rows are reference and which are test."""
BOUNDED = ("rank", "pooled-rank", "ecdf")
"""Normalisers whose scores lie in [0, 1]."""


def renamed(frozen: FrozenNormaliser, name: str) -> FrozenNormaliser:
    """Another normaliser of `POOLED` on the same base of ranks, which is shared and not copied."""
    return replace(frozen, name=name)


def normalise(name: str, reference: Floats, test: Floats) -> tuple[FrozenNormaliser, Floats, Floats]:
    """Fit `NORMALISERS[name]` and apply it to the scores that it was fitted on.

    Returns:
        The frozen normaliser, and reference (n, m) and test (k, m) normalised, in Fortran order (a column lies
        together). They are the only copy of the scores that is made: float64 up to 50,000 rows in all, float32 above,
        where memory counts.
    """
    rows, columns = len(reference) + len(test), reference.shape[1]
    dtype = np.float64 if rows <= _EXACT_ROWS else np.float32
    out = np.empty((rows, columns), dtype=dtype, order="F")
    frozen = NORMALISERS[name](reference, test, out)
    return frozen, out[: len(reference)], out[len(reference) :]


def _applied(frozen: FrozenNormaliser, reference: Floats, test: Floats, out: Floats) -> FrozenNormaliser:
    """The same normaliser, which has written both sides, normalised, into `out`."""
    for column in range(out.shape[1]):
        out[: len(reference), column] = frozen.transform_column(reference[:, column], column)
        out[len(reference) :, column] = frozen.transform_column(test[:, column], column)
    return frozen


def _ranked_together(name: str, reference: Floats, test: Floats, out: Floats) -> FrozenNormaliser:
    """`_ranked` of both sides and `_applied` to them, by only one sort of each column."""
    rows, columns = out.shape
    kept = _kept_positions(rows)
    base = np.empty((len(kept), columns), dtype=np.result_type(reference, test), order="F")
    width = max(1, CHUNK_NUMBERS // rows)
    for start in range(0, columns, width):
        part = slice(start, start + width)
        ordered, rank = sorted_midranks(np.concatenate([reference[:, part], test[:, part]]).T)
        base[:, part] = ordered[:, kept].T
        rank -= 0.5
        rank /= rows
        out[:, part] = reshaped(name, np.clip(rank, 0.5 / rows, 1 - 0.5 / rows, out=rank), rows).T
    return FrozenNormaliser(name=name, base=base, count=np.append(0.0, kept + 1.0))


def _ranked(name: str, side: Floats) -> FrozenNormaliser:
    """A normaliser that ranks among the rows of one side."""
    kept = _kept_positions(len(side))
    base = np.empty((len(kept), side.shape[1]), dtype=side.dtype, order="F")
    for column in range(side.shape[1]):
        base[:, column] = np.sort(side[:, column])[kept]
    return FrozenNormaliser(name=name, base=base, count=np.append(0.0, kept + 1.0))


def _kept_positions(rows: int) -> NDArray[np.intp]:
    """The sorted positions of a column to keep: all, or of very many rows both tails and an even grid between them."""
    if rows <= _EXACT_ROWS:
        return np.arange(rows)
    tail = 2_000
    middle = np.linspace(tail, rows - tail - 1, 6_000).astype(np.intp)
    return np.unique(np.concatenate([np.arange(tail), middle, np.arange(rows - tail, rows)]))
