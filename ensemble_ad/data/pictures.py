"""Single pictures: in any of Pillow's formats, other TIFFs, HEIC and DICOM, with all their pages and frames."""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from io import BytesIO
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ensemble_ad.data import depth, dicom, tiff
from ensemble_ad.data.complaints import complaints
from ensemble_ad.data.folders import FORMATS, HEIF
from ensemble_ad.data.images import Raw
from ensemble_ad.data.remarks import Remark, ending_of
from ensemble_ad.data.sizes import MOST_PIXELS
from ensemble_ad.errors import DataError, in_one_line
from ensemble_ad.extras import how_to_install

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

_GREY = ("1", "L", "LA", "La")
_OF_PAGES = ("TIFF", "GIF", "WEBP")
"""Formats whose pages or frames are pictures of their own; of others the first is taken, as of phones' previews."""
_MOST_FRAMES = 10_000
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_NO_SUCH_TIFF = (
    "it is damaged, or of numbers that Pillow does not read of a TIFF; save it with 8 or 16 bits a channel, or as .npy"
)
_ORIENTATION, _UPRIGHT = 274, 1  # a tag of EXIF, and what it says of a picture that need not be turned
_REDUCED = (254, 1)  # the tag of a TIFF page, and its bit, that say that it is a smaller version of another
_OPAQUE = 255
_MOST_TEXT = 200
_READ_WHOLE = 1 << 24  # bytes of a file


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
        if dicom.is_dicom(path):
            return Header(*dicom.read_header(path))
        try:
            return _header_by_pillow(path)
        except tiff.BeyondPillowError as error:
            return Header(*tiff.read_header(path, error))


def _header_by_pillow(path: Path) -> Header:
    with _opened(path) as image:
        _check_pixels(image)
        frames = _frames_of(image)
        height, width = _at(image, frames[0]).height, image.width
        if len(frames) == 1 or image.format == "TIFF":
            kinds = [_kind_of(_at(image, number)) for number in frames]
        else:
            kinds = [(False, False)]
        return Header(height, width, all(grey for grey, _ in kinds), any(deep for _, deep in kinds), len(frames))


def read_frames(path: Path, remark: Remark = lambda kind, more: None) -> Iterator[Raw]:
    """Decode a file's pictures one by one, turned upright as its EXIF says; see `read_picture`.

    Raises:
        DataError: once a picture is reached that cannot be decoded.
    """
    with _in_one_line(path):
        if dicom.is_dicom(path):
            yield from dicom.read_frames(path)
            return
        done = 0
        try:
            for picture in _frames_by_pillow(path, remark):
                yield picture
                done += 1
        except tiff.BeyondPillowError as error:
            yield from islice(tiff.read_frames(path, error, remark), done, None)


def _frames_by_pillow(path: Path, remark: Remark) -> Iterator[Raw]:
    with ExitStack() as stack:
        with complaints() as said:
            image = stack.enter_context(_opened(path))
            frames = _frames_of(image)
        others = list["ImageFile"]()

        def again() -> "ImageFile":
            if not others:
                others.append(stack.enter_context(_opened(path)))
            return _at(others[0], image.tell())

        for number in frames:
            with complaints() as more:
                pixels = _decoded(_at(image, number), again, remark)
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
        (height, width) of a grey one, (height, width, 3) of another; uint8, or of a deep one uint16, int32, uint32 or
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
        size = os.fstat(file.fileno()).st_size
        # Pillow reads in many small steps, each of which costs where files are far away.
        whole = BytesIO(file.read(size)) if size <= _READ_WHOLE else file
        formats = _taken(needs_heif=ending_of(path.name) in HEIF)
        try:
            image = stack.enter_context(Image.open(whole, formats=formats))
        except UnidentifiedImageError:
            whole.seek(0)
            is_tiff = whole.read(4) in _TIFF
            if is_tiff:
                raise tiff.BeyondPillowError(_NO_SUCH_TIFF) from None
            raise ValueError("cannot identify image file") from None
        yield image


def _check_pixels(image: "ImageFile") -> None:
    if math.prod(image.size) > MOST_PIXELS:
        raise ValueError(f"{image.width}x{image.height} pixels, more than {MOST_PIXELS}; shrink it")


def _frames_of(image: "ImageFile") -> list[int]:
    """The numbers of the pages or frames that are pictures of their own."""
    if image.format not in _OF_PAGES:
        return [image.tell()]  # the main one of HEIC need not be the first
    count = getattr(image, "n_frames", 1)
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


def _at(image: "ImageFile", number: int) -> "ImageFile":
    """The same, at a page or frame."""
    if number != image.tell():
        image.seek(number)
    return image


def _kind_of(image: "ImageFile") -> tuple[bool, bool]:
    """Whether the page or frame is grey, and whether it has values that are not of 8 bits."""
    mode, channels = image.mode, depth.channels_of(image)
    deep = depth.is_deep_mode(mode)
    return (channels == "LA" if channels else mode in _GREY or deep), deep or bool(channels)


def _decoded(image: "ImageFile", again: Callable[[], "ImageFile"], remark: Remark) -> Raw:
    """The pixels of the page or frame that an opened file is at; `again` opens the file once more, there."""
    from PIL import ImageOps

    _check_pixels(image)
    if _has_several(image):
        remark("pages", "")
    if depth.is_cut(image):
        remark("deep", "")
    if channels := depth.channels_of(image):
        return _over_mean(*depth.whole_colours(image, again, channels), depth.TOP, remark)
    image.load()  # a GIF's mode is another one after that
    is_turned = image.getexif().get(_ORIENTATION, _UPRIGHT) != _UPRIGHT
    upright, grey = ImageOps.exif_transpose(image) if is_turned else image, image.mode in _GREY
    if depth.is_deep_mode(image.mode):
        return _over_mean(*depth.whole_grey(image, upright), depth.TOP, remark)
    if not upright.has_transparency_data:
        mode = "L" if grey else "RGB"
        return np.asarray(upright if upright.mode == mode else upright.convert(mode))
    whole = np.asarray(upright.convert("LA" if grey else "RGBA"))
    return _over_mean(whole[..., 0] if grey else whole[..., :3], whole[..., -1], _OPAQUE, remark)


def _over_mean(colours: Raw, alpha: Raw | None, opaque: int, remark: Remark) -> Raw:
    """A picture whose transparent parts get the mean colour of the others, as far as they are transparent."""
    if alpha is None or (alpha == opaque).all():
        return colours
    remark("transparent", "")
    weights = alpha.astype(np.float64)
    total, seen_through = weights.sum(), alpha < opaque
    mean = np.tensordot(weights, colours, axes=2) / total if total else colours.mean(axis=(0, 1))
    share = weights[seen_through] / opaque
    share = share.reshape(-1, *[1] * (colours.ndim - 2))
    found = colours.copy()
    found[seen_through] = np.rint(colours[seen_through] * share + mean * (1 - share)).astype(colours.dtype)
    return found


def _has_several(image: "ImageFile") -> bool:
    """Whether a file of a format of which one picture is taken holds more."""
    if image.format in _OF_PAGES:
        return False
    with suppress(Exception):  # a page that cannot be read is none
        return bool(getattr(image, "is_animated", False)) or len(image.info.get("sizes", ())) > 1
    return False


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
