"""Pictures as they are found, and which conversion makes images of them."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np

from ensemble_ad.data.conversion import Conversion
from ensemble_ad.data.fit import Fit
from ensemble_ad.data.images import Raw, Sizes
from ensemble_ad.data.sizes import SIDES
from ensemble_ad.errors import DataError

Progress = Callable[[int, int], None]
"""Told how many pictures are decoded, and of how many."""
_STEP = 16  # sides are multiples of it, which nearly all families take
_MOST_BYTES = 4 << 30  # of all training images
# The share of values below the darkest level, and above the brightest, and what they are estimated from.
_TAIL = 0.001
_SAMPLED_PICTURES, _SAMPLED_VALUES = 200, 20_000
_LARGEST = 1e30


def no_progress(done: int, total: int) -> None:
    """Tells nobody."""


class Pictures(Protocol):
    """Pictures that are looked through before any image is made of them: a file of them, or a folder.

    Attributes:
        place: the file or folder, for messages.
        sizes: of each picture, as far as headers tell; height and width may be exchanged.
        channels: 1 or 3.
        deep: the first file with values that are not of 8 bits; None if there is none.
    """

    place: Path
    sizes: Sizes
    channels: int
    deep: Path | None

    def some(self, count: int) -> Iterator[Raw]:
        """Up to `count` of the pictures, evenly spaced, as they are stored."""


def conversion_of(train: Pictures, test: Pictures | None, fit: Fit) -> Conversion | None:
    """The conversion of a data set's pictures; None where they are images as they are.

    The side is the training pictures' median longer side, to the nearest multiple of 16 within `SIDES`, or less
    where so many images would take more than 4 GiB. The levels are the 0.1% and 99.9% quantiles of the training
    pictures. Nothing depends on the test pictures but whether anything is converted at all.

    Args:
        train: the training pictures.
        test: the test pictures; None if there are none, or nobody looks.
        fit: how they shall become square.
    """
    if _are_images(train) and (test is None or _are_images(test)):
        return None
    if test is not None and test.deep and not train.deep:
        raise DataError(f"{test.deep} has more than 8 bits a channel, but {train.place} has 8; convert either")
    return Conversion(fit=fit, side=_side(train), levels=_levels(train) if train.deep else None)


def check_images(pictures: Pictures) -> None:
    """Refuse pictures that are no images as they are.

    Raises:
        DataError: for pictures of other sizes or depths.
    """
    if pictures.deep:
        raise DataError(f"{pictures.deep} must have 8 bits a channel; convert it")
    others = pictures.sizes[(pictures.sizes != pictures.sizes[0, 0]).any(axis=1)]
    if len(others):
        height, width = others[0]
        raise DataError(f"{pictures.place} must hold square images of one size, but one is {width}x{height}; resize it")
    side = int(pictures.sizes[0, 0])
    if not SIDES[0] <= side <= SIDES[1]:
        raise DataError(f"{pictures.place} must hold images of {SIDES[0]} to {SIDES[1]} pixels a side, not {side}")


def _are_images(pictures: Pictures) -> bool:
    side = int(pictures.sizes[0, 0])
    return not pictures.deep and SIDES[0] <= side <= SIDES[1] and bool((pictures.sizes == side).all())


def _side(train: Pictures) -> int:
    longer = float(np.median(train.sizes.max(axis=1)))
    bound = math.isqrt(_MOST_BYTES // (len(train.sizes) * train.channels)) // _STEP * _STEP
    return int(max(SIDES[0], min(SIDES[1], bound, math.floor(longer / _STEP + 0.5) * _STEP)))


def _levels(train: Pictures) -> tuple[float, float]:
    values = []
    for picture in train.some(_SAMPLED_PICTURES):
        pixels = picture.reshape(math.prod(picture.shape[:2]), -1)  # whole ones, so that each colour is sampled
        some = pixels[:: max(1, pixels.size // _SAMPLED_VALUES)].astype(np.float64)
        values.append(some[np.isfinite(some)])
    every = np.concatenate(values)
    if not len(every):
        raise DataError(f"{train.place} must hold finite numbers, but has none")
    if abs(every).max() > _LARGEST:
        raise DataError(f"{train.place} must hold numbers of at most {_LARGEST:g}, but has larger ones; scale them")
    low, high = (float(each) for each in np.quantile(every, [_TAIL, 1 - _TAIL]))
    return (low, high) if high > low else (low, low + 1)
