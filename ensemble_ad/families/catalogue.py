"""The families as a list to show: what each is, its published systems with their sources, what a study searches."""

from typing import Any

from ensemble_ad.data.sizes import SIDES
from ensemble_ad.families import FAMILIES
from ensemble_ad.families.architecture import architecture_json
from ensemble_ad.families.base import Family, Preset
from ensemble_ad.families.ranges import SIZES, USUAL_RANGES, SearchRanges


def catalogue(epochs: int) -> list[dict[str, Any]]:
    """Every family as JSON values.

    Args:
        epochs: the most that a trial trains.

    Returns:
        Of each family `name`, `summary`, `suits`, `side_multiple` (sides must be multiples of it), `least_side`,
        `reconstructs`, `transductive`, `presets` (`name`, `source`, `architecture`, `crop`, `size`, `training`), and
        `search`, the ranges that a study draws from, as text; those besides the architecture only where the family has
        ranges of its own (the others have `common_search`), or takes other sizes than most. No size is above the
        images' own.
    """
    return [
        {
            "name": family.name,
            "summary": family.summary,
            "suits": family.suits,
            "side_multiple": family.side_multiple,
            "least_side": family.least_side,
            "reconstructs": family.reconstructs,
            "transductive": family.transductive,
            "presets": [_preset(name, preset) for name, preset in family.presets.items()],
            "search": _search(family, epochs),
        }
        for family in FAMILIES.values()
    ]


def common_search(epochs: int) -> dict[str, str]:
    """What a study searches besides the architecture, for a family that has no ranges of its own."""
    return training_space(USUAL_RANGES, epochs)


def architecture_space(family: Family) -> dict[str, str]:
    """What a study of `family` may ask for of the architecture, such as "4 to 256 (log)", by hyperparameter.

    The search space is read off by drawing two of its corners: that of the last values, where by convention all
    conditional hyperparameters are asked for, and that of the first, for those that are asked for there alone.
    """
    first, last = _Corner(last=False), _Corner(last=True)
    for corner in (first, last):
        family.suggest(corner, family.widths)
    return last.ranges | first.ranges


def training_space(ranges: SearchRanges, epochs: int, sizes: tuple[int, ...] = SIZES) -> dict[str, str]:
    """What a study may ask for of `ranges`, where a trial trains at most `epochs` and images may have these `sizes`."""
    corner = _Corner(last=True)
    ranges.suggest(corner, epochs, sizes=sizes)
    return corner.ranges


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


def _search(family: Family, epochs: int) -> dict[str, str]:
    training = training_space(family.ranges, epochs, family.sizes_up_to(SIDES[1]))
    if family.ranges == USUAL_RANGES:
        usual = common_search(epochs)
        training = {name: values for name, values in training.items() if values != usual[name]}
    return architecture_space(family) | training


def _preset(name: str, preset: Preset) -> dict[str, Any]:
    return {
        "name": name,
        "source": preset.source,
        "architecture": architecture_json(preset.architecture),
        "crop": list(preset.crop),
        "size": None if preset.size is None else list(preset.size),
        "training": dict(preset.training),
    }
