"""Put members on one scale. A fitted normaliser is frozen: it scores new rows one at a time, without the batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ensemble_ad.statistics.ranks import sorted_midranks

Floats = NDArray[np.float64]
Numbers = NDArray[np.floating]

_CHUNK_NUMBERS = 400_000  # numbers ranked at a time, so that the working arrays stay within a processor's cache
_EXACT_ROWS = 50_000  # above this the frozen copy is thinned: 40,000 rows x 100 members already take 16 MB
_LINEAR = 6.0  # robust z beyond this grows with its logarithm, so that one absurd value cannot own the blend


@dataclass(frozen=True, kw_only=True)
class FrozenNormaliser:
    """A normaliser with what it learned.

    Attributes:
        name: Its key in `NORMALISERS`.
        base: (q, m) sorted scores that new ones are ranked among; or for robust-z the rows centre and scale.
        count: (q + 1,) rows of the full set at or below each row of `base`, 0 first: where `base` is thinned, ranks
            stay those of the full set.
    """

    name: str
    base: Numbers
    count: Floats

    def transform(self, scores: Numbers) -> Floats:
        """Normalised scores of new rows, (r, m) -> (r, m) float64; a row's result depends on that row alone."""
        out = np.empty(scores.shape)
        for column in range(scores.shape[1]):
            out[:, column] = self.transform_column(scores[:, column], column)
        return out

    def transform_column(self, score: Numbers, column: int) -> Floats:
        """Normalised scores (r,) of one member."""
        if self.name == "robust-z":
            return _compressed((score.astype(np.float64) - self.base[0, column]) / self.base[1, column])
        return self.from_counts(*self.counts(score, column))

    def counts(self, score: Numbers, column: int) -> tuple[Floats, Floats]:
        """How many base rows score below, and at or below, each of (r,) scores of one member."""
        base = self.base[:, column]
        # Looked up in ascending order, the binary searches stay within the processor's cache: four times faster.
        order = np.argsort(score)
        ordered = score[order]
        below, upto = np.empty(len(score)), np.empty(len(score))
        below[order] = self.count[np.searchsorted(base, ordered, side="left")]
        upto[order] = self.count[np.searchsorted(base, ordered, side="right")]
        return below, upto

    def from_counts(self, below: Floats, upto: Floats) -> Floats:
        """Normalised scores (r,) from what `counts` gave, for this or another normaliser on the same base."""
        return _from_counts(self.name, below, upto, float(self.count[-1]))


def _from_counts(name: str, below: Floats, upto: Floats, total: float) -> Floats:
    """From how many base rows score below, and at or below, to the normalised score."""
    if name == "tail":
        tail: Floats = -np.log((total - below + 1) / (total + 1))
        return tail
    middle = (below + upto) / 2
    if name == "ecdf":
        ecdf: Floats = (middle + 0.5) / (total + 1)
        return ecdf
    return reshaped(name, np.clip(middle / total, 0.5 / total, 1 - 0.5 / total))


def reshaped(name: str, share: Floats) -> Floats:
    """What normaliser `name` makes of a rank in (0, 1)."""
    if name == "gauss":
        from scipy.special import ndtri  # a tenth of a second, which the methods on ranks need not wait for

        normal: Floats = ndtri(share)
        return normal
    if name == "pooled-tail":
        stretched: Floats = -np.log1p(-share)
        return stretched
    return share


def _compressed(z: Floats) -> Floats:
    size = np.abs(z)
    bent: Floats = np.where(size <= _LINEAR, z, np.sign(z) * (_LINEAR + np.log(np.maximum(size, _LINEAR) / _LINEAR)))
    return bent


def batch_rank(reference: Numbers, test: Numbers) -> FrozenNormaliser:
    """Rank among the test batch, (midrank - 0.5) / k: what a Kaggle rank blend does; ignores the reference."""
    return _ranked("rank", test)


def pooled_rank(reference: Numbers, test: Numbers) -> FrozenNormaliser:
    """Rank among reference and test together: as the rank in the batch, and comparable between the two."""
    return _ranked("pooled-rank", reference, test)


def gaussian_rank(reference: Numbers, test: Numbers) -> FrozenNormaliser:
    """Pooled rank through the normal quantile function: bell-shaped, as a linear discriminant likes it."""
    return _ranked("gauss", reference, test)


def pooled_tail(reference: Numbers, test: Numbers) -> FrozenNormaliser:
    """-log(1 - pooled rank): the anomalous end stretched, which finds few but extreme anomalies."""
    return _ranked("pooled-tail", reference, test)


def reference_ecdf(reference: Numbers, test: Numbers) -> FrozenNormaliser:
    """Share of reference images below, in (0, 1): an image's score does not depend on what else is in the batch."""
    return _ranked("ecdf", reference)


