"""TIFF files of numbers that Pillow does not read, such as colours of floats: by tifffile, which is an extra."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ensemble_ad.data.images import Raw
from ensemble_ad.data.remarks import Remark
from ensemble_ad.data.sizes import MOST_PIXELS
from ensemble_ad.errors import DataError
from ensemble_ad.extras import how_to_install

if TYPE_CHECKING:
    from tifffile import TiffPage

MOST_PAGES = 10_000
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2
_CODECS = (1, 5, 8, 32946, 32773, 50000)
"""None, LZW, deflate by its two numbers, PackBits and Zstandard; others are of 8 bits, which Pillow reads."""
_ORIENTATION, _UPRIGHT = 274, 1
_KEPT = {
    "uint8": "uint8", "uint16": "uint16", "uint32": "uint32", "int8": "int32", "int16": "int32", "int32": "int32",
    "float16": "float32", "float32": "float32", "float64": "float32",
}  # fmt: skip
"""What becomes of a type of numbers."""


class BeyondPillowError(ValueError):
    """A TIFF whose numbers Pillow does not read, or takes for others."""


class _Heard(logging.Handler):
    """Keeps what tifffile says in this thread, which it logs where others warn."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts = list[str]()
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self.texts.append(record.getMessage())


_LOGGER = logging.getLogger("tifffile")


def read_header(path: Path, why: BeyondPillowError) -> tuple[int, int, bool, bool, int]:
    """Height, width, whether all pages are grey, whether any has other values than 8 bits, and how many there are.

    Args:
        path: the file.
        why: what is said where tifffile is not installed.

    Raises:
        DataError: if it is not.
        ValueError: for a page that is not read, or too many of them.
        Exception: whatever tifffile raises for a damaged file.
    """
    with _heard(), _pages_of(path, why) as pages:
        deep = any(page.dtype != np.uint8 for page in pages)
        return pages[0].imagelength, pages[0].imagewidth, all(_is_grey(page) for page in pages), deep, len(pages)


def read_frames(path: Path, why: BeyondPillowError, remark: Remark) -> Iterator[Raw]:
    """The pages, (height, width) or (height, width, 3), of the types that `pictures.read_picture` gives.

    Args:
        path: the file.
        why: as for `read_header`.
        remark: told of a damaged one.

    Raises:
        DataError, Exception: as for `read_header`.
    """
    with _heard() as said, _pages_of(path, why) as pages:
        for page in pages:
            values: Raw = page.asarray()
            if said:
                remark("damaged", said[0])
                said.clear()
            values = values.transpose(1, 2, 0) if page.axes == "SYX" else values
            values = values.astype(_KEPT[str(page.dtype)], copy=False)
            yield _inverted(values) if page.photometric == _WHITE_IS_ZERO else values


@contextmanager
def _heard() -> Iterator[list[str]]:
    """What tifffile says in this thread meanwhile."""
    handler = _Heard()
    _LOGGER.addHandler(handler)
    try:
        yield handler.texts
    finally:
        _LOGGER.removeHandler(handler)


@contextmanager
def _pages_of(path: Path, why: BeyondPillowError) -> "Iterator[list[TiffPage]]":
    """All pages that are pictures of their own, each of which can be read."""
    try:
        from tifffile import TiffFile, TiffPage
    except ModuleNotFoundError:
        raise DataError(
            f"{path} cannot be read as an image ({why}); or else it needs tifffile (the extra tiff): "
            f"{how_to_install('tiff')}"
        ) from None
    with TiffFile(path) as file:
        if len(file.pages) > MOST_PAGES:
            raise ValueError(f"{len(file.pages)} pages, more than {MOST_PAGES}; split it")
        pages = [page for page in file.pages if isinstance(page, TiffPage)]
        pages = [page for page in pages if not page.is_reduced] or pages[:1]
        for page in pages:
            _check(page)
        yield pages


def _check(page: "TiffPage") -> None:
    height, width = page.imagelength, page.imagewidth
    if height * width > MOST_PIXELS:
        raise ValueError(f"{width}x{height} pixels, more than {MOST_PIXELS}; shrink it")
    if page.compression not in _CODECS:
        raise ValueError(f"compressed in a way, number {int(page.compression)}, that is not read; save it without")
    if page.photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB) or page.axes not in ("YX", "YXS", "SYX"):
        raise ValueError("neither grey nor RGB; save it as one of them")
    if page.samplesperpixel != (1 if _is_grey(page) else 3):
        raise ValueError(f"{page.samplesperpixel} channels, and not grey or RGB alone; save it as one of them")
    if str(page.dtype) not in _KEPT:
        raise ValueError(f"numbers of {page.bitspersample} bits; save it with 8, 16 or 32")
    if _ORIENTATION in page.tags and page.tags[_ORIENTATION].value != _UPRIGHT:
        raise ValueError("it is to be turned; save it upright")


def _is_grey(page: "TiffPage") -> bool:
    return bool(page.photometric != _RGB)


def _inverted(values: Raw) -> Raw:
    """Values of which the lowest is white."""
    return np.iinfo(values.dtype).max - values if values.dtype.kind == "u" else -values
