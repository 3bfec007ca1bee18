"""Scores of 64 bits as the 32 bits that members hold, without losing what ranks them."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ensemble_ad.statistics import midranks
from ensemble_ad.statistics.arrays import Floats32, Floats64

# Beyond these the square of a number, or its reciprocal, leaves float32.
_LARGE, _SMALL = 2.0**60, 2.0**-60
# Of very many scores some become equal, by the rounding to 32 bits, without saying anything.
_EQUAL_OF = 1_000


class Narrowed(NamedTuple):
    """Scores as float32.

    Attributes:
        sides: float32, as long as the sides that were given.
        how: what was done to them besides rounding; empty for nothing.
    """

    sides: list[Floats32]
    how: str


def narrowed(sides: Sequence[Floats64]) -> Narrowed:
    """Finite scores as float32 that rank as they did.

    They are rounded, if that keeps different scores apart; else less their median first, and scaled where they are very
    large or small; else their midranks among all.
    """
    every = np.unique(np.concatenate(sides))
    for how, change in (("", np.asarray), ("shifted", _shift(every))):
        with np.errstate(over="ignore", under="ignore"):
            if _keeps_apart(change(every).astype(np.float32)):
                return Narrowed([change(side).astype(np.float32) for side in sides], how)
    ranks = midranks(np.concatenate(sides)[None])[0].astype(np.float32)
    return Narrowed(np.split(ranks, np.cumsum([len(side) for side in sides])[:-1]), "ranked")


def _keeps_apart(rounded: Floats32) -> bool:
    """Whether sorted different scores are still finite and different, but for a thousandth that may be one."""
    together = np.unique(rounded, return_counts=True)[1].max()
    return bool(np.isfinite(rounded).all() and together <= 1 + len(rounded) // _EQUAL_OF)


def _shift(every: Floats64) -> Callable[[Floats64], Floats64]:
    """Takes the median of all scores from each, after a power of two where they are very large or small."""
    largest = np.abs(every).max()
    exponent = 0 if _SMALL < largest < _LARGE else -int(np.frexp(largest)[1])
    median = np.median(np.ldexp(every, exponent))
    return lambda side: np.ldexp(side, exponent) - median
