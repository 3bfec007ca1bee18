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
from ensemble_ad.statistics.arrays import Floats

_ROUNDS = 2.0  # in the time of so many trials of each family a gain fades to 1/e
_CURIOSITY = 0.5  # usual trials that every family is credited with
_OPTIMISM = 2.0  # what they are taken to gain, in usual gains
_WORTH = 0.5  # of the families' median rate, that a trial is started for
_LEAST = 0.5  # of the usual trial's time, that any trial counts as
_TINY = 1e-9


@dataclass(frozen=True, kw_only=True)
class Next:
    """What to train next: a family, and the seconds that a trial of it should take."""

    family: str
    seconds: float


def choose(
    entries: Sequence[Entry], done: Sequence[Done], kept: Mapping[str, int], left: float, *, scale: float = 1.0
) -> Next | None:
    """The next trial's family; None where no trial fits into what is left, on a quarter of its epochs either.

    None as well where all that fits promises less than half of what families do in the median: what is left is not
    filled with dozens of trials that take no time.

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
    rates = gain_rates(entries, done, scale)
    fitting = [name for name in rates if fits(seconds[name], done, left)]
    best = max(fitting, key=lambda name: rates[name], default=None)
    if best is None or rates[best] < _WORTH * np.median(list(rates.values())):
        return None
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

    It is what the family has gained over what it has taken, both fading with time, so that a family which has no more
    to give is left for another, and comes again in the end. Each is credited with some time at more than the whole
    run's usual gain, which does not fade, so that all are tried again. A gain counts by what it is above a blend's
    wobble, else families whose trials take no time would live on luck. Where nothing gains any more, all get the same
    time, in which no trial counts as less than half a usual one: of dozens that take no time, those that
    pseudo-anomalies like best they like by luck.
    """
    expected = expected_seconds(entries, done, scale)
    usual_trial = max(float(np.mean(list(expected.values()))), _TINY)
    seconds = np.array([max(expected.get(trial.family, trial.seconds), _LEAST * usual_trial) for trial in done])
    since = np.cumsum(seconds[::-1])[::-1] - seconds
    fading = np.exp(-since / (_ROUNDS * len(expected) * usual_trial))
    gained, credit = _above_wobble(done), _CURIOSITY * usual_trial
    own = {name: np.array([trial.family == name for trial in done], dtype=bool) for name in expected}

    def by_family(of_trials: Floats) -> dict[str, float]:
        return {name: float(of_trials[mine].sum()) for name, mine in own.items()}

    # What one family has lost takes nothing from what the others may hope for.
    usual_gain = sum(max(0.0, gain) for gain in by_family(gained).values()) / max(float(seconds.sum()), credit)
    hoped = credit * max(_OPTIMISM * usual_gain, _TINY)
    gains, taken = by_family(fading * gained), by_family(fading * seconds)
    return {name: (max(0.0, gains[name]) + hoped) / (taken[name] + credit) for name in expected}


def _above_wobble(done: Sequence[Done]) -> Floats:
    """What each trial has gained, less the root mean square of what trials have lost; 0 where it changed nothing.

    What the first blend has over chance, any other would have had too: its trials have gained nothing.
    """
    gains = np.array([trial.gain for trial in done])
    changed = np.flatnonzero(gains)
    if len(changed):
        of_first = np.cumprod(gains[changed[0] :] == gains[changed[0]]).astype(bool)
        gains[changed[0] :][of_first] = 0.0
    lost = gains[gains < 0]
    wobble = np.sqrt(np.mean(lost**2)) if len(lost) else 0.0
    return np.where(gains == 0, 0.0, gains - wobble)