def reference_tail(reference: Numbers, test: Numbers) -> FrozenNormaliser:
    """-log of the conformal p value (1 + reference images at or above) / (n + 1): stretches the anomalous end."""
    return _ranked("tail", reference)


def robust_z(reference: Numbers, test: Numbers) -> FrozenNormaliser:
    """(score - median) / (1.4826 MAD) of the reference; beyond 6 it grows logarithmically."""
    columns = reference.shape[1]
    base = np.empty((2, columns))
    for column in range(columns):
        values = reference[:, column].astype(np.float64)
        centre = float(np.median(values))
        away = np.abs(values - centre)
        base[0, column] = centre
        # A MAD of 0 (most scores equal) says nothing of the spread; the mean deviation does unless all are equal.
        base[1, column] = 1.4826 * float(np.median(away)) or 1.2533 * float((away / len(away)).sum()) or 1.0
    return FrozenNormaliser(name="robust-z", base=base, count=np.zeros(3))


NORMALISERS: dict[str, Callable[[Numbers, Numbers], FrozenNormaliser]] = {
    "rank": batch_rank,
    "pooled-rank": pooled_rank,
    "gauss": gaussian_rank,
    "pooled-tail": pooled_tail,
    "ecdf": reference_ecdf,
    "tail": reference_tail,
    "robust-z": robust_z,
}


POOLED = ("pooled-rank", "gauss", "pooled-tail")  # these do not know which rows are reference and which test


def renamed(frozen: FrozenNormaliser, name: str) -> FrozenNormaliser:
    """Another normaliser on the same base of ranks, which is shared, not copied; both names from `POOLED`."""
    return replace(frozen, name=name)


def normalise(name: str, reference: Numbers, test: Numbers) -> tuple[FrozenNormaliser, Numbers, Numbers]:
    """Fit `NORMALISERS[name]` and apply it to the data it was fitted on.

    Returns:
        The frozen normaliser, and reference (n, m) and test (k, m) normalised, in Fortran order (columns contiguous).
        They are float64 up to 50,000 rows in all and float32 above, where memory counts: they are the one copy that is
        made of the scores.
    """
    rows, columns = len(reference) + len(test), reference.shape[1]
    dtype = np.float64 if rows <= _EXACT_ROWS else np.float32
    out = np.empty((rows, columns), dtype=dtype, order="F")
    if name in POOLED:
        frozen = _rank_together(name, reference, test, out)
    else:
        frozen = NORMALISERS[name](reference, test)
        for column in range(columns):
            out[: len(reference), column] = frozen.transform_column(reference[:, column], column)
            out[len(reference) :, column] = frozen.transform_column(test[:, column], column)
    return frozen, out[: len(reference)], out[len(reference) :]


def _rank_together(name: str, reference: Numbers, test: Numbers, out: Numbers) -> FrozenNormaliser:
    """`_ranked` of both, and what it makes of them in `out`, by one sort of each column."""
    rows, columns = out.shape
    kept = _kept_positions(rows)
    base = np.empty((len(kept), columns), dtype=np.result_type(reference, test), order="F")
    width = max(1, _CHUNK_NUMBERS // rows)
    for start in range(0, columns, width):
        part = slice(start, start + width)
        ordered, share = sorted_midranks(np.concatenate([reference[:, part], test[:, part]]).T)
        base[:, part] = ordered[:, kept].T
        share -= 0.5
        share /= rows
        out[:, part] = reshaped(name, np.clip(share, 0.5 / rows, 1 - 0.5 / rows, out=share)).T
    return FrozenNormaliser(name=name, base=base, count=np.append(0.0, kept + 1.0))


def _ranked(name: str, *blocks: Numbers) -> FrozenNormaliser:
    columns = blocks[0].shape[1]
    kept = _kept_positions(sum(map(len, blocks)))
    ordered = np.empty((len(kept), columns), dtype=np.result_type(*blocks), order="F")
    for column in range(columns):
        ordered[:, column] = np.sort(np.concatenate([block[:, column] for block in blocks]))[kept]
    return FrozenNormaliser(name=name, base=ordered, count=np.append(0.0, kept + 1.0))


def _kept_positions(rows: int) -> NDArray[np.intp]:
    """Sorted positions to keep of a column: all, or for very many rows both tails whole and the middle evenly."""
    if rows <= _EXACT_ROWS:
        return np.arange(rows)
    tail = 2_000
    middle = np.linspace(tail, rows - tail - 1, 6_000).astype(np.intp)
    return np.unique(np.concatenate([np.arange(tail), middle, np.arange(rows - tail, rows)]))
