"""Single pictures: in any of Pillow's formats, HEIC and DICOM, with all their pages and frames."""

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ensemble_ad.data import dicom
from ensemble_ad.data.complaints import complaints
from ensemble_ad.data.folders import DICOM, FORMATS, HEIF
from ensemble_ad.data.images import Images, Raw
from ensemble_ad.data.remarks import Remark, ending_of
from ensemble_ad.data.sizes import MOST_PIXELS
from ensemble_ad.errors import DataError, in_one_line
from ensemble_ad.extras import how_to_install

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

_GREY = ("1", "L", "LA")
_OF_PAGES = ("TIFF", "GIF", "WEBP")
"""Formats whose pages or frames are pictures of their own; of others the first is taken, as of phones' previews."""
_MOST_FRAMES = 10_000
_REDUCED = (254, 1)  # the tag of a TIFF page, and its bit, that say that it is a smaller version of another
_WHITE = 255
_MOST_TEXT = 200
_READ_WHOLE = 1 << 24  # bytes of a file
_DIM = 64  # the upper 8 of 16 bits are below that where at most 14 are used


class Header(NamedTuple):
    """What is known of a file before its pixels are read.

    Attributes:
        height, width: of its first picture, before it is turned upright.
        grey: whether all its pictures are grey.
        deep: whether they have values that are not of 8 bits.
        frames: how many pictures it holds.
    """

    height: int
    width: int
    grey: bool
    deep: bool
    frames: int


def read_header(path: Path) -> Header:
    """What is known of a file before its pixels are read.

    Raises:
        DataError: if it is no picture, or has more than `MOST_PIXELS` pixels.
    """
    with _in_one_line(path), complaints():
        if _is_dicom(path):
            return Header(*dicom.read_header(path))
        with _opened(path) as image:
            _check_pixels(image)
            height, width, modes = image.height, image.width, {image.mode}
            frames = _frames_of(image)
            if len(frames) > 1:
                modes |= {_mode_of(image, number) for number in frames} if image.format == "TIFF" else {"RGB"}
            return Header(height, width, all(map(_is_grey_mode, modes)), any(map(_is_deep_mode, modes)), len(frames))


def read_frames(path: Path, remark: Remark = lambda kind, more: None) -> Iterator[Raw]:
    """Decode a file's pictures one by one, turned upright as its EXIF says; see `read_picture`.

    Raises:
        DataError: once a picture is reached that cannot be decoded.
    """
    with _in_one_line(path), ExitStack() as stack:
        if _is_dicom(path):
            yield from dicom.read_frames(path)
            return
        with complaints() as said:
            image = stack.enter_context(_opened(path))
            frames = _frames_of(image)
        for number in frames:
            with complaints() as more:
                if number != image.tell():
                    image.seek(number)
                pixels = _decoded(image, remark)
            if said or more:
                remark("damaged", " ".join([*said, *more][0].split())[:_MOST_TEXT])
                said.clear()
            yield pixels


def names_of(name: str, frames: int) -> list[str]:
    """The ids of a file's pictures: its name, or of several the name with their numbers, from 1: `scan.tif#3`."""
    return [name] if frames == 1 else [f"{name}#{number}" for number in range(1, frames + 1)]


def named_frames(path: Path, name: str, remark: Remark) -> Iterator[tuple[str, Raw]]:
    """As `read_frames`, each picture with its id; see `names_of`."""
    pictures = read_frames(path, remark)
    first, second = next(pictures), next(pictures, None)
    if second is None:
        yield name, first
        return
    for number, picture in enumerate(chain([first, second], pictures), start=1):
        yield f"{name}#{number}", picture


def read_picture(path: Path, remark: Remark = lambda kind, more: None) -> Raw:
    """Decode one picture, the first of several, turned upright as its EXIF says.

    Transparent parts get the mean colour of the others.

    Args:
        path: the file.
        remark: told of what the picture holds and the image does not; see `remarks.TAKEN`.

    Returns:
        (height, width) of a grey one, (height, width, 3) of another; uint8, or of a deep grey one uint16, int32 or
        float32.

    Raises:
        DataError: if it cannot be decoded.
    """
    return next(read_frames(path, remark))


