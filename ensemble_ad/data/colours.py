"""Colours for numbers: dark violet over red to pale yellow, ever brighter, so that they read without hue."""

import numpy as np
import numpy.typing as npt

from ensemble_ad.statistics.arrays import Floats

# After matplotlib's "inferno".
_RAMP = np.array(
    [(0, 0, 4), (31, 12, 72), (85, 15, 109), (136, 34, 106), (186, 54, 85), (227, 89, 51), (249, 140, 10),
     (249, 201, 50), (252, 255, 164)]
)  # fmt: skip


def coloured(share: Floats) -> npt.NDArray[np.uint8]:
    """Numbers (h, w) as colours, uint8 (h, w, 3): black is 0 and less, pale yellow 1 and more."""
    place = np.clip(share, 0, 1) * (len(_RAMP) - 1)
    below = np.minimum(place.astype(int), len(_RAMP) - 2)
    part = (place - below)[..., None]
    colours: npt.NDArray[np.uint8] = np.rint(_RAMP[below] * (1 - part) + _RAMP[below + 1] * part).astype(np.uint8)
    return colours
