"""`ensad run` with another schedule: python benchmarks/_scheduler.py equal-time|portfolio-alone run ARGUMENT..."""

import sys
from collections.abc import Callable, Mapping, Sequence
from unittest.mock import patch

from ensemble_ad.anytime import run
from ensemble_ad.anytime.portfolio import Entry
from ensemble_ad.anytime.record import Done
from ensemble_ad.anytime.schedule import Next, expected_seconds, fits
from ensemble_ad.cli import main

Choose = Callable[..., Next | None]


def equal_time(
    entries: Sequence[Entry], done: Sequence[Done], kept: Mapping[str, int], left: float, *, scale: float = 1.0
) -> Next | None:
    """The family that has had the least time; the portfolio's order among equals."""
    seconds = expected_seconds(entries, done, scale)
    spent = {name: sum(trial.seconds for trial in done if trial.family == name) for name in seconds}
    fitting = [name for name in seconds if fits(seconds[name], done, left)]
    best = min(fitting, key=lambda name: spent[name], default=None)
    return None if best is None else Next(family=best, seconds=seconds[best])


def portfolio_alone(
    entries: Sequence[Entry], done: Sequence[Done], kept: Mapping[str, int], left: float, *, scale: float = 1.0
) -> Next | None:
    """The portfolio's next trial; nothing after the last one."""
    seconds = expected_seconds(entries, done, scale)
    seen: dict[str, int] = {}
    for entry in entries:
        seen[entry.family] = seen.get(entry.family, 0) + 1
        if kept.get(entry.family, 0) < seen[entry.family] and fits(seconds[entry.family], done, left):
            return Next(family=entry.family, seconds=seconds[entry.family])
    return None


SCHEDULES: dict[str, Choose] = {"equal-time": equal_time, "portfolio-alone": portfolio_alone}

if __name__ == "__main__":
    with patch.object(run, "choose", SCHEDULES[sys.argv[1]]):
        main(sys.argv[2:])
