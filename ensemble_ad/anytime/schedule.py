"""Which family a run trains next: the portfolio first, then where the blend gains most a second.

Pure functions of what the trials before have gained and cost. A trial is worth what it has added to the blend, not what
it scores alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ensemble_ad.anytime.portfolio import Entry
from ensemble_ad.anytime.record import Done
from ensemble_ad.search.allowance import FEWEST_EPOCHS

_FORGETS = 0.7  # what a trial counts less with each later one of its family
_CURIOSITY = 0.5  # trials of average gain that every family is credited with


@dataclass(frozen=True, kw_only=True)
class Next:
    """What to train next: a family, and the seconds that a trial of it should take."""

    family: str
    seconds: float


def choose(
    entries: Sequence[Entry], done: Sequence[Done], kept: Mapping[str, int], left: float, *, scale: float = 1.0
) -> Next | None:
    """The next trial's family; None where no trial fits into what is left, on a quarter of its epochs either.

    Args:
        entries: the portfolio.
        done: the trials of this run, in their order.
        kept: the trials that each family's study has.
        left: seconds left for training.
        scale: as for `expected_seconds`.
    """
    following = of_portfolio(entries, done, kept, left, scale=scale)
    if following is not None:
        return following
    seconds = expected_seconds(entries, done, scale)
    rates = {name: rate for name, rate in gain_rates(entries, done, scale).items() if fits(seconds[name], done, left)}
    if not rates:
        return None
    best = max(rates, key=lambda name: rates[name])
    return Next(family=best, seconds=seconds[best])


def of_portfolio(
    entries: Sequence[Entry], done: Sequence[Done], kept: Mapping[str, int], left: float, *, scale: float = 1.0
) -> Next | None:
    """As `choose`, of the portfolio alone; None where it has no more that fits."""
    own, pace = _timed(done), seconds_a_cost(entries, done, scale)
    seen: dict[str, int] = {}
    for entry in entries:
        seen[entry.family] = seen.get(entry.family, 0) + 1
        # A family's second trial may be another kind of model than its first, and take longer.
        seconds = max(float(np.median(own.get(entry.family, 0.0))), pace * entry.cost)
        if kept.get(entry.family, 0) < seen[entry.family] and fits(seconds, done, left):
            return Next(family=entry.family, seconds=seconds)
    return None


def fits(seconds: float, done: Sequence[Done], left: float) -> bool:
    """Whether a trial of so many seconds fits into what is left, at least with a quarter of its epochs.

    The first trial is tried in any case, since nothing is known before.
    """
    return not done or FEWEST_EPOCHS * seconds <= left


def expected_seconds(entries: Sequence[Entry], done: Sequence[Done], scale: float = 1.0) -> dict[str, float]:
    """What a trial of each family should take: the median of its own, else its entry's cost on this machine.

    Args:
        entries: the portfolio.
        done: the trials of this run, in their order.
        scale: as for `seconds_a_cost`.
    """
    own, pace = _timed(done), seconds_a_cost(entries, done, scale)
    most = {name: max(costs) for name, costs in _costs(entries).items()}
    return {name: float(np.median(own[name])) if name in own else pace * cost for name, cost in most.items()}


def seconds_a_cost(entries: Sequence[Entry], done: Sequence[Done], scale: float = 1.0) -> float:
    """How many seconds a trial takes here for each that its entry costs: the median over the families.

    Args:
        entries: the portfolio.
        done: the trials of this run, in their order.
        scale: what it is as long as no trial has told.
    """
    costs, ratios = _costs(entries), []
    for name, times in _timed(done).items():
        known = costs.get(name)
        if known is not None:
            ratios.append(np.median([each / known[min(nth, len(known) - 1)] for nth, each in enumerate(times)]))
    return float(np.median(ratios)) if ratios else scale


def _timed(done: Sequence[Done]) -> dict[str, list[float]]:
    """The seconds of each family's trials."""
    own: dict[str, list[float]] = {}
    for trial in done:
        if trial.seconds > 0:
            own.setdefault(trial.family, []).append(trial.seconds)
    return own


def _costs(entries: Sequence[Entry]) -> dict[str, list[float]]:
    """The costs of each family's entries, in their order."""
    costs: dict[str, list[float]] = {}
    for entry in entries:
        costs.setdefault(entry.family, []).append(entry.cost)
    return costs


def gain_rates(entries: Sequence[Entry], done: Sequence[Done], scale: float = 1.0) -> dict[str, float]:
    """The gain of the blend a second that a trial of each family promises.

    Recent trials count most, so that a family which has no more to give is left for another. Each family is credited
    with some trials of the average gain, and with more of them the longer it waits, so that every one is tried again.
    """
    names = list(dict.fromkeys(entry.family for entry in entries))
    usual = float(np.mean([max(trial.gain, 0.0) for trial in done])) if done else 0.0
    seconds = expected_seconds(entries, done, scale)
    rates = {}
    for name in names:
        own = [(len(done) - place, max(trial.gain, 0.0)) for place, trial in enumerate(done) if trial.family == name]
        weights = _FORGETS ** np.arange(len(own))[::-1]
        waits = own[-1][0] if own else len(done) + 1
        credit = _CURIOSITY * max(1.0, waits / len(names))
        gained = float(weights @ [gain for _, gain in own]) if own else 0.0
        rates[name] = (gained + credit * usual) / ((float(weights.sum()) + _CURIOSITY) * max(seconds[name], 1e-3))
    return rates
