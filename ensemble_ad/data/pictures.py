"""Pictures in any of Pillow's formats: single ones, and folders of them."""

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ensemble_ad.data.images import Images, ImageSet, checked_images
from ensemble_ad.data.npy import keep_blocks
from ensemble_ad.errors import DataError, in_one_line
from ensemble_ad.files.id_table import check_cells
from ensemble_ad.files.json_file import json_hash
from ensemble_ad.files.whole import file_hash

_DECODED = 256
FORMATS = (
    "PNG", "JPEG", "MPO", "JPEG2000", "TIFF", "WEBP", "AVIF", "GIF", "BMP", "DIB", "PPM", "TGA", "PCX", "SGI", "QOI",
    "ICO",
)  # fmt: skip
"""Pillow's names of the formats that are taken: those that Pillow decodes itself, and no other program runs for."""
MOST_PIXELS = 1 << 24
"""The most pixels of a picture; a larger one is refused by its header, before memory is taken for it."""
_GREY = ("1", "L", "LA")


def open_folder(folder: Path, image_cache: Path) -> ImageSet:
    """Open a folder of pictures as one array.

    They are decoded once; after that the array is found in `image_cache`. Grey pictures give one channel, any colour
    among them gives three. An id is a picture's path inside the folder.

    Raises:
        DataError: for no pictures, an unreadable one, pictures of different sizes, or names that a spreadsheet runs.
    """
    paths = sorted(path for path in pictures_below(folder) if path.is_file())
    if not paths:
        raise no_pictures(folder)
    ids = tuple(path.relative_to(folder).as_posix() for path in paths)
    check_cells(ids, str(folder))
    content = json_hash([file_hash(path) for path in paths])
    images = keep_blocks(image_cache / f"folder-{content}.npy", lambda: _decode(paths, ids, folder))
    return ImageSet(images=images, ids=ids, source=folder)


def pictures_below(folder: Path) -> Iterator[Path]:
    """The files in `folder`, and in folders below it, that are named like pictures, in the order of their names.

    A folder's own files come before those of the folders in it.
    """
    from PIL import Image

    known = {ending for ending, kind in Image.registered_extensions().items() if kind in FORMATS}
    for place, folders, files in os.walk(folder):
        folders.sort()
        yield from (Path(place, name) for name in sorted(files) if Path(name).suffix.lower() in known)


def no_pictures(folder: Path) -> DataError:
    """What to raise for a folder without pictures."""
    return DataError(f"{folder} must hold images (PNG, JPEG, ...), but holds none that Pillow reads")


def read_picture(path: Path) -> Images:
    """Decode one picture, turned upright as its EXIF says.

    Returns:
        uint8 (height, width) of a grey one, (height, width, 3) of another.

    Raises:
        DataError: if it cannot be decoded or has more than 8 bits a channel.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path, formats=_taken()) as image:
            if math.prod(image.size) > MOST_PIXELS:
                raise ValueError(f"{image.width}x{image.height} pixels, more than {MOST_PIXELS}; shrink it")
            if image.mode in ("I", "F") or image.mode.startswith("I;16"):
                raise ValueError("more than 8 bits a channel; convert it to 8 bits")
            upright = ImageOps.exif_transpose(image)
            return np.asarray(upright.convert("L" if image.mode in _GREY else "RGB"))
    except Exception as error:  # for a damaged file Pillow raises SyntaxError, struct.error and others
        why = in_one_line(error)
        raise DataError(f"{path} cannot be read as an image ({why}); mend or remove it") from error


def _taken() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow opens by that name."""
    from PIL import Image

    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _has_colour(path: Path) -> bool:
    """Whether `read_picture` gives three channels; only the picture's header is read, and False if even that fails."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=_taken()) as image:
            return image.mode not in _GREY
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        return False


def _decode(paths: Sequence[Path], ids: Sequence[str], folder: Path) -> tuple[tuple[int, ...], Iterator[Images]]:
    """The shape of all pictures as one array, and the array in runs, which are decoded as they are asked for."""
    first = read_picture(paths[0])
    shape = (*first.shape[:2], 3 if any(_has_colour(path) for path in paths) else 1)
    checked_images(np.empty((1, *shape), dtype=np.uint8), folder)

    def decoded(path: Path, name: str) -> Images:
        picture = first if path is paths[0] else read_picture(path)
        if picture.shape[:2] != shape[:2]:
            raise DataError(
                f"all images of {folder} must have one size, but {ids[0]} is {_size(first)} "
                f"and {name} is {_size(picture)}"
            )
        return np.broadcast_to(picture if picture.ndim == 3 else picture[..., None], shape)

    def runs() -> Iterator[Images]:
        for start in range(0, len(paths), _DECODED):
            part = slice(start, start + _DECODED)
            yield np.stack([decoded(path, name) for path, name in zip(paths[part], ids[part], strict=True)])

    return (len(paths), *shape), runs()


def _size(picture: Images) -> str:
    return f"{picture.shape[1]}x{picture.shape[0]}"
