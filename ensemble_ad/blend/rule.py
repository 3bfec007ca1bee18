"""The rule of a blend: frozen parts, each a normaliser and a combiner, whose scores are added up."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ensemble_ad.blend.combine import COMBINERS, GetColumn
from ensemble_ad.blend.forest import Forest
from ensemble_ad.blend.normalise import FrozenNormaliser
from ensemble_ad.statistics import Estimate
from ensemble_ad.statistics.arrays import Bools, Floats, Floats64

_BLOCK_NUMBERS = 1 << 22  # rows x members that are combined at a time: 32 MB as float64, however many rows there are


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a rule, frozen: normalise, combine, standardise.

    Attributes:
        name: the method that made it.
        normaliser: frozen normaliser of all members.
        combiner: key of `COMBINERS`, or "forest".
        weights: (m,) non-negative, sum 1.
        centre, scale: the combined score becomes (score - centre) / scale, so that parts can be added.
        portion: what the part counts in the sum.
        forest: the trees, where the combiner is "forest"; `weights` then says what each member gains in them.
    """

    name: str
    normaliser: FrozenNormaliser
    combiner: str
    weights: Floats64
    centre: float = 0.0
    scale: float = 1.0
    portion: float = 1.0
    forest: Forest | None = None

    def combine(self, column: GetColumn, rows: int) -> Floats64:
        """`portion` times the score (rows,) of rows whose normalised members `column` gives, (rows,) each."""
        if self.forest is None:
            combined = COMBINERS[self.combiner](column, self.weights)
        else:
            combined = self.forest.score_columns(column, rows, grid=2 * int(self.normaliser.count[-1]))
        result: Floats64 = self.portion * ((combined - self.centre) / self.scale)
        return result

    def of_normalised(self, table: Floats, reshape: Callable[[Floats], Floats] = lambda column: column) -> Floats64:
        """Scores (r,) of rows (r, m) that are normalised, or become so where `reshape` is applied to each column."""
        out = np.empty(len(table))
        for place in _row_blocks(table):
            block = table[place]
            out[place] = self.combine(_columns(block, reshape), len(block))
        return out


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A fitted method.

    Attributes:
        parts: the parts whose scores are added up; most methods have one.
        weights: (m,) what each member counts in all, non-negative, sum 1.
        test: (k,) scores of the test images that it was fitted on.
        share: estimated share of anomalies among them, or None where there are too few images to estimate it.
        learnt: how much `auto` could learn, from 0 to 1 (1: it needs no prior); None for other methods.
        left_out: (m,) True for members that `auto` left out, since they speak of more anomalies than are plausible, or
            of far more than the prior does.
        differs: whether what `auto` learnt from the other members did so too, so that only the prior is left.
        disagrees: whether it speaks of so many more anomalies than the prior does that it is not wholly believed.
    """

    parts: tuple[Part, ...]
    weights: Floats64
    test: Floats64
    share: Estimate | None
    learnt: float | None = None
    left_out: Bools | None = None
    differs: bool = False
    disagrees: bool = False

    @property
    def method(self) -> str:
        """The method, or the names of the parts that `auto` chose."""
        return "+".join(dict.fromkeys(part.name for part in self.parts))


def total_score(parts: tuple[Part, ...], rows: Floats) -> Floats64:
    """The sum of the parts' scores of raw rows (r, m) -> (r,); parts with one base of ranks look it up only once."""
    total = np.zeros(len(rows))
    for place in _row_blocks(rows):
        block, known = rows[place], dict[tuple[int, int], tuple[Floats64, Floats64]]()
        for part in parts:
            total[place] += part.combine(_normalised_columns(part.normaliser, block, known), len(block))
    return total


def _columns(table: Floats, reshape: Callable[[Floats], Floats]) -> GetColumn:
    return lambda member: reshape(table[:, member])


def _normalised_columns(
    normaliser: FrozenNormaliser, rows: Floats, known: dict[tuple[int, int], tuple[Floats64, Floats64]]
) -> GetColumn:
    """Normalises columns of raw rows; `known` remembers the counts of a member on a base of ranks."""

    def column(member: int) -> Floats64:
        if normaliser.name == "robust-z":
            return normaliser.transform_column(rows[:, member], member)
        key = (id(normaliser.base), member)
        if key not in known:
            known[key] = normaliser.counts(rows[:, member], member)
        return normaliser.from_counts(*known[key])

    return column


def _row_blocks(table: Floats) -> Iterator[slice]:
    height = max(1, _BLOCK_NUMBERS // table.shape[1])
    for start in range(0, len(table), height):
        yield slice(start, start + height)
