"""`ensad run` with another schedule: python benchmarks/_scheduler.py equal-time|portfolio-alone run ARGUMENT..."""

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from unittest.mock import patch

from ensemble_ad.anytime import run, schedule
from ensemble_ad.anytime.portfolio import Entry
from ensemble_ad.anytime.schedule import Done, Next
from ensemble_ad.cli import main


def equal_time(
    entries: Sequence[Entry], done: Sequence[Done], kept: Mapping[str, int], left: float, **told: float
) -> Next | None:
    """Each family once, in the portfolio's order, then always the one that has had the least time."""

    def least_time(entries: Sequence[Entry], done: Sequence[Done], *told: float) -> dict[str, float]:
        return {e.family: -sum(trial.seconds for trial in done if trial.family == e.family) for e in entries}

    once = {entry.family: entry for entry in entries}
    with patch.object(schedule, "gain_rates", least_time):
        return schedule.choose([*once.values()], done, kept, left, **told)


def portfolio_alone(
    entries: Sequence[Entry], done: Sequence[Done], kept: Mapping[str, int], left: float, **told: float
) -> Next | None:
    """The portfolio's next trial; nothing after the last one that fits."""
    following = schedule.choose(entries, done, kept, left, **told)
    wanted = Counter(entry.family for entry in entries)
    return following if following and kept.get(following.family, 0) < wanted[following.family] else None


SCHEDULES: dict[str, Callable[..., Next | None]] = {"equal-time": equal_time, "portfolio-alone": portfolio_alone}

if __name__ == "__main__":
    with patch.object(run, "choose", SCHEDULES[sys.argv[1]]):
        main(sys.argv[2:])
