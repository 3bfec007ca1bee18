"""Images as they are stored: uint8 arrays, looked through in blocks, fingerprinted."""

import hashlib
import mmap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from ensemble_ad.data.remarks import Remarks
from ensemble_ad.data.sizes import CHANNELS
from ensemble_ad.errors import DataError

_BLOCK = 4096

Images = npt.NDArray[np.uint8]
Raw = npt.NDArray[Any]
"""A picture as it was stored: (height, width) or (height, width, C) of any real numbers; or several of one size."""
Sizes = npt.NDArray[np.int64]
"""(height, width) of pictures, int64 (n, 2)."""
ImageShape = tuple[int, int, int]
"""(height, width, channels) of an image as it is stored, the axes of `Images` after the first."""
ChannelsFirst = tuple[int, int, int]
"""(channels, height, width) of an image as a model takes it."""


class FileState(NamedTuple):
    """By what a file is known again: where it lies, its bytes, and when its content and its status last changed, in ns.

    Who replaces a file or writes into it changes one of these.
    """

    device: int
    inode: int
    size: int
    modified: int
    changed: int

    @classmethod
    def of(cls, path: Path) -> Self | None:
        """The state of a file; None where there is none."""
        try:
            found = path.stat()
        except OSError:
            return None
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """Images of one size.

    Attributes:
        images: uint8 (N, side, side, C) with C of 1 or 3, often a read-only memory map.
        ids: N distinct names, the ones a submission uses.
        source: file or folder that they came from, for messages.
        file: what the system said of the file under a memory map when it was opened; None of arrays in memory.
        remarks: what was passed over, and which pictures are not used as they are.
        sizes: int64 (N, 2), height and width of the pictures that the images were made of; None if they are as they
            were.
    """

    images: Images
    ids: tuple[str, ...]
    source: Path
    file: FileState | None = None
    remarks: Remarks = field(default_factory=Remarks, compare=False)
    sizes: Sizes | None = field(default=None, compare=False)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shapes(self) -> Sizes:
        """int64 (N, 2): height and width of the picture that each image was made of, upright."""
        if self.sizes is not None:
            return self.sizes
        return np.broadcast_to(np.array(self.images.shape[1:3], dtype=np.int64), (len(self), 2))

    def check_unchanged(self) -> None:
        """Refuse a file that was replaced, cut off or written into since it was opened: its pixels would be others.

        Where only its times are others, the pixels decide.

        Raises:
            DataError: if it has changed.
        """
        if self.file is None:
            return
        now = FileState.of(self.source)
        if now == self.file:
            return
        same_file = now is not None and now[:3] == self.file[:3]
        if not same_file or _fingerprint(blocks(self.images), self.images.shape) != self.fingerprint:
            raise DataError(
                f"{self.source} has changed since it was read; put the old images back, or run the command again: what "
                "was made of the old ones is kept, and changed images are another data set"
            )

    def checked_blocks(self) -> Iterator[Images]:
        """As `blocks`, of all images; in the end they are known to have been those of the fingerprint.

        Raises:
            DataError: at the end, if they were not.
        """
        digest = _digest(self.images.shape)
        for block in blocks(self.images):
            digest.update(block.data)
            yield block
        if digest.hexdigest() != self.fingerprint:
            raise DataError(f"{self.source} has changed while it was read; run the command again")

    @cached_property
    def fingerprint(self) -> str:
        """BLAKE2b-128 of shape and pixels: equal images have it wherever they lie and however they are stored."""
        return _fingerprint(blocks(self.images), self.images.shape)

    @cached_property
    def is_grey(self) -> bool:
        """Whether every pixel's channels are equal, so that one channel holds everything."""
        return self.images.shape[3] == 1 or all(bool((block == block[..., :1]).all()) for block in blocks(self.images))


def _digest(shape: tuple[int, ...]) -> "hashlib.blake2b":
    return hashlib.blake2b(repr(shape).encode(), digest_size=16)


def _fingerprint(runs: Iterable[Images], shape: tuple[int, ...]) -> str:
    digest = _digest(shape)
    for run in runs:
        digest.update(run.data)
    return digest.hexdigest()


def blocks(images: Images) -> Iterator[Images]:
    """Contiguous runs of images, small enough to hold however many images there are; see `give_back`."""
    for start in range(0, len(images), _BLOCK):
        yield np.ascontiguousarray(images[start : start + _BLOCK])
        give_back(images)


def give_back(images: Images) -> None:
    """Let go of the memory that holds what was read of a read-only memory map.

    Until then it counts as this process's for as long as the map is open. Nothing is lost: a later look finds the
    pixels in the system's cache, or on disk. Other arrays are left alone.
    """
    mapped = getattr(images, "_mmap", None)
    if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED") and not images.flags.writeable:
        mapped.madvise(mmap.MADV_DONTNEED)


def checked_axes(images: Raw, path: Path) -> Raw:
    """Pictures of a file, if images can be made of them.

    Args:
        images: (N, height, width, C), or (N, height, width), which is taken as one channel.
        path: the file, for messages.

    Returns:
        (N, height, width, C), of the same dtype.

    Raises:
        DataError: for what are no real numbers, other axes, or no images.
    """
    shape = tuple(images.shape)
    if images.dtype.kind not in "uif":
        raise DataError(f"{path} must be uint8 (0 to 255) or other real numbers, but is {images.dtype}; convert it")
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[3] not in CHANNELS:
        hint = (
            "; its channels come second, use x.transpose(0, 2, 3, 1)"
            if images.ndim == 4 and shape[1] in CHANNELS
            else ""
        )
        raise DataError(f"{path} must have the axes (N, height, width, 1 or 3), but has {shape}{hint}")
    if images.shape[0] == 0:
        raise DataError(f"{path} must hold at least one image, but holds none: {shape}")
    return images
