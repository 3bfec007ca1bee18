"""What a report shows of test images: pictures, reconstructions, error maps, and what latents decode to."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class View:
    """What one family does to one image.

    Attributes:
        family, key: the family, and the best member of it that is in the blend.
        rank: the share of test images that score lower by that member's main column.
        reconstruction: uint8 (h, w, c); None of a family that makes none.
        error: float64 (h, w), the mean absolute error over the channels in grey levels.
    """

    family: str
    key: str
    rank: float
    reconstruction: Pixels | None
    error: Floats | None


@dataclass(frozen=True, kw_only=True)
class Shot:
    """A test image.

    Attributes:
        name: its id.
        image: uint8 (side, side, C).
        score: of the blend.
        rank: the share of test images with a lower score.
        disagreement: the standard deviation of its rank share over the blend's members.
        label: 0 or 1; None without labels.
        views: a family each.
    """

    name: str
    image: Pixels
    score: float
    rank: float
    disagreement: float
    label: int | None
    views: tuple[View, ...]


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Pictures, by what they were chosen for: "most", "least", "disputed", "false_positives", "false_negatives"."""

    groups: Mapping[str, tuple[Shot, ...]]
    error_scale: Mapping[str, float]
    """Of each family, the error in grey levels that is drawn as the brightest colour."""


@dataclass(frozen=True, kw_only=True)
class LatentSheet:
    """One image through one member's bottleneck.

    Attributes:
        family, key: whose.
        name: id of the test image.
        elements: how many the bottleneck has.
        seen: what the member sees of the image, uint8 (h, w, c).
        reconstruction: of the same shape, as all that follow.
        scaled: by (element, factor).
        noise: by share.
    """

    family: str
    key: str
    name: str
    elements: int
    seen: Pixels
    reconstruction: Pixels
    scaled: Mapping[tuple[int, float], Pixels]
    noise: Mapping[float, Pixels]
