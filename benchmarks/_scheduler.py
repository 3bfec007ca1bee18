"""`ensad run` with another schedule: python benchmarks/_scheduler.py equal-time|portfolio-alone run ARGUMENT..."""

import sys
from collections.abc import Callable, Mapping, Sequence
from unittest.mock import patch

from ensemble_ad.anytime import run
from ensemble_ad.anytime.portfolio import Entry
from ensemble_ad.anytime.record import Done
from ensemble_ad.anytime.schedule import Next, expected_seconds, fits, of_portfolio
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


SCHEDULES: dict[str, Choose] = {"equal-time": equal_time, "portfolio-alone": of_portfolio}

if __name__ == "__main__":
    with patch.object(run, "choose", SCHEDULES[sys.argv[1]]):
        main(sys.argv[2:])
