"""Images in .npy files: the user's own, opened as they are, and arrays that are made once and kept."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from ensemble_ad.data.conversion import Conversion, check_size
from ensemble_ad.data.images import FileState, Images, ImageSet, Raw, checked_axes, give_back
from ensemble_ad.data.intake import Progress, check_images, no_progress
from ensemble_ad.data.remarks import Remarks
from ensemble_ad.errors import DataError, in_one_line
from ensemble_ad.files.json_file import json_hash
from ensemble_ad.files.whole import file_hash, whole_file

_LFS_POINTER = b"version https://git-lfs"
_NPY_MAGIC = b"\x93NUMPY"
_CONVERTED = 256
_VERSION = 1  # raised when the same conversion gives other pixels


class ArrayFile:
    """A .npy file of pictures; see `conversion.Pictures`.

    Attributes:
        place: the file.
        sizes: int64 (N, 2), all alike.
        channels: 1 or 3.
        deep: the file, where its numbers are other than uint8; else None.
    """

    def __init__(self, path: Path, shadowed: Path | None = None) -> None:
        """Open a file.

        Args:
            path: the file.
            shadowed: a folder of the same images that is passed over.

        Raises:
            DataError: as `open_array`.
        """
        self.place, self._remarks = path, Remarks()
        if shadowed is not None:
            self._remarks.add("shadowed", shadowed.name)
        self._state = FileState.of(path)
        self._array = open_array(path)
        n, height, width, self.channels = self._array.shape
        self.sizes = np.broadcast_to(np.array([height, width], dtype=np.int64), (n, 2))
        self.deep = path if self._array.dtype != np.uint8 else None

    def some(self, count: int) -> Iterator[Raw]:
        """Up to `count` pictures, evenly spaced."""
        for row in np.unique(np.linspace(0, len(self._array) - 1, count).astype(int)):
            yield self._array[row]

    def images(self, conversion: Conversion | None, image_cache: Path, progress: Progress = no_progress) -> ImageSet:
        """The images that `conversion` makes of the pictures; None takes those that are images as they are.

        Raises:
            DataError: if there is a picture that no image can be made of.
        """
        ids = tuple(map(str, range(len(self._array))))
        if conversion is None:
            check_images(self)
            return ImageSet(images=self._array, ids=ids, source=self.place, file=self._state, remarks=self._remarks)
        check_size(self._array.shape[1:3], str(self.place))
        content = json_hash([_VERSION, file_hash(self.place), conversion.to_json()])
        shape = (len(self._array), conversion.side, conversion.side, self.channels)
        made = keep_blocks(image_cache / f"array-{content}.npy", lambda: (shape, self._runs(conversion, progress)))
        return ImageSet(images=made, ids=ids, source=self.place, sizes=self.sizes, remarks=self._remarks)

    def _runs(self, conversion: Conversion, progress: Progress) -> Iterator[Images]:
        total = len(self._array)
        for start in range(0, total, _CONVERTED):
            rows = range(start, min(start + _CONVERTED, total))
            yield np.stack([conversion.image(self._array[row], f"image {row} of {self.place}") for row in rows])
            give_back(self._array)
            progress(rows.stop, total)


def open_array(path: Path) -> Raw:
    """Open a .npy file of pictures as a read-only memory map.

    Returns:
        (N, height, width, C) of any real numbers; (N, height, width) is taken as one channel.

    Raises:
        DataError: for a Git-LFS pointer, pickled objects, a cut-off file, or what `checked_axes` refuses.
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
    return checked_axes(images, path)


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
