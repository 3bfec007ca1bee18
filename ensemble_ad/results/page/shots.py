"""What a report shows of test images: pictures, reconstructions, error maps, and what latents decode to."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ensemble_ad.statistics.arrays import Floats64

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class View:
    """What one family does to one image.

    Attributes:
        family, key: the family, and the best of the blend's members of that family.
        rank: the share of test images that score lower by that member's main column.
        reconstruction: uint8 (h, w, c); None for a family that does not reconstruct.
        error: float64 (h, w), the mean absolute error over the channels, in grey levels; None likewise.
    """

    family: str
    key: str
    rank: float
    reconstruction: Pixels | None
    error: Floats64 | None


@dataclass(frozen=True, kw_only=True)
class Shot:
    """A test image.

    Attributes:
        name: the image's id.
        image: uint8 (side, side, C).
        score: the blend's score of it.
        rank: the share of test images with a lower score.
        disagreement: the standard deviation of its rank share over the blend's members.
        label: 0 or 1; None without labels.
        views: what each family does to it.
        where: where the blend sees anomalies, laid over it, uint8 (side, side, 3); None where no member says.
    """

    name: str
    image: Pixels
    score: float
    rank: float
    disagreement: float
    label: int | None
    views: tuple[View, ...]
    where: Pixels | None = None


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Pictures.

    Attributes:
        groups: test images by what they were chosen for: "most", "least", "disputed", with labels also
            "false_positives" and "false_negatives".
        error_scale: by family, the error in grey levels that is drawn as the brightest colour.
    """

    groups: Mapping[str, tuple[Shot, ...]]
    error_scale: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class LatentSheet:
    """One image through one member's bottleneck.

    Attributes:
        family, key: the member's family and key.
        name: id of the test image.
        elements: number of elements of the bottleneck.
        seen: what the member sees of the image, uint8 (h, w, c).
        reconstruction: what is decoded of the latent as it is; of the shape of `seen`, as all that follow.
        scaled: what is decoded when one element is scaled, by (element, factor).
        noise: what is decoded of a mixture with noise, by the share of noise.
    """

    family: str
    key: str
    name: str
    elements: int
    seen: Pixels
    reconstruction: Pixels
    scaled: Mapping[tuple[int, float], Pixels]
    noise: Mapping[float, Pixels]
