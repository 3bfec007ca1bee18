"""Images as they are passed to a scorer or a detector: one array, or a list of pictures of any size, or of paths."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

from ensemble_ad.data.conversion import Conversion, image_of
from ensemble_ad.data.dataset import Dataset
from ensemble_ad.data.fit import Fit
from ensemble_ad.data.images import Images, ImageSet, ImageShape, Raw, Sizes, checked_axes
from ensemble_ad.data.intake import conversion_of
from ensemble_ad.data.pictures import read_picture
from ensemble_ad.data.pool import in_order
from ensemble_ad.data.sizes import CHANNELS
from ensemble_ad.data.stream import conform
from ensemble_ad.errors import DataError

Given = npt.ArrayLike | Sequence[str | Path | npt.NDArray[np.generic]]
"""An array of images, or a list of pictures: paths, or arrays (height, width) or (height, width, C)."""
_MEMORY = Path("images in memory")  # stands for a file or folder, in messages and records


def given_images(given: Given, shape: ImageShape, conversion: Conversion | None) -> npt.NDArray[Any]:
    """What was given as one array; pictures become images (n, *shape), and all else is left to the caller to check.

    Raises:
        DataError: for a picture that cannot be read, or of which no image can be made.
    """
    pictures: Any = given
    if not _is_list(given):
        pictures = array = np.asarray(given)
        is_image = array.dtype == np.uint8 and array.shape[1:3] == shape[:2]
        if conversion is None or is_image or array.ndim not in (3, 4):
            return array

    def made(numbered: tuple[int, Any]) -> Images:
        row, each = numbered
        return conform(image_of(_picture(each, row), conversion, f"image {row}")[None], shape, f"image {row}")

    images = list(in_order(made, enumerate(pictures)))
    return np.concatenate(images) if images else np.empty((0, *shape), dtype=np.uint8)


def pictures_in(given: Given) -> list[Raw] | None:
    """The pictures of a list of paths and arrays, decoded; None for what is no such list.

    Raises:
        DataError: for a file that cannot be read, or an array of other axes.
    """
    return list(in_order(_numbered, enumerate(given))) if _is_list(given) else None


def _numbered(numbered: tuple[int, Any]) -> Raw:
    row, each = numbered
    return _picture(each, row)


def _is_list(given: Given) -> TypeGuard[Sequence[str | Path | npt.NDArray[Any]]]:
    return (
        isinstance(given, list | tuple)
        and bool(given)
        and all(isinstance(each, str | Path) or (isinstance(each, np.ndarray) and each.ndim > 1) for each in given)
    )


def dataset_of(normal: Given, unlabelled: Given | None, fit: Fit, cache: Path | None = None) -> Dataset:
    """The data set of images in memory, as of a folder that holds them.

    Args:
        normal: the training images.
        unlabelled: the test images; None if there are none.
        fit: how pictures become square, where they have to.
        cache: as `Dataset.cache`.

    Raises:
        DataError: for what cannot be read, or no image can be made of.
    """
    train, test = InMemory(_all(normal)), None if unlabelled is None else InMemory(_all(unlabelled))
    conversion = conversion_of(train, test, fit)
    sets = [_image_set(train, train.images(conversion), conversion, "train")]
    images = sets[0].images
    if test is None:
        sets.append(ImageSet(images=images[:0], ids=(), source=_MEMORY / "test"))
    else:
        shape = (images.shape[1], images.shape[2], images.shape[3])
        sets.append(_image_set(test, test.images(conversion, shape), conversion, "test"))
    return Dataset(train=sets[0], test=sets[1], conversion=conversion, cache=cache)


def _all(given: Given) -> list[Raw] | Raw:
    pictures = pictures_in(given)
    return pictures if pictures is not None else checked_axes(np.asarray(given), _MEMORY)


def _image_set(pictures: "InMemory", images: Images, conversion: Conversion | None, name: str) -> ImageSet:
    sizes, ids = None if conversion is None else pictures.sizes, tuple(map(str, range(len(images))))
    return ImageSet(images=images, ids=ids, source=_MEMORY / name, sizes=sizes)


def _picture(each: Any, row: int) -> Raw:
    if not isinstance(each, np.ndarray):
        return read_picture(Path(each))
    if each.ndim not in (2, 3) or (each.ndim == 3 and each.shape[2] not in CHANNELS) or each.dtype.kind not in "uif":
        raise DataError(
            f"image {row} must be numbers of the axes (height, width) or (height, width, 1 or 3), not {each.dtype} of "
            f"shape {each.shape}"
        )
    return each


class InMemory:
    """Pictures in a list, or an array of them; see `intake.Pictures`."""

    def __init__(self, pictures: Sequence[Raw] | Raw) -> None:
        self.place = _MEMORY
        self._pictures = pictures
        self.sizes: Sizes = np.array([picture.shape[:2] for picture in pictures], dtype=np.int64)
        self.channels = max(picture.shape[2] if picture.ndim == 3 else 1 for picture in pictures)
        self.deep = _MEMORY if any(picture.dtype != np.uint8 for picture in pictures) else None

    def some(self, count: int) -> Iterator[Raw]:
        """Up to `count` of the pictures, evenly spaced."""
        for row in np.unique(np.linspace(0, len(self._pictures) - 1, count).astype(int)):
            yield self._pictures[row]

    def conversion(self, fit: Fit) -> Conversion | None:
        """The conversion that makes images of these pictures, as of a folder's training pictures."""
        return conversion_of(self, None, fit)

    def images(self, conversion: Conversion | None, shape: ImageShape | None = None) -> Images:
        """uint8 (n, *shape), without a `shape` of the conversion's side and the pictures' channels."""
        if shape is None:
            side = int(self.sizes[0, 0]) if conversion is None else conversion.side
            shape = (side, side, self.channels)
        if conversion is None and isinstance(self._pictures, np.ndarray):
            return conform(self._pictures, shape, str(self.place))
        return np.concatenate(
            [
                conform(image_of(picture, conversion, f"image {row}")[None], shape, f"image {row}")
                for row, picture in enumerate(self._pictures)
            ]
        )
