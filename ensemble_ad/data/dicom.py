"""DICOM files, read by pydicom, which is an extra."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble_ad.data.images import Raw
from ensemble_ad.data.sizes import MOST_PIXELS
from ensemble_ad.errors import DataError
from ensemble_ad.extras import how_to_install

if TYPE_CHECKING:
    from pydicom import FileDataset

MOST_FRAMES = 10_000


def read_header(path: Path) -> tuple[int, int, bool, bool, int]:
    """Height, width, whether it is grey, whether it has other values than 8 bits, and how many frames there are.

    Raises:
        DataError: if pydicom is not installed.
        ValueError: if it has more pixels than `MOST_PIXELS`, or too many frames.
    """
    return _header_of(_opened(path, pixels=False))


def read_frames(path: Path) -> Iterator[Raw]:
    """The frames, as values of the modality: (height, width), or uint8 (height, width, 3).

    Raises:
        DataError: if pydicom is not installed.
        Exception: whatever pydicom raises for a file that it cannot read.
    """
    opened = _opened(path, pixels=True)
    from pydicom.pixels import apply_modality_lut, iter_pixels

    _, _, grey, deep, _ = _header_of(opened)
    for stored in iter_pixels(opened):  # YBR becomes RGB there
        if not grey:
            yield np.asarray(stored, dtype=np.uint8)
            continue
        values = np.asarray(apply_modality_lut(stored, opened)) if deep else stored
        yield _inverted(values) if opened.PhotometricInterpretation == "MONOCHROME1" else values


def _header_of(opened: "FileDataset") -> tuple[int, int, bool, bool, int]:
    height, width, frames = int(opened.Rows), int(opened.Columns), int(opened.get("NumberOfFrames", 1) or 1)
    if height * width > MOST_PIXELS:
        raise ValueError(f"{width}x{height} pixels, more than {MOST_PIXELS}; shrink it")
    if frames > MOST_FRAMES:
        raise ValueError(f"{frames} frames, more than {MOST_FRAMES}; split it")
    if opened.get("PhotometricInterpretation") == "PALETTE COLOR":
        raise ValueError("a palette of colours; save it as RGB")
    grey = int(opened.get("SamplesPerPixel", 1)) == 1
    if not grey and int(opened.BitsAllocated) != 8:
        raise ValueError("more than 8 bits a channel of colours; convert it to 8 bits")
    rescaled = "ModalityLUTSequence" in opened or "RescaleSlope" in opened
    return height, width, grey, grey and (int(opened.BitsAllocated) != 8 or rescaled), frames


def _inverted(values: Raw) -> Raw:
    """Values of a picture whose lowest is white."""
    return (255 - values).astype(np.uint8) if values.dtype == np.uint8 else -values.astype(np.float64)


def _opened(path: Path, *, pixels: bool) -> "FileDataset":
    try:
        from pydicom import dcmread
    except ModuleNotFoundError:
        raise DataError(f"{path} is DICOM, which needs pydicom (the extra dicom): {how_to_install('dicom')}") from None
    opened: Any = dcmread(path, stop_before_pixels=not pixels)
    return opened
