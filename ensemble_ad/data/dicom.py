"""DICOM files, read by pydicom, which is an extra."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ensemble_ad.data.images import Raw
from ensemble_ad.data.remarks import ending_of
from ensemble_ad.data.sizes import MOST_PIXELS
from ensemble_ad.errors import DataError
from ensemble_ad.extras import how_to_install

if TYPE_CHECKING:
    from pydicom import FileDataset

ENDINGS = (".dcm", ".dicom")
"""Endings of what is taken for DICOM, whether pydicom is installed or not."""
MOST_FRAMES = 10_000
_READERS = "pip install 'pylibjpeg[all]'"
_LACKS = ("missing dependencies", "does not support")  # what pydicom says where a reader would help
_MAGIC, _PREAMBLE = b"DICM", 128
_DEFLATED = "1.2.840.10008.1.2.1.99"  # the transfer syntax that is inflated as a whole, however large it gets


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its ending, or by its first bytes where its name has no ending, as many have."""
    ending = ending_of(path.name)
    return ending in ENDINGS if ending else begins_like_dicom(path)


def begins_like_dicom(path: Path | str) -> bool:
    """Whether a file's first bytes are those of DICOM."""
    with suppress(OSError), Path(path).open("rb") as file:
        return file.read(_PREAMBLE + len(_MAGIC)).endswith(_MAGIC, _PREAMBLE)
    return False


def read_header(path: Path) -> tuple[int, int, bool, bool, int]:
    """Height, width, whether it is grey, whether it has other values than 8 bits, and how many frames there are.

    Raises:
        DataError: if pydicom is not installed.
        ValueError: if it is none, has more pixels than `MOST_PIXELS`, or too many frames.
    """
    return _header_of(_opened(path, pixels=False))


def read_frames(path: Path) -> Iterator[Raw]:
    """The frames, as values of the modality: (height, width), or uint8 or uint16 (height, width, 3).

    Raises:
        DataError: if pydicom is not installed, or what it needs for the file's compression.
        Exception: whatever pydicom raises for a file that it cannot read.
    """
    opened = _opened(path, pixels=True)
    from pydicom.pixels import apply_color_lut, apply_modality_lut

    _, _, grey, deep, _ = _header_of(opened)
    for stored in _decoded(path, opened):
        if _has_palette(opened):
            yield _native(apply_color_lut(stored, opened)[..., :3])
        elif not grey:
            yield _native(stored)
        else:
            values = _native(np.asarray(apply_modality_lut(stored, opened))) if deep else stored
            values = values * np.uint8(255) if opened.BitsAllocated == 1 else values
            yield _inverted(values) if opened.PhotometricInterpretation == "MONOCHROME1" else values


def _decoded(path: Path, opened: "FileDataset") -> Iterator[Raw]:
    """The frames as they are stored, but RGB of YBR."""
    from pydicom.pixels import iter_pixels

    try:
        yield from iter_pixels(opened)
    except RuntimeError as error:
        if not any(text in str(error) for text in _LACKS):
            raise
        how = opened.file_meta.TransferSyntaxUID.name
        raise DataError(f"{path} is compressed as {how}, for which pydicom needs another reader: {_READERS}") from error


def _header_of(opened: "FileDataset") -> tuple[int, int, bool, bool, int]:
    if "Rows" not in opened or "Columns" not in opened:
        raise ValueError("it holds no picture")
    height, width, frames = int(opened.Rows), int(opened.Columns), int(opened.get("NumberOfFrames", 1) or 1)
    if height * width > MOST_PIXELS:
        raise ValueError(f"{width}x{height} pixels, more than {MOST_PIXELS}; shrink it")
    if frames > MOST_FRAMES:
        raise ValueError(f"{frames} frames, more than {MOST_FRAMES}; split it")
    if _has_palette(opened):
        return height, width, False, int(opened.RedPaletteColorLookupTableDescriptor[2]) != 8, frames
    grey = int(opened.get("SamplesPerPixel", 1)) == 1
    rescaled = "ModalityLUTSequence" in opened or "RescaleSlope" in opened
    signed = opened.get("PixelRepresentation") == 1
    deep = int(opened.BitsAllocated) > 8 or signed or (grey and rescaled)
    return height, width, grey, deep, frames


def _has_palette(opened: "FileDataset") -> bool:
    return bool(opened.get("PhotometricInterpretation") == "PALETTE COLOR")


def _native(values: Raw) -> Raw:
    """The same in the machine's byte order."""
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _inverted(values: Raw) -> Raw:
    """Values of a picture whose lowest is white."""
    return (255 - values).astype(np.uint8) if values.dtype == np.uint8 else -values.astype(np.float64)


def _opened(path: Path, *, pixels: bool) -> "FileDataset":
    try:
        from pydicom import dcmread
        from pydicom.errors import InvalidDicomError
        from pydicom.filereader import read_file_meta_info
    except ModuleNotFoundError:
        raise DataError(f"{path} is DICOM, which needs pydicom (the extra dicom): {how_to_install('dicom')}") from None
    try:
        if read_file_meta_info(path).get("TransferSyntaxUID") == _DEFLATED:
            raise ValueError("deflated as a whole; save it in another transfer syntax")
        opened: FileDataset = dcmread(path, stop_before_pixels=not pixels)
    except InvalidDicomError:
        raise ValueError("it is no DICOM file") from None
    return opened
