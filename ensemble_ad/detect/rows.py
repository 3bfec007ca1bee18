"""Images as scikit-learn passes them on, rows of numbers or whole images, and back to uint8 images."""

from dataclasses import dataclass
from math import isqrt, prod
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_array, validate_data

from ensemble_ad.data.fit import checked_fit
from ensemble_ad.data.images import Images
from ensemble_ad.data.sizes import CHANNELS
from ensemble_ad.detect.given import Given, InMemory, pictures_in
from ensemble_ad.errors import EnsadError

_MIDDLE = "images must be (n, side, side), (n, side, side, 1 or 3) or rows (n, pixels)"


def checked(estimator: Any, X: Given, *, reset: bool) -> npt.NDArray[Any]:
    """X as a finite array of numbers, and `n_features_in_` set or compared, as every scikit-learn estimator does.

    Args:
        estimator: the estimator that was given X.
        X: (n, pixels), (n, H, W) or (n, H, W, C), at least two of them to fit; or a list of pictures.
        reset: set `n_features_in_` and `conversion_`; else compare with the one and apply the other.

    Returns:
        uint8, float32 or float64, of X's axes.

    Raises:
        ValueError: for sparse, complex or non-finite input, other axes, too few images or another number of features.
    """
    try:
        X = _as_one_size(estimator, X, reset=reset)
    except EnsadError as error:
        raise ValueError(str(error)) from error
    least = 2 if reset else 1
    dtype = [np.float64, np.float32, np.uint8]
    if not hasattr(X, "ndim"):
        X = np.asarray(X)
    if X.ndim in (3, 4):
        array: npt.NDArray[Any] = check_array(X, dtype=dtype, allow_nd=True, ensure_min_samples=least)
        features = prod(array.shape[1:])
        if reset:
            estimator.n_features_in_ = features
        elif features != estimator.n_features_in_:
            raise ValueError(
                f"X has {features} features, but {type(estimator).__name__} is expecting {estimator.n_features_in_} "
                "features as input"
            )
        return array
    rows: npt.NDArray[Any] = validate_data(estimator, X, dtype=dtype, reset=reset, ensure_min_samples=least)
    return rows


def _as_one_size(estimator: Any, X: Any, *, reset: bool) -> Any:
    """X itself, or the square images of pictures that are not square, or of several sizes."""
    pictures = pictures_in(X)
    if pictures and len({picture.shape for picture in pictures}) == 1:
        X, pictures = np.stack(pictures), None
    if pictures is None and getattr(X, "ndim", 0) in (3, 4):
        is_square = X.shape[1] == X.shape[2] or (X.ndim == 4 and X.shape[3] not in CHANNELS)
        pictures = None if is_square and (reset or estimator.conversion_ is None) else list(np.asarray(X))
    if reset:
        estimator.conversion_ = None
    if not pictures:
        return X
    found = InMemory(pictures)
    if reset:
        estimator.conversion_ = found.conversion(checked_fit(estimator.image_fit))
    return found.images(estimator.conversion_)


def as_rows(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """(n, ...) to float64 (n, pixels), uint8 to [0, 1]: what other detectors take."""
    rows = array.reshape(len(array), -1)
    return rows / 255.0 if rows.dtype == np.uint8 else rows.astype(np.float64)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How numbers become images.

    Attributes:
        side: side of the square images, in pixels.
        channels: 1 or 3.
        low, high: the values that become 0 and 255.
        bytes: whether it was fitted to uint8, which stays as it is.
    """

    side: int
    channels: int
    low: float
    high: float
    bytes: bool

    @classmethod
    def fitted(cls, array: npt.NDArray[Any], image_shape: tuple[int, ...] | None) -> "Layout":
        """The layout of `array`, as `checked` gives it.

        Raises:
            ValueError: for images that are not square, or an `image_shape` that does not fit.
        """
        axes = tuple(array.shape[1:])
        if array.ndim == 2 and image_shape is not None:
            axes = tuple(image_shape)
            if len(axes) not in (2, 3) or prod(axes) != array.shape[1]:
                raise ValueError(f"image_shape must be (H, W) or (H, W, C) of {array.shape[1]} numbers, not {axes}")
        elif array.ndim == 2:
            side = isqrt(array.shape[1] - 1) + 1
            axes = (side, side)
        if len(axes) == 2:
            axes = (*axes, 1)
        if axes[0] != axes[1] or axes[2] not in CHANNELS:
            raise ValueError(f"{_MIDDLE}, not {axes} each")
        low, high = 0.0, 255.0
        if array.dtype != np.uint8:
            low, high = float(array.min()), float(array.max())
            if low >= 0 and high <= 1:
                low, high = 0.0, 1.0
        return cls(side=axes[0], channels=axes[2], low=low, high=high, bytes=array.dtype == np.uint8)

    def images(self, array: npt.NDArray[Any]) -> Images:
        """uint8 (n, side, side, channels) of what `checked` gave; missing pixels are 0.

        Raises:
            ValueError: for uint8 where other numbers were fitted, or the other way round.
        """
        rows = array.reshape(len(array), -1)
        if (rows.dtype == np.uint8) != self.bytes:
            was = "uint8" if self.bytes else "other numbers than uint8"
            raise ValueError(f"the images were {was} in fit and are {rows.dtype} now; convert them")
        if rows.dtype != np.uint8:
            # Halved first, so that the width of a range that spans all floats is finite; a range of no width is 1 wide.
            width = self.high / 2 - self.low / 2
            scaled = (rows.astype(np.float64) / 2 - self.low / 2) / (width or 0.5)
            rows = np.rint(np.clip(scaled, 0, 1) * 255).astype(np.uint8)
        missing = self.side * self.side * self.channels - rows.shape[1]
        if missing:
            rows = np.pad(rows, ((0, 0), (0, missing)))
        shaped: Images = rows.reshape(-1, self.side, self.side, self.channels)
        return shaped
