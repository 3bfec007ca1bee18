"""How pictures of any size and depth become images: of 8 bits, square, and all of one side.

Records are read without waiting for numpy, so what needs it imports it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

from ensemble_ad.data.fit import FITS, Fit, fitted
from ensemble_ad.data.sizes import LEAST_PICTURE, MOST_PIXELS, SIDES
from ensemble_ad.errors import DataError
from ensemble_ad.files.json_file import json_hash

if TYPE_CHECKING:
    from ensemble_ad.data.images import Images, Raw, Sizes

DEFAULT_FIT: Fit = "pad"
_DONE = {"pad": "padded", "squash": "squashed", "crop": "cropped"}


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """How a data set's pictures become images.

    Attributes:
        fit: how they become square.
        side: the images' side, in pixels.
        levels: the values that become 0 and 255; None takes 8 bits as they are.
    """

    fit: Fit
    side: int
    levels: tuple[float, float] | None = None

    def image(self, picture: "Raw", name: str) -> "Images":
        """The image of a picture, uint8 (side, side) or (side, side, C).

        Args:
            picture: (height, width) or (height, width, C).
            name: the picture's, for messages.

        Raises:
            DataError: for a picture that is too small, not as deep as the training pictures, or not finite.
        """
        check_size(picture.shape[:2], name)
        return fitted(self._of_8_bits(picture, name), self.fit, self.side)

    def _of_8_bits(self, picture: "Raw", name: str) -> "Images":
        import numpy as np

        if self.levels is None:
            return image_of(picture, None, name)
        if picture.dtype == np.uint8:
            raise DataError(f"{name} has 8 bits a channel, but the training pictures have more; save it as those")
        if picture.dtype == np.uint16:
            return _of_16_bits(self.levels)[picture]
        if not np.isfinite(picture).all():
            raise DataError(f"{name} must hold finite numbers, but has NaN or infinite ones; replace or remove it")
        return _scaled(picture, self.levels)

    def in_words(self, sizes: "Sizes") -> str:
        """What was done to pictures of these sizes: "700 pictures of 103x222 to 632x403, padded to 256x256"."""
        area = sizes.prod(axis=1)
        first, last = (f"{sizes[row, 1]}x{sizes[row, 0]}" for row in (area.argmin(), area.argmax()))
        square = bool((sizes[:, 0] == sizes[:, 1]).all())
        text = (
            f"{len(sizes)} pictures of {first if first == last else f'{first} to {last}'}, "
            f"{'resized' if square else _DONE[self.fit]} to {self.side}x{self.side}"
        )
        return text if self.levels is None else f"{text}; values {self.levels[0]:g} to {self.levels[1]:g} are 0 to 255"

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self) | {"levels": None if self.levels is None else list(self.levels)}

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """The inverse of `to_json`, of what may be a stranger's.

        Raises:
            TypeError: if it cannot be.
        """
        try:
            fit, side, levels = value["fit"], value["side"], value["levels"]
        except (KeyError, TypeError):
            raise TypeError("its conversion lacks something") from None
        if fit not in FITS or type(side) is not int or not SIDES[0] <= side <= SIDES[1]:
            raise TypeError("its conversion cannot be")
        return cls(fit=fit, side=side, levels=None if levels is None else _checked_levels(levels))


def fingerprint_of(train: str, test: str, groups: Sequence[int] | None, conversion: Conversion | None) -> str:
    """A data set's fingerprint, of those of its two sets, its groups and its conversion."""
    known: list[Any] = [train, test]
    if groups is not None:
        known.append(list(groups))
    if conversion is not None:
        known.append(conversion.to_json())
    return json_hash(known)


def image_of(picture: "Raw", conversion: Conversion | None, name: str) -> "Images":
    """The image that `conversion` makes of a picture; None takes one of 8 bits as it is, whatever its size.

    Raises:
        DataError: as `Conversion.image`, and for more than 8 bits without a conversion.
    """
    if conversion is not None:
        return conversion.image(picture, name)
    if picture.dtype != "uint8":
        raise DataError(f"{name} must have 8 bits a channel, as the training pictures, not {picture.dtype}; convert it")
    return picture


def check_size(size: Sequence[int], name: str) -> None:
    """Refuse a picture of a height and width that no image is made of.

    Raises:
        DataError: for one.
    """
    height, width = size
    if min(size) < LEAST_PICTURE:
        raise DataError(f"{name} must have at least {LEAST_PICTURE} pixels a side, but is {width}x{height}; remove it")
    if height * width > MOST_PIXELS:
        raise DataError(f"{name} is {width}x{height} pixels, more than {MOST_PIXELS}; shrink it")


@lru_cache(maxsize=4)
def _of_16_bits(levels: tuple[float, float]) -> "Images":
    """What becomes of each of the 65,536 numbers of 16 bits: looked up, a large picture takes no memory for floats."""
    import numpy as np

    return _scaled(np.arange(1 << 16), levels)


def _scaled(picture: "Raw", levels: tuple[float, float]) -> "Images":
    import numpy as np

    low, high = levels
    values = (np.clip(picture.astype(np.float64), low, high) - low) * (255 / (high - low))
    return np.rint(values).astype(np.uint8)


def _checked_levels(value: Any) -> tuple[float, float]:
    is_pair = isinstance(value, list) and len(value) == 2 and all(type(each) in (int, float) for each in value)
    if not is_pair or not value[0] < value[1]:
        raise TypeError("its levels cannot be")
    return (float(value[0]), float(value[1]))
