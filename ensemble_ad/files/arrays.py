"""Arrays in an .npz file that may come from a stranger: no pickle, and no more memory than the file has bytes for."""

import math
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from ensemble_ad.errors import StorageError, in_one_line
from ensemble_ad.files.archive import check_zip
from ensemble_ad.files.whole import open_regular

_KINDS = "biufUS"
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Read all arrays of an .npz.

    Headers are checked first: numpy alone allocates what a header claims, be it 1e12 elements, before it reads them.

    Returns:
        Arrays of numbers or text by name.

    Raises:
        StorageError: if the file is missing or no .npz, would unpack to much more than its size, or holds an array of
            objects or of another size than its header says.
    """
    try:
        with open_regular(path) as opened, zipfile.ZipFile(opened) as file:
            check_zip(path, file.infolist())
            return {entry.filename.removesuffix(".npy"): _read(file, entry) for entry in file.infolist()}
    except FileNotFoundError:
        raise StorageError(f"cannot read {path}: No such file or directory; look at that path") from None
    except Exception as error:  # zlib's, the tokenizer's and the parser's too
        why = in_one_line(error, 200)
        raise StorageError(f"{path} is not a file of arrays: {why}") from error


def _read(file: zipfile.ZipFile, entry: zipfile.ZipInfo) -> npt.NDArray[Any]:
    with file.open(entry) as array:
        _check_header(array, entry.file_size)
    with file.open(entry) as array:
        read: npt.NDArray[Any] = np.lib.format.read_array(array, allow_pickle=False)
    return read


def _check_header(file: IO[bytes], size: int) -> None:
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"unknown version {version} of the .npy format")
    shape, _, dtype = _HEADERS[version](file)
    if dtype.kind not in _KINDS:
        raise ValueError(f"an array must be of numbers or text, not {dtype}")
    claimed, there = math.prod(shape) * dtype.itemsize, size - file.tell()
    if claimed != there or min(shape, default=0) < 0:
        raise ValueError(f"an array of the shape {shape} has {claimed} bytes, but {there} are there")
