"""Centred crop and resize back: part of a member's identity, done once a crop, kept as uint8.

Resizing is linear and separable, so an image X becomes A X A^T with one small matrix A a direction; a crop is A with
its support inside the crop. A is the anti-aliased triangle filter that Pillow and torchvision use for "bilinear".
"""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ensemble_ad import storage
from ensemble_ad.errors import UsageError
from ensemble_ad.images import SIDES, Images, ImageSet, blocks, keep_array


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """What happens to an image before any model sees it.

    Attributes:
        crop: height and width of the centred crop, as fractions of the side, each in (0, 1].
        size: height and width that the crop is resized to, in pixels.
        channels: 1 or 3; 1 from three equal channels keeps the first.
    """

    crop: tuple[float, float]
    size: tuple[int, int]
    channels: int

    def __post_init__(self) -> None:
        if not all(0 < c <= 1 for c in self.crop):
            raise UsageError(f"a crop must be a fraction above 0 and at most 1, not {self.crop}")
        if not all(SIDES[0] <= s <= SIDES[1] for s in self.size):
            raise UsageError(f"images must be resized to {SIDES[0]} to {SIDES[1]} pixels a side, not to {self.size}")
        if self.channels not in (1, 3):
            raise UsageError(f"channels must be 1 or 3, not {self.channels}")

    def as_json(self) -> dict[str, Any]:
        """The settings as a member's file and key hold them."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Preprocess":
        """The inverse of `as_json`."""
        crop, size = value["crop"], value["size"]
        return cls(crop=(crop[0], crop[1]), size=(size[0], size[1]), channels=value["channels"])

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of what a model takes."""
        return (self.channels, *self.size)


def resize_matrix(side: int, crop: float, size: int) -> npt.NDArray[np.float32]:
    """The (size, side) matrix of a centred crop of `crop * side` pixels resized to `size`.

    Triangle filter, widened by the scale when shrinking (anti-aliasing), sampled at pixel centres and renormalised at
    the borders of the crop, as Pillow's `Image.resize(size, BILINEAR, box=...)` does it.
    """
    span = crop * side
    offset = (side - span) / 2
    scale = span / size
    support = max(scale, 1.0)
    centre = offset + (np.arange(size)[:, None] + 0.5) * scale
    first = np.floor(np.maximum(centre - support + 0.5, 0)).astype(int)
    last = np.floor(np.minimum(centre + support + 0.5, side)).astype(int)
    pixel = np.arange(side)[None, :]
    weight = np.maximum(1 - np.abs(pixel + 0.5 - centre) / support, 0)
    weight *= (pixel >= first) & (pixel < last)
    matrix: npt.NDArray[np.float32] = (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)
    return matrix


def apply(images: Images, preprocess: Preprocess) -> Images:
    """Crop and resize.

    Args:
        images: uint8 (N, side, side, C).
        preprocess: the settings.

    Returns:
        uint8 (N, height, width, channels); the input itself where nothing is to do. Within one grey level of Pillow's
        chain (which rounds between its two passes).
    """
    side = images.shape[1]
    if preprocess.channels != images.shape[3]:
        images = images[..., :1] if preprocess.channels == 1 else np.repeat(images, 3, axis=3)
    if preprocess.crop == (1.0, 1.0) and preprocess.size == (side, side):
        return images
    rows = resize_matrix(side, preprocess.crop[0], preprocess.size[0])
    columns = resize_matrix(side, preprocess.crop[1], preprocess.size[1])
    result = np.empty((len(images), *preprocess.size, preprocess.channels), dtype=np.uint8)
    done = 0
    for block in blocks(images):
        planes = np.moveaxis(block.astype(np.float32), 3, 1)
        resized = np.moveaxis(rows @ planes @ columns.T, 1, 3)
        np.rint(resized, out=resized)
        result[done : done + len(block)] = np.clip(resized, 0, 255, out=resized)
        done += len(block)
    return result


def cached(image_set: ImageSet, preprocess: Preprocess, folder: Path) -> Images:
    """`apply`, kept on disk under a key of the pixels and the settings, and opened as a memory map.

    Raises:
        StorageError: if the cache cannot be written.
    """
    images = image_set.images
    if (
        preprocess.crop == (1.0, 1.0)
        and preprocess.size == images.shape[1:3]
        and preprocess.channels == images.shape[3]
    ):
        return images
    key = storage.json_hash([image_set.fingerprint, preprocess.as_json()])
    path = folder / f"preprocessed-{key}.npy"
    opened = keep_array(path, lambda: apply(images, preprocess))
    with storage.clear_errors(path, "write"):
        os.utime(path)
    return opened
