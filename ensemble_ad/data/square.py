"""Square images of 8 bits: what pseudo-anomalies are made of."""

import numpy as np
import numpy.typing as npt

from ensemble_ad.data.images import Images
from ensemble_ad.data.sizes import CHANNELS
from ensemble_ad.errors import DataError

LEAST_SIDE = 8


def checked_square(images: Images) -> Images:
    """The images themselves.

    Raises:
        DataError: if they are not uint8 (n, side, side, C) with C of 1 or 3 and a side of `LEAST_SIDE` or more.
    """
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        what = images.dtype if isinstance(images, np.ndarray) else type(images).__name__
        raise DataError(f"pseudo-anomalies are made of uint8 images (0 to 255), got {what}; convert them first")
    shape = images.shape
    if images.ndim != 4 or 0 in shape or shape[1] != shape[2] or shape[3] not in CHANNELS or shape[1] < LEAST_SIDE:
        raise DataError(
            f"images must have the axes (n, side, side, 1 or 3) with a side of {LEAST_SIDE} or more, got {shape}; "
            "reshape or resize them"
        )
    return images


def as_uint8(values: npt.NDArray[np.floating]) -> Images:
    """Grey levels, rounded and cut to 0 to 255."""
    rounded: Images = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return rounded
