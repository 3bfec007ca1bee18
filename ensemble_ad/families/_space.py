"""What a family's study searches, read off its search space by drawing its corners."""

from typing import Any

from ensemble_ad.families.base import Family, SearchRanges


class _Corner:
    """A `Sampler` that takes the first or the last value of every range and notes the range."""

    def __init__(self, *, last: bool) -> None:
        self.last = last
        self.ranges: dict[str, str] = {}

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        self.ranges[name] = f"{low:g} to {high:g}" + (" (log)" if log else "") + (f" by {step:g}" if step else "")
        return high if self.last else low

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        self.ranges[name] = f"{low} to {high}" + (" (log)" if log else "") + (f" by {step}" if step > 1 else "")
        return high if self.last else low

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        values = list(choices)
        self.ranges[name] = ", ".join(map(str, values))
        return values[-1 if self.last else 0]


def architecture_space(family: Family) -> dict[str, str]:
    """The hyperparameters of the architecture that a study of `family` may ask for, as "4 to 256 (log)".

    Conditional ones are found in the corner of the last values, which by convention is where all of them are asked for,
    or in that of the first.
    """
    first, last = _Corner(last=False), _Corner(last=True)
    for corner in (first, last):
        family.suggest(corner, family.widths)
    return last.ranges | first.ranges


def training_space(ranges: SearchRanges, epochs: int) -> dict[str, str]:
    """The same of what a study searches besides the architecture, where a trial trains at most `epochs`."""
    corner = _Corner(last=True)
    ranges.suggest(corner, epochs)
    return corner.ranges
