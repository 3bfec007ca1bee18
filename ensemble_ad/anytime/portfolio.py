"""The order in which a run tries families first: closed forms, then what trains fast, then the rest.

The first eight come by what they cost, the cheapest first. On sets that were left out, an order that was found by the
blend's gain of AUC a second did no better, and one by judgement a little worse (benchmarks/portfolio.md). The others,
and the place of families that train on test images, are by judgement.
"""

from collections.abc import Sequence
from typing import NamedTuple

from ensemble_ad.data.dataset import Dataset
from ensemble_ad.errors import UsageError
from ensemble_ad.families import FAMILIES, Family, family


class Entry(NamedTuple):
    """A family's first trial.

    Attributes:
        family: the family's name; the trial is the first of `Family.start` that its study lacks.
        cost: what it costs, in seconds of two CPU cores for faces64's 8,966 images; a run learns how its own compare.
    """

    family: str
    cost: float


PORTFOLIO: tuple[Entry, ...] = (
    Entry("inpaint", 4),  # with what all trials are measured by
    Entry("pca", 1),
    Entry("pca", 1),
    Entry("memory", 6),
    Entry("fcn", 5),
    Entry("multi_encoder", 6),
    Entry("inpaint", 19),
    Entry("patchsvdd", 87),
    Entry("cnn", 20),
    Entry("vae", 25),
    Entry("cutpaste", 25),
)
"""The first trials, in their order. A family may come again: its next trial.

The costs are those of the runs of 30 minutes in benchmarks/anytime.md.
"""
_TRANSDUCTIVE = (Entry("contrast", 47),)
_TRANSDUCTIVE_AFTER = 4


def usual_cost(name: str) -> float | None:
    """What a trial of a family costs, as `Entry.cost`; None where no entry tells it."""
    costs = [entry.cost for entry in (*PORTFOLIO, *_TRANSDUCTIVE) if entry.family == name]
    return max(costs) if costs else None


def portfolio(
    dataset: Dataset, named: Sequence[str] | None, *, size: int | None = None, transductive: bool = False
) -> tuple[Entry, ...]:
    """The entries for a data set.

    Args:
        dataset: the images; families that do not take their size are left out, unless they are named.
        named: the families that the user named; those without an entry come last. None is all of the portfolio.
        size: the side that images are resized to, where the user gave it.
        transductive: whether families that train on the unlabelled test images may come in.

    Raises:
        UsageError: for a family that is not known, or that does not take the images.
    """
    entries = PORTFOLIO
    if transductive and len(dataset.test):
        entries = (*entries[:_TRANSDUCTIVE_AFTER], *_TRANSDUCTIVE, *entries[_TRANSDUCTIVE_AFTER:])
    if named is not None:
        for name in named:
            _check_takes(family(name), dataset, size)
        usual = max(entry.cost for entry in entries)
        chosen = [entry for entry in entries if entry.family in named]
        there = {entry.family for entry in chosen}
        return (*chosen, *(Entry(name, usual) for name in named if name not in there))
    return tuple(entry for entry in entries if _takes(FAMILIES[entry.family], dataset, size))


def _check_takes(kind: Family, dataset: Dataset, size: int | None) -> None:
    if size is None:
        kind.sizes_up_to(dataset.side)
    else:
        kind.check_shape((dataset.channels, size, size))


def _takes(kind: Family, dataset: Dataset, size: int | None) -> bool:
    try:
        _check_takes(kind, dataset, size)
    except UsageError:
        return False
    return True
