"""Preprocessing, a centred crop that is resized: part of a member's identity, done once for each crop, kept as uint8.

A resized crop may be cut into overlapping tiles. A model then sees tiles, as many images as there are, and what it says
of an image's tiles is put together again: their error vectors by `training.error_vectors`, their maps by `undone`.

Resizing is linear and separable, so that an image X becomes A X B^T with one small matrix for each direction. A chain
of resizes and crops has one such matrix too, the product of theirs: to resize to 256, crop 196 and resize to 64 costs
no more than one resize, and is rounded once instead of four times. The matrices are the anti-aliased triangle filter
that Pillow and torchvision call "bilinear".
"""

import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ensemble_ad.data.images import ChannelsFirst, Images, ImageSet, blocks
from ensemble_ad.data.npy import keep_blocks
from ensemble_ad.data.sizes import SIDES
from ensemble_ad.errors import UsageError
from ensemble_ad.files.json_file import json_hash
from ensemble_ad.files.whole import clear_errors
from ensemble_ad.statistics.arrays import Floats32

# Raised when the same settings give other pixels, so that no older file is taken for a newer one.
_PIXELS = 2
# Added before the decimals are cut off: halves go up, as Pillow's do, whichever way float32 errs.
_ROUNDING = np.float32(0.501)
_OVERLAP = 0.25
_MOST_VIA = 4 * SIDES[1]
# Outputs in a band of a matrix, and numbers of the images that are resized at a time: few enough for a cache.
_BAND = 16
_AT_ONCE = 1 << 18

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """What happens to an image before any model sees it.

    Attributes:
        crop: height and width of the centred crop, as fractions of the side, each in (0, 1].
        size: height and width that the crop is resized to, in pixels.
        channels: 1 or 3; 1 keeps the first of three channels, 3 repeats a single one.
        via: side in pixels that the image is resized to before it is cropped, as published notebooks do it; None crops
            the image as it is. The detour smooths: on faces its pixels differ by up to 26 grey levels, 0.8 in mean.
        tile: side in pixels of the overlapping tiles that the resized crop is cut into, which a model sees one by one;
            None leaves it whole.
    """

    crop: tuple[float, float]
    size: tuple[int, int]
    channels: int
    via: int | None = None
    tile: int | None = None

    def __post_init__(self) -> None:
        if not all(0 < c <= 1 for c in self.crop):
            raise UsageError(f"a crop must be a fraction above 0 and at most 1, not {self.crop}")
        if not all(SIDES[0] <= s <= SIDES[1] for s in self.size):
            raise UsageError(f"images must be resized to {SIDES[0]} to {SIDES[1]} pixels a side, not to {self.size}")
        if self.channels not in (1, 3):
            raise UsageError(f"channels must be 1 or 3, not {self.channels}")
        if self.via is not None and not SIDES[0] <= self.via <= _MOST_VIA:
            raise UsageError(f"images must be resized via {SIDES[0]} to {_MOST_VIA} pixels a side, not via {self.via}")
        if self.tile is not None and not SIDES[0] <= self.tile <= min(self.size):
            raise UsageError(
                f"tiles must have {SIDES[0]} to {min(self.size)} pixels a side, that of the images they are cut from, "
                f"not {self.tile}"
            )

    def as_json(self) -> dict[str, Any]:
        """The settings as a member's file and key hold them, with `via` and `tile` only where used."""
        values = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return {key: value for key, value in values.items() if value is not None}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Preprocess":
        """The inverse of `as_json`."""
        crop, size = value["crop"], value["size"]
        return cls(
            crop=(crop[0], crop[1]),
            size=(size[0], size[1]),
            channels=value["channels"],
            via=value.get("via"),
            tile=value.get("tile"),
        )

    @property
    def shape(self) -> ChannelsFirst:
        """Shape of an image, or of a tile, as a model takes it."""
        return (self.channels, *self.size) if self.tile is None else (self.channels, self.tile, self.tile)

    @property
    def tiles(self) -> int:
        """How many tiles an image is cut into."""
        return 1 if self.tile is None else math.prod(len(places(side, self.tile)) for side in self.size)

    def shape_of(self, n: int) -> tuple[int, int, int, int]:
        """Shape of what becomes of `n` images: (n * tiles, height, width, channels)."""
        channels, height, width = self.shape
        return (n * self.tiles, height, width, channels)

    def rows_of(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The rows of all tiles, int64 (n * tiles,), of the images of rows int64 (n,): an image's lie side by side."""
        return (rows[:, None] * self.tiles + np.arange(self.tiles)).reshape(-1)

    def changes(self, images: Images) -> bool:
        """Whether these images, uint8 (N, side, side, C), are changed by the settings."""
        if self.tiles > 1:
            return True
        whole = self.crop == (1.0, 1.0) and self.via in (None, images.shape[1])
        return not (whole and self.size == images.shape[1:3] and self.channels == images.shape[3])


def resize_matrix(side: int, crop: float, size: int, via: int | None = None) -> Matrix:
    """The (size, side) matrix of a centred crop of `crop * side` pixels resized to `size`.

    It is the triangle filter, widened by the scale where the image shrinks (anti-aliasing), sampled at pixel centres
    and renormalised at the borders, as in Pillow's `Image.resize(size, BILINEAR, box=...)`. With `via`, the image is
    resized to that side first, and the crop is of whole pixels, placed as torchvision's `center_crop` places it.
    """
    if via is None:
        return _triangle(side, crop * side, size).astype(np.float32)
    pixels = max(1, round(crop * via))
    first = round((via - pixels) / 2)
    up, down = _triangle(side, side, via), _triangle(pixels, pixels, size)
    return (down @ up[first : first + pixels]).astype(np.float32)


def _triangle(side: int, span: float, size: int) -> npt.NDArray[np.float64]:
    """The (size, side) matrix that resizes the middle `span` of `side` pixels to `size`."""
    offset = (side - span) / 2
    scale = span / size
    support = max(scale, 1.0)
    centre = offset + (np.arange(size)[:, None] + 0.5) * scale
    first = np.floor(np.maximum(centre - support + 0.5, 0)).astype(int)
    last = np.floor(np.minimum(centre + support + 0.5, side)).astype(int)
    pixel = np.arange(side)[None, :]
    weight = np.maximum(1 - np.abs(pixel + 0.5 - centre) / support, 0)
    weight *= (pixel >= first) & (pixel < last)
    matrix: npt.NDArray[np.float64] = weight / weight.sum(axis=1, keepdims=True)
    return matrix


def places(side: int, tile: int) -> list[int]:
    """Where tiles of a side begin: evenly spread over it, neighbours overlapping by a quarter of a tile or more."""
    steps = math.ceil((side - tile) / (tile * (1 - _OVERLAP)))
    return [round(start) for start in np.linspace(0, side - tile, steps + 1)]


def _corners(preprocess: Preprocess, tile: int) -> list[tuple[slice, slice]]:
    """Where the tiles of an image lie, row by row."""
    down, across = (places(side, tile) for side in preprocess.size)
    return [(slice(top, top + tile), slice(left, left + tile)) for top in down for left in across]


def _cut(images: Images, preprocess: Preprocess) -> Images:
    """The tiles of resized images, uint8 (n * tiles, tile, tile, C)."""
    tile = preprocess.tile
    if tile is None:
        return images
    cut = np.stack([images[:, rows, columns] for rows, columns in _corners(preprocess, tile)], axis=1)
    return cut.reshape(-1, *cut.shape[2:])


def _stitched(maps: Floats32, preprocess: Preprocess) -> Floats32:
    """Maps of images, float32 (n, *size), of maps of their tiles: where tiles overlap, the mean."""
    tile = preprocess.tile
    if tile is None:
        return maps
    of_tiles = maps.reshape(-1, preprocess.tiles, tile, tile)
    total = np.zeros((len(of_tiles), *preprocess.size), dtype=np.float32)
    count = np.zeros(preprocess.size, dtype=np.float32)
    for place, (rows, columns) in enumerate(_corners(preprocess, tile)):
        total[:, rows, columns] += of_tiles[:, place]
        count[rows, columns] += 1
    return total / count


def undone(maps: Floats32, preprocess: Preprocess, side: int, outside: float) -> Floats32:
    """Maps of what a model sees on the images that it was cropped and resized from, bilinear between pixel centres.

    Args:
        maps: float32 (n * tiles, height, width) of what a model sees.
        preprocess: what was done to the images.
        side: of the images.
        outside: the value of pixels that the crop has cut off.

    Returns:
        float32 (n, side, side).
    """
    rows, columns = (
        _centres(side, crop * side, size) for crop, size in zip(preprocess.crop, preprocess.size, strict=True)
    )
    unseen = (rows.sum(axis=1) == 0)[:, None] | (columns.sum(axis=1) == 0)
    whole = _stitched(maps, preprocess)
    found: Floats32 = np.matmul(np.matmul(rows, whole), columns.T, dtype=np.float32)
    found[:, unseen] = outside
    return found


def _centres(side: int, span: float, size: int) -> Matrix:
    """The (side, size) matrix that looks `size` pixels up at the centres of `side`, whose middle `span` they fill."""
    place = (np.arange(side) + 0.5 - (side - span) / 2) * size / span
    inside = (place >= 0) & (place <= size)
    centre = np.clip(place - 0.5, 0, size - 1)
    weight = np.maximum(1 - np.abs(centre[:, None] - np.arange(size)), 0) * inside[:, None]
    matrix: Matrix = weight.astype(np.float32)
    return matrix


def apply(images: Images, preprocess: Preprocess) -> Images:
    """Crop and resize.

    The pixels are within one grey level of Pillow's resize of the crop. With `via` they are within two of Pillow's
    chain, 0.25 in mean, and within one of torchvision's chain on tensors, 0.1 in mean. (Pillow rounds between its
    passes; the two chains differ from each other by two.)

    Args:
        images: uint8 (N, side, side, C).
        preprocess: the settings.

    Returns:
        uint8 (N * tiles, height, width, channels); the images themselves where there is nothing to do.
    """
    if not preprocess.changes(images):
        return images
    result = np.empty(preprocess.shape_of(len(images)), dtype=np.uint8)
    done = 0
    for block in applied(images, preprocess):
        result[done : done + len(block)] = block
        done += len(block)
    return result


def applied(images: Images, preprocess: Preprocess, runs: Iterable[Images] | None = None) -> Iterator[Images]:
    """What `apply` gives, in blocks of images, so that only one block is held.

    Args:
        images: the images.
        preprocess: what happens to them.
        runs: the images in blocks; None makes them.
    """
    side, channels = images.shape[1], preprocess.channels
    resizes = replace(preprocess, channels=images.shape[3], tile=None).changes(images)
    rows = resize_matrix(side, preprocess.crop[0], preprocess.size[0], preprocess.via)
    columns = resize_matrix(side, preprocess.crop[1], preprocess.size[1], preprocess.via)
    for block in blocks(images) if runs is None else runs:
        if channels < block.shape[3]:
            block = np.ascontiguousarray(block[..., :1])
        resized = _resized(block, rows, columns) if resizes else block
        yield _cut(np.repeat(resized, channels, axis=3) if channels > resized.shape[3] else resized, preprocess)


def _resized(images: Images, rows: Matrix, columns: Matrix) -> Images:
    """rows X columns^T of every channel, rounded, in matrix products that stay within a processor's cache.

    A row of an image is one vector of all its columns' channels, so that neither pass has to move pixels. Each output
    depends on few inputs, so a pass is made of bands: some outputs, and the inputs that any of them depends on.
    """
    n, side, _, channels = images.shape
    height, width = len(rows), len(columns)
    across = [
        (
            slice(a.start * channels, a.stop * channels),
            slice(b.start * channels, b.stop * channels),
            _each(band, channels),
        )
        for a, b, band in _bands(columns)
    ]
    down = _bands(rows)
    result = np.empty((n, height, width * channels), dtype=np.uint8)
    at_once = max(1, _AT_ONCE // (max(side, height) * max(side, width) * channels))
    values = np.empty((at_once, side, side * channels), dtype=np.float32)
    narrow = np.empty((at_once, side, width * channels), dtype=np.float32)
    final = np.empty((at_once, height, width * channels), dtype=np.float32)
    for start in range(0, n, at_once):
        some = images[start : start + at_once].reshape(-1, side, side * channels)
        count = len(some)
        # Each row of both matrices sums to 1, so that what is added here is still there at the end.
        np.add(some, _ROUNDING, out=values[:count])
        for outputs, inputs, band in across:
            np.matmul(values[:count, :, inputs], band, out=narrow[:count, :, outputs])
        for outputs, inputs, band in down:
            np.matmul(band, narrow[:count, inputs], out=final[:count, outputs])
        result[start : start + count] = final[:count]
    return result.reshape(n, height, width, channels)


def _bands(matrix: Matrix) -> list[tuple[slice, slice, Matrix]]:
    """Of each band: its outputs, the inputs that they depend on, and that part of the matrix, contiguous."""
    found = []
    for start in range(0, len(matrix), _BAND):
        outputs = slice(start, min(start + _BAND, len(matrix)))
        used = np.flatnonzero((matrix[outputs] != 0).any(axis=0))
        inputs = slice(int(used[0]), int(used[-1]) + 1)
        found.append((outputs, inputs, np.ascontiguousarray(matrix[outputs, inputs])))
    return found


def _each(band: Matrix, channels: int) -> Matrix:
    """The transpose of a band for interleaved channels: an output's channel depends on the same channel alone."""
    return np.ascontiguousarray(np.kron(band.T, np.eye(channels, dtype=np.float32)))


def cached(image_set: ImageSet, preprocess: Preprocess, folder: Path) -> Images:
    """What `apply` gives, kept in `folder` under a key of the pixels and the settings, and opened as a memory map.

    No path and no time is part of the key: equal pixels are found wherever they came from, a changed pixel never is.

    Raises:
        StorageError: if the folder cannot be written to.
        DataError: if the images have changed since their fingerprint was taken; then nothing is kept.
    """
    images = image_set.images
    if not preprocess.changes(images):
        return images
    key = json_hash([image_set.fingerprint, preprocess.as_json(), _PIXELS])
    path = folder / f"preprocessed-{key}.npy"
    shape = preprocess.shape_of(len(images))
    opened = keep_blocks(path, lambda: (shape, applied(images, preprocess, image_set.checked_blocks())))
    with clear_errors(path, "write"):
        os.utime(path)
    return opened