@contextmanager
def _in_one_line(path: Path) -> Iterator[None]:
    """What goes wrong with a file as one line: for a damaged one Pillow raises SyntaxError, struct.error and others."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        why = in_one_line(error)
        raise DataError(f"{path} cannot be read as an image ({why}); mend or remove it") from error


@contextmanager
def _opened(path: Path) -> "Iterator[ImageFile]":
    from PIL import Image, UnidentifiedImageError

    with path.open("rb") as file, ExitStack() as stack:
        # Pillow reads in many small steps, each of which costs where files are far away.
        content = BytesIO(file.read(_READ_WHOLE + 1))
        whole = content if len(content.getbuffer()) <= _READ_WHOLE else file
        whole.seek(0)
        formats = _taken(needs_heif=ending_of(path.name) in HEIF)
        try:
            image = stack.enter_context(Image.open(whole, formats=formats))
        except UnidentifiedImageError:
            raise ValueError("cannot identify image file") from None
        yield image


def _check_pixels(image: "ImageFile") -> None:
    if math.prod(image.size) > MOST_PIXELS:
        raise ValueError(f"{image.width}x{image.height} pixels, more than {MOST_PIXELS}; shrink it")


def _frames_of(image: "ImageFile") -> list[int]:
    """The numbers of the pages or frames that are pictures of their own."""
    count = getattr(image, "n_frames", 1) if image.format in _OF_PAGES else 1
    if count > _MOST_FRAMES:
        raise ValueError(f"{count} pages or frames, more than {_MOST_FRAMES}; split it")
    if count == 1 or image.format != "TIFF":
        return list(range(count))
    return [number for number in range(count) if not _is_reduced(image, number)] or [0]


def _is_reduced(image: "ImageFile", number: int) -> bool:
    tag, bit = _REDUCED
    image.seek(number)
    value = getattr(image, "tag_v2", {}).get(tag, 0)
    return isinstance(value, int) and bool(value & bit)


def _mode_of(image: "ImageFile", number: int) -> str:
    image.seek(number)
    return image.mode


def _is_grey_mode(mode: str) -> bool:
    return mode in _GREY or _is_deep_mode(mode)


def _is_deep_mode(mode: str) -> bool:
    return mode in ("I", "F") or mode.startswith("I;16")


def _decoded(image: "ImageFile", remark: Remark) -> Raw:
    """The pixels of the page or frame that an opened file is at."""
    from PIL import ImageOps

    _check_pixels(image)
    has_more = _is_cut(image)
    several = _has_several(image)
    upright = ImageOps.exif_transpose(image)
    if several:
        remark("pages", "")
    if _is_deep_mode(image.mode):
        values: Raw = np.asarray(upright)
        return values
    if upright.has_transparency_data:
        pixels = _over_mean(upright, remark)
    else:
        pixels = np.asarray(upright.convert("L" if image.mode in _GREY else "RGB"))
    if has_more:
        few = pixels.max() < _DIM
        remark("dim" if few else "deep", f"{len(np.unique(pixels))} levels" if few else "")
    return pixels


def _over_mean(picture: "Image", remark: Remark) -> Images:
    """A picture whose transparent parts get the mean colour of the others, as far as they are transparent."""
    grey = picture.mode in _GREY
    whole = np.asarray(picture.convert("LA" if grey else "RGBA"))
    colours, alpha = whole[..., :-1].copy(), whole[..., -1]
    seen_through = alpha < _WHITE
    if seen_through.any():
        remark("transparent", "")
        weights = alpha.astype(np.float64)
        total = weights.sum()
        mean = np.tensordot(weights, colours, axes=2) / total if total else colours.mean(axis=(0, 1))
        share = weights[seen_through][:, None] / _WHITE
        colours[seen_through] = np.rint(colours[seen_through] * share + mean * (1 - share)).astype(np.uint8)
    return colours[..., 0] if grey else colours


def _is_cut(image: "ImageFile") -> bool:
    """Whether an opened picture that is not loaded yet has more bits a channel than the 8 that Pillow gives of it."""
    how = str(image.tile)
    if image.format == "PPM":
        arguments = image.tile[0].args
        return isinstance(arguments, tuple) and isinstance(arguments[-1], int) and arguments[-1] > _WHITE
    return ";16" in how or "SGI16" in how or (image.format == "SGI" and "sgi_rle" in how and how.endswith("2))]"))


def _has_several(image: "ImageFile") -> bool:
    """Whether a file of a format of which one picture is taken holds more."""
    if image.format in _OF_PAGES:
        return False
    with suppress(Exception):  # a page that cannot be read is none
        return bool(getattr(image, "is_animated", False)) or len(image.info.get("sizes", ())) > 1
    return False


def _is_dicom(path: Path) -> bool:
    return ending_of(path.name) in DICOM


@cache
def _taken(*, needs_heif: bool) -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow opens by that name, and HEIF where its reader is installed."""
    from PIL import Image

    Image.init()
    if find_spec("pillow_heif") is not None:
        from pillow_heif import register_heif_opener

        register_heif_opener()
    elif needs_heif:
        raise DataError(f"pictures in HEIC need pillow-heif (the extra heic): {how_to_install('heic')}")
    return tuple(name for name in (*FORMATS, "HEIF") if name in Image.OPEN)
