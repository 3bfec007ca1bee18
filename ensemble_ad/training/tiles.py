"""An image's error vectors by those of its tiles: the mean of all tiles, that of the worst few, and the worst.

A fault that fills one tile of many moves their mean little, and the worst tile much.
"""

from collections.abc import Collection, Mapping

import numpy as np

from ensemble_ad.statistics.arrays import Floats32

_FEW = 3
_WORST, _WORST_FEW = "_worst_tile", "_worst_tiles"


def of_one_tile(kinds: Collection[str]) -> set[str]:
    """The kinds of error of single tiles that these kinds of whole images are made of."""
    return {kind.removesuffix(_WORST).removesuffix(_WORST_FEW) for kind in kinds}


def of_images(found: Mapping[str, Floats32], tiles: int, kinds: Collection[str] | None = None) -> dict[str, Floats32]:
    """Error vectors of images.

    Args:
        found: float32 (n * tiles,) a kind of error of single tiles, those of an image side by side.
        tiles: how many tiles an image has.
        kinds: the kinds to give; None is all.

    Returns:
        float32 (n,) by kind: the mean of an image's tiles under the kind's own name; with several tiles also
        `<kind>_worst_tiles`, the mean of the three largest, and `<kind>_worst_tile`, the largest.
    """
    if tiles == 1:
        return dict(found)
    made: dict[str, Floats32] = {}
    for kind, values in found.items():
        by_image = values.reshape(-1, tiles)
        ascending = np.sort(by_image, axis=1)
        made[kind] = by_image.mean(axis=1)
        made[kind + _WORST_FEW] = ascending[:, -_FEW:].mean(axis=1)
        made[kind + _WORST] = ascending[:, -1]
    return {kind: values for kind, values in made.items() if kinds is None or kind in kinds}
