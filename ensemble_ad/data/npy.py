"""Images in .npy files: the user's own, opened as they are, and arrays that are made once and kept."""

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from ensemble_ad.data.images import Images, checked_images
from ensemble_ad.errors import DataError, in_one_line
from ensemble_ad.files.whole import whole_file

_LFS_POINTER = b"version https://git-lfs"
_NPY_MAGIC = b"\x93NUMPY"


def open_array(path: Path) -> Images:
    """Open a .npy file of images as a read-only memory map.

    Returns:
        uint8 (N, side, side, C); (N, side, side) is taken as one channel.

    Raises:
        DataError: for a Git-LFS pointer, pickled objects, a cut-off file, or images that `checked_images` refuses.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise DataError(f"{path} must be a .npy file, but is none; a pipe or device cannot be read twice")
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    if head.startswith(_LFS_POINTER):
        raise DataError(
            f"{path} is a Git-LFS pointer of {path.stat().st_size} bytes, not the images; "
            "run `git lfs pull` where it was cloned, or download the file itself"
        )
    if not head.startswith(_NPY_MAGIC):
        raise DataError(f"{path} must be a .npy file, but does not start like one; save it with numpy.save")
    try:
        images = _map(path)
    except Exception as error:  # numpy lets errors of the tokenizer, the parser and the memory map through
        if "Python objects in dtype" in str(error):
            raise DataError(
                f"{path} holds pickled objects, which could run code and are never opened; "
                "save it again as one uint8 array"
            ) from error
        raise DataError(f"{path} is cut off or damaged ({in_one_line(error)}); download it again") from error
    return checked_images(images, path)


def keep_blocks(path: Path, make: Callable[[], tuple[tuple[int, ...], Iterable[Images]]]) -> Images:
    """Open the array at `path` as a memory map; where there is none, or a damaged one, `make` it and write it first.

    Args:
        path: a .npy file.
        make: gives the array's shape, and its images in runs. A run is written as it comes, so that only one is held.

    Raises:
        StorageError: if the file cannot be written.
    """
    if path.exists():
        # A copy that broke off leaves a file that is too short.
        with contextlib.suppress(ValueError, EOFError, OSError):
            return _map(path)
    shape, runs = make()
    with whole_file(path) as part, part.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for run in runs:
            file.write(np.ascontiguousarray(run).data)
    return _map(path)


def _map(path: Path) -> Images:
    # A forged header's shape may overflow, of which numpy would only warn.
    with np.errstate(all="raise"):
        opened: Images = np.load(path, mmap_mode="r", allow_pickle=False)
    return opened
