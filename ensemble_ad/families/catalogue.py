"""The families as a list to show: what each is, its published systems with their sources, what a study searches."""

from typing import Any

from ensemble_ad.families import FAMILIES, Family
from ensemble_ad.families._space import architecture_space, training_space
from ensemble_ad.families.base import Preset, SearchRanges, architecture_json


def catalogue(epochs: int) -> list[dict[str, Any]]:
    """JSON values, an object a family.

    Args:
        epochs: the most that a trial trains.

    Returns:
        Of each family `name`, `summary`, `side_multiple` (sides must be multiples of it), `least_side`,
        `reconstructs`, `transductive`, `presets` (`name`, `source`, `architecture`, `crop`, `size`, `training`), and
        `search`: the
        ranges that a study draws from, as text, those of `common_search` left out where they are the family's too.
    """
    return [
        {
            "name": family.name,
            "summary": family.summary,
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
    """What a study searches besides the architecture, of a family that does not say otherwise."""
    return training_space(SearchRanges(), epochs)


def _search(family: Family, epochs: int) -> dict[str, str]:
    space = architecture_space(family)
    return space if family.ranges == SearchRanges() else space | training_space(family.ranges, epochs)


def _preset(name: str, preset: Preset) -> dict[str, Any]:
    return {
        "name": name,
        "source": preset.source,
        "architecture": architecture_json(preset.architecture),
        "crop": list(preset.crop),
        "size": None if preset.size is None else list(preset.size),
        "training": dict(preset.training),
    }
