"""Pictures in any of Pillow's formats: single ones, and folders of them."""

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ensemble_ad.data.folders import FORMATS, no_pictures, pictures_below
from ensemble_ad.data.images import Images, ImageSet, checked_images
from ensemble_ad.data.npy import keep_blocks
from ensemble_ad.data.remarks import Remark, Remarks
from ensemble_ad.errors import DataError, StorageError, in_one_line
from ensemble_ad.files.id_table import check_cells
from ensemble_ad.files.json_file import json_hash, read_json, write_json
from ensemble_ad.files.whole import file_hash

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

_DECODED = 256
MOST_PIXELS = 1 << 24
"""The most pixels of a picture; a larger one is refused by its header, before memory is taken for it."""
_GREY = ("1", "L", "LA")
_WHITE = 255
_MOST_TEXT = 200
_DIM = 64  # the upper 8 of 16 bits are below that where at most 14 are used


def open_folder(folder: Path, image_cache: Path) -> ImageSet:
    """Open a folder of pictures as one array.

    They are decoded once; after that the array is found in `image_cache`, and beside it what was remarked of them. Grey
    pictures give one channel, any colour among them gives three. An id is a picture's path inside the folder.

    Raises:
        DataError: for no pictures, an unreadable one, pictures of different sizes, or names that a spreadsheet runs.
    """
    remarks = Remarks()
    paths = sorted(pictures_below(folder, remarks))
    if not paths:
        raise no_pictures(folder, remarks)
    ids = tuple(path.relative_to(folder).as_posix() for path in paths)
    check_cells(ids, str(folder))
    content = json_hash([file_hash(path) for path in paths])
    beside = image_cache / f"folder-{content}.json"
    images = keep_blocks(image_cache / f"folder-{content}.npy", lambda: _decode(paths, ids, folder, beside))
    with suppress(StorageError):  # there is none where there was nothing to remark
        remarks.update(Remarks.from_json(read_json(beside), len(ids)).named(ids))
    return ImageSet(images=images, ids=ids, source=folder, remarks=remarks)


def read_picture(path: Path, remark: Remark = lambda kind, more: None) -> Images:
    """Decode one picture, turned upright as its EXIF says.

    Args:
        path: the file.
        remark: told of what the picture holds and the image does not; see `remarks.TAKEN`.

    Returns:
        uint8 (height, width) of a grey one, (height, width, 3) of another.

    Raises:
        DataError: if it cannot be decoded or has more than 8 bits in its one channel.
    """
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings(record=True) as complaints:
            warnings.simplefilter("always")
            with Image.open(path, formats=_taken()) as image:
                if math.prod(image.size) > MOST_PIXELS:
                    raise ValueError(f"{image.width}x{image.height} pixels, more than {MOST_PIXELS}; shrink it")
                if image.mode in ("I", "F") or image.mode.startswith("I;16"):
                    raise ValueError("more than 8 bits a channel; convert it to 8 bits")
                deep = _is_deep(image)
                upright = ImageOps.exif_transpose(image)
                if complaints:
                    remark("damaged", " ".join(str(complaints[0].message).split())[:_MOST_TEXT])
                pixels = np.asarray(upright.convert("L" if image.mode in _GREY else "RGB"))
                _remark_on(image, upright, remark)
    except Exception as error:  # for a damaged file Pillow raises SyntaxError, struct.error and others
        why = in_one_line(error)
        raise DataError(f"{path} cannot be read as an image ({why}); mend or remove it") from error
    if deep:
        few = pixels.max() < _DIM
        remark("dim" if few else "deep", f"{len(np.unique(pixels))} levels" if few else "")
    return pixels


def _is_deep(image: "ImageFile") -> bool:
    """Whether an opened picture that is not loaded yet has more bits a channel than the 8 that Pillow gives of it."""
    how = str(image.tile)
    if image.format == "PPM":
        arguments = image.tile[0].args
        return isinstance(arguments, tuple) and isinstance(arguments[-1], int) and arguments[-1] > _WHITE
    return ";16" in how or "SGI16" in how or (image.format == "SGI" and "sgi_rle" in how and how.endswith("2))]"))


def _remark_on(image: "ImageFile", upright: "Image", remark: Remark) -> None:
    """Remark on pages and on transparency."""
    several = False
    with suppress(Exception):  # a page that cannot be read is none
        several = bool(getattr(image, "is_animated", False)) or len(image.info.get("sizes", ())) > 1
    if several:
        remark("pages", "")
    if upright.has_transparency_data and (np.asarray(upright.convert("RGBA"))[..., 3] < _WHITE).any():
        remark("transparent", "")


def _taken() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow opens by that name."""
    from PIL import Image

    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _has_colour(path: Path) -> bool:
    """Whether `read_picture` gives three channels; only the picture's header is read, and False if even that fails."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=_taken()) as image:
                return image.mode not in _GREY
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        return False


def _decode(
    paths: Sequence[Path], ids: Sequence[str], folder: Path, beside: Path
) -> tuple[tuple[int, ...], Iterator[Images]]:
    """The shape of all pictures as one array, and the array in runs, which are decoded as they are asked for.

    What was remarked of them is written to `beside` with the last run, so that no array is without it.
    """
    remarks = Remarks()
    first = read_picture(paths[0], lambda kind, more: remarks.add(kind, "0", more))
    shape = (*first.shape[:2], 3 if any(_has_colour(path) for path in paths) else 1)
    checked_images(np.empty((1, *shape), dtype=np.uint8), folder)

    def decoded(row: int) -> Images:
        name = ids[row]
        picture = first if row == 0 else read_picture(paths[row], lambda kind, more: remarks.add(kind, str(row), more))
        if picture.shape[:2] != shape[:2]:
            raise DataError(
                f"all images of {folder} must have one size, but {ids[0]} is {_size(first)} "
                f"and {name} is {_size(picture)}"
            )
        return np.broadcast_to(picture if picture.ndim == 3 else picture[..., None], shape)

    def runs() -> Iterator[Images]:
        for start in range(0, len(paths), _DECODED):
            yield np.stack([decoded(row) for row in range(start, min(start + _DECODED, len(paths)))])
        if remarks.counts:
            write_json(beside, remarks.to_json())

    return (len(paths), *shape), runs()


def _size(picture: Images) -> str:
    return f"{picture.shape[1]}x{picture.shape[0]}"
