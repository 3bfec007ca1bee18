"""A forest of trees that tell test from reference rows, and how it scores: plain arrays, no pickle."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ensemble_ad.blend.combine import GetColumn
from ensemble_ad.statistics.arrays import Bools, Floats, Floats64

Indices = NDArray[np.int64]
Compared = NDArray[np.float64] | NDArray[np.unsignedinteger]

_ROWS_AT_ONCE = 1_000  # that are scored: times the trees, the arrays stay within a processor's cache
_STEPS = 4  # down the trees, between two looks at who has arrived


@dataclass(frozen=True)
class Numbers:
    """What a forest compares: floats, or where all are multiples of 1 / grid in [0, 1], small whole numbers."""

    grid: int | None

    @property
    def dtype(self) -> np.dtype[np.float64] | np.dtype[np.unsignedinteger]:
        return np.dtype(np.float64) if self.grid is None else np.min_scalar_type(self.grid + 1)

    def of(self, values: Floats) -> Compared:
        """(r,) as numbers of that type."""
        return (values if self.grid is None else np.rint(values * np.float64(self.grid))).astype(self.dtype)


@dataclass(frozen=True, kw_only=True)
class Forest:
    """Trees in one table of nodes; the first `trees` nodes are the roots.

    Attributes:
        feature: (nodes,) column by which a node splits; -1 in a leaf.
        threshold: (nodes,) rows above it go to the right child.
        child: (nodes,) index of the left child; the right one is the next node.
        value: (nodes,) share of positive mass in the node, in [0, 1].
        importance: (m,) each column's share of the Gini gain of all splits, sum 1.
        trees: number of trees.
    """

    feature: NDArray[np.int32]
    threshold: Floats64
    child: NDArray[np.int32]
    value: Floats64
    importance: Floats64
    trees: int

    def score(self, rows: Floats, grid: int | None = None) -> Floats64:
        """Mean over the trees of the value of the leaf that a row ends in, (r, m) -> (r,) in [0, 1].

        With `grid`, all numbers are multiples of 1 / grid in [0, 1]: the same scores, in half the time.
        """
        return self.score_columns(lambda column: rows[:, column], len(rows), grid)

    def score_columns(self, column: GetColumn, rows: int, grid: int | None = None) -> Floats64:
        """`score` of rows whose columns `column` gives, (rows,) each; only those that a tree asks for are taken."""
        numbers = Numbers(grid)
        used = np.unique(self.feature[self.feature >= 0])
        table = np.empty((rows, len(used)), dtype=numbers.dtype)
        for place, member in enumerate(used.tolist()):
            table[:, place] = numbers.of(column(member))
        walk = _Walk.of(self, used, numbers)
        out = np.empty(rows)
        for start in range(0, rows, _ROWS_AT_ONCE):
            some = slice(start, start + _ROWS_AT_ONCE)
            # Added tree by tree, so that a row's score does not depend on the rows beside it.
            out[some] = sum(self.value[walk.leaves(table[some])]) / self.trees
        return out


@dataclass(frozen=True, kw_only=True)
class _Walk:
    """The nodes of a forest, of which leaves lead to themselves, so that all rows take as many steps.

    Attributes:
        trees: number of trees.
        inner: (nodes,) False in a leaf.
        place: (nodes,) the column that is compared.
        cut: (nodes,) a row with more goes to the right.
        child: (nodes,) index of the left child.
    """

    trees: int
    inner: Bools
    place: Indices
    cut: Compared
    child: Indices

    @classmethod
    def of(cls, forest: Forest, used: NDArray[np.int32], numbers: Numbers) -> Self:
        """The nodes of a forest that looks at the columns `used`."""
        inner = forest.feature >= 0
        threshold = forest.threshold * (numbers.grid or 1)
        most = np.inf if numbers.grid is None else numbers.grid + 1
        return cls(
            trees=forest.trees,
            inner=inner,
            place=np.where(inner, np.searchsorted(used, forest.feature), 0),
            cut=np.where(inner, threshold, most).astype(numbers.dtype),
            child=np.where(inner, forest.child, np.arange(len(inner))),
        )

    def leaves(self, table: Compared) -> Indices:
        """(trees, r): the leaf of each tree in which each row of (r, used) ends."""
        rows, columns = table.shape
        flat = table.ravel()
        node, first = np.repeat(np.arange(self.trees), rows), np.tile(np.arange(rows) * columns, self.trees)
        moving = np.flatnonzero(self.inner.take(node))
        while len(moving):
            here, row = node.take(moving), first.take(moving)
            for _ in range(_STEPS):
                above = flat.take(row + self.place.take(here)) > self.cut.take(here)
                here = self.child.take(here) + above
            node[moving] = here
            moving = moving[self.inner.take(here)]
        return node.reshape(self.trees, rows)
