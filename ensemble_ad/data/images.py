"""Images as they are stored: uint8 arrays, looked through in blocks, fingerprinted."""

import hashlib
import mmap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from ensemble_ad.data.remarks import Remarks
from ensemble_ad.data.sizes import CHANNELS, SIDES
from ensemble_ad.errors import DataError

_BLOCK = 4096

Images = npt.NDArray[np.uint8]
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
    """

    images: Images
    ids: tuple[str, ...]
    source: Path
    file: FileState | None = None
    remarks: Remarks = field(default_factory=Remarks, compare=False)

    def __len__(self) -> int:
        return len(self.images)

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


def checked_images(images: npt.NDArray[np.generic], path: Path) -> Images:
    """The images of a file or folder, if they can be used.

    Args:
        images: (N, side, side, C), or (N, side, side), which is taken as one channel.
        path: the file or folder, for messages.

    Returns:
        uint8 (N, side, side, C).

    Raises:
        DataError: for another dtype, other axes, no images, images that are not square, or a side out of `SIDES`.
    """
    shape = tuple(images.shape)
    if images.dtype != np.uint8:
        raise DataError(
            f"{path} must be uint8 (0 to 255), but is {images.dtype}; convert it, "
            "for instance with (x * 255).round().astype('uint8') if it is 0 to 1"
        )
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[3] not in CHANNELS:
        hint = (
            "; its channels come second, use x.transpose(0, 2, 3, 1)"
            if images.ndim == 4 and shape[1] in CHANNELS
            else ""
        )
        raise DataError(f"{path} must have the axes (N, side, side, 1 or 3), but has {shape}{hint}")
    if images.shape[0] == 0:
        raise DataError(f"{path} must hold at least one image, but holds none: {shape}")
    if images.shape[1] != images.shape[2]:
        raise DataError(
            f"{path} must hold square images, but they are {shape[1]} high and {shape[2]} wide; crop or pad them"
        )
    if not SIDES[0] <= images.shape[1] <= SIDES[1]:
        raise DataError(
            f"{path} must hold images of {SIDES[0]} to {SIDES[1]} pixels a side, but they have {shape[1]}; resize them"
        )
    return images  # type: ignore[return-value]
