"""Kinds of defect that a normal image can be given: a function each, all of them listed in `KINDS`."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.random import Generator
from scipy import fft, ndimage

from ensemble_ad.data.images import Images
from ensemble_ad.data.sizes import CHANNELS
from ensemble_ad.errors import DataError
from ensemble_ad.statistics.arrays import Floats32

LEAST_SIDE = 8
# A patch's share of the image's area, and its height / width: Li et al. 2021.
_AREA = (0.02, 0.15)
_ASPECT = (0.3, 3.3)
# A patch is drawn again until it changes the pixels below it by this share of the images' standard deviation.
_NOTICEABLE = 0.3
_DRAWS = 8

Kind = Callable[[Images, Generator], Images]


def cut_paste(images: Images, rng: Generator) -> Images:
    """A patch of the image pasted elsewhere into it, with hard edges: 2 to 15% of the area, aspect 0.3 to 3.3.

    A patch that would hardly show (blank on blank) is drawn again, at most seven times. Source: Li, Sohn, Yoon and
    Pfister 2021, "CutPaste" (arXiv:2104.04015), without its jitter of colours.
    """
    side = checked_square(images).shape[1]

    def patch(i: int) -> "_Patch":
        height, width = _patch_size(side, rng)
        (top, left), (from_top, from_left) = (_place(side, height, width, rng) for _ in range(2))
        content = images[i, from_top : from_top + height, from_left : from_left + width]
        return _Patch(top, left, content.astype(np.float32))

    return _patched(images, patch)


def patch_swap(images: Images, rng: Generator) -> Images:
    """A patch of another image of the set at the same place, of the sizes that `cut_paste` draws.

    A patch has a hard edge in half of the cases, by chance; else it fades in over 10 to 40% of its shorter edge.

    Raises:
        DataError: for one image.
    """
    side = checked_square(images).shape[1]
    if len(images) < 2:
        raise DataError(f"patch_swap needs at least 2 images, and there is {len(images)}; add more")

    def patch(i: int) -> "_Patch":
        height, width = _patch_size(side, rng)
        top, left = _place(side, height, width, rng)
        other = (i + rng.integers(1, len(images))) % len(images)
        fade = rng.uniform(0.1, 0.4) * min(height, width) if rng.random() < 0.5 else 1.0
        box = (slice(top, top + height), slice(left, left + width))
        mask = np.minimum.outer(_ramp(height, fade), _ramp(width, fade))[..., None]
        own, foreign = images[i][box].astype(np.float32), images[other][box].astype(np.float32)
        return _Patch(top, left, own + mask * (foreign - own))

    return _patched(images, patch)


def occlusion(images: Images, rng: Generator) -> Images:
    """A rectangle of one tone on 2 to 15% of the area.

    Each channel of the tone lies between the 5% and 95% quantiles of that channel in all images.
    """
    side = checked_square(images).shape[1]
    low, high = np.quantile(images[:, ::2, ::2], [0.05, 0.95], axis=(0, 1, 2))

    def patch(i: int) -> "_Patch":
        height, width = _patch_size(side, rng)
        top, left = _place(side, height, width, rng)
        tone = rng.uniform(low, high).astype(np.float32)
        return _Patch(top, left, np.broadcast_to(tone, (height, width, len(tone))))

    return _patched(images, patch)


def elastic(images: Images, rng: Generator) -> Images:
    """A smooth random warp: uniform noise, smoothed and scaled to move pixels by 2 to 4% of the side.

    The 2 to 4% are the root mean square along an axis. The smoothing Gaussian has a standard deviation of 8 to 14% of
    the side, so that the warp hardly folds. Interpolation is cubic; outside, the image is mirrored. Source: Simard,
    Steinkraus and Platt 2003, "Best practices for convolutional neural networks applied to visual document analysis",
    with the scale given by the displacement instead of their alpha.
    """
    images = checked_square(images)
    n, side = images.shape[:2]
    sigma = rng.uniform(0.08, 0.14, n) * side
    size = rng.uniform(0.02, 0.04, n) * side
    field = _smooth(rng.uniform(-1, 1, (n, side, side, 2)).astype(np.float32), sigma)
    field *= (size / np.sqrt(np.square(field).mean(axis=(1, 2, 3))))[:, None, None, None].astype(np.float32)
    grid = _grid(side)
    return _sampled(images, (grid + np.moveaxis(shift, 2, 0) for shift in field))


def rotate(images: Images, rng: Generator) -> Images:
    """The image turned about its centre by 10 to 40 degrees, either way; cubic interpolation, mirrored outside."""
    images = checked_square(images)
    n, side = images.shape[:2]
    angle = np.deg2rad(rng.uniform(10, 40, n)) * rng.choice([-1, 1], n)
    centre = (side - 1) / 2
    grid = _grid(side) - centre
    turns = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], axis=1).reshape(n, 2, 2)
    return _sampled(images, (np.tensordot(turn, grid, axes=1) + centre for turn in turns))


def blur(images: Images, rng: Generator) -> Images:
    """The image smoothed with a Gaussian of 1.2 to 3% of the side, at least 0.6 pixels; mirrored outside."""
    images = checked_square(images)
    n, side = images.shape[:2]
    return _as_uint8(_smooth(images.astype(np.float32), np.maximum(rng.uniform(0.012, 0.03, n) * side, 0.6)))


def contrast(images: Images, rng: Generator) -> Images:
    """Another contrast and brightness.

    Deviations from the image's mean are multiplied by 0.5 to 0.77 or, as often, by 1.3 to 2; the result is moved up or
    down by 5 to 25 grey levels.
    """
    images = checked_square(images)
    n = len(images)
    gain = np.exp(rng.uniform(np.log(1.3), np.log(2), n) * rng.choice([-1, 1], n))
    shift = rng.uniform(5, 25, n) * rng.choice([-1, 1], n)
    mean = images.mean(axis=(1, 2, 3), keepdims=True, dtype=np.float32)
    return _as_uint8((images - mean) * _each(gain) + mean + _each(shift))


def noise(images: Images, rng: Generator) -> Images:
    """Independent Gaussian noise of 5 to 20% of the images' standard deviation, at least 2 grey levels."""
    images = checked_square(images)
    sigma = np.maximum(rng.uniform(0.05, 0.2, len(images)) * images.std(), 2)
    return _as_uint8(images + _each(sigma) * rng.standard_normal(images.shape, dtype=np.float32))


def colour(images: Images, rng: Generator) -> Images:
    """Hues turned by 30 to 90 degrees, either way, about the grey axis, so that greys stay.

    Raises:
        DataError: for images of one channel.
    """
    images = checked_square(images)
    n = len(images)
    if images.shape[3] != 3:
        raise DataError(f"the kind colour needs images of 3 channels, not of {images.shape[3]}; leave it out")
    angle = np.deg2rad(rng.uniform(30, 90, n)) * rng.choice([-1, 1], n)
    # Rodrigues' formula about (1, 1, 1) / sqrt(3).
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    turn = cos * np.eye(3) + sin * cross + (1 - cos) / 3
    return _as_uint8(images @ turn[:, None].transpose(0, 1, 3, 2).astype(np.float32))


KINDS: dict[str, Kind] = {
    "cut_paste": cut_paste,
    "patch_swap": patch_swap,
    "occlusion": occlusion,
    "elastic": elastic,
    "rotate": rotate,
    "blur": blur,
    "contrast": contrast,
    "noise": noise,
    "colour": colour,
}
"""Each function takes uint8 (n, side, side, C) and a generator, and gives every image with a defect of its own
strength, in the same shape and dtype. It raises a DataError for other dtypes and shapes. The same state of the
generator gives the same pixels. On constant images only `occlusion`, `contrast` and `noise` show."""


def checked_square(images: Images) -> Images:
    """The images themselves.

    Raises:
        DataError: if they are not uint8 (n, side, side, C) with C of 1 or 3 and a side of `LEAST_SIDE` or more.
    """
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        what = images.dtype if isinstance(images, np.ndarray) else type(images).__name__
        raise DataError(f"pseudo-anomalies are made of uint8 images (0 to 255), got {what}; convert them first")
    shape = images.shape
    if images.ndim != 4 or 0 in shape or shape[1] != shape[2] or shape[3] not in CHANNELS or shape[1] < LEAST_SIDE:
        raise DataError(
            f"images must have the axes (n, side, side, 1 or 3) with a side of {LEAST_SIDE} or more, got {shape}; "
            "reshape or resize them"
        )
    return images


class _Patch(NamedTuple):
    top: int
    left: int
    content: Floats32


def _patched(images: Images, draw: Callable[[int], _Patch]) -> Images:
    """Every image with the first patch drawn that shows, or else with the one of them that shows most.

    Args:
        images: uint8 (n, side, side, C).
        draw: draws a patch for the image of that number.
    """
    result = images.copy()
    least = _NOTICEABLE * float(images.std())
    for i, image in enumerate(images):
        most = -1.0
        for _ in range(_DRAWS):
            top, left, content = draw(i)
            box = (slice(top, top + content.shape[0]), slice(left, left + content.shape[1]))
            change = float(np.sqrt(np.square(content - image[box]).mean()))
            if change > most:
                most, best = change, (box, content)
            if change >= least:
                break
        result[i][best[0]] = _as_uint8(best[1])
    return result


def _patch_size(side: int, rng: Generator) -> tuple[int, int]:
    area = rng.uniform(*_AREA)
    aspect = np.exp(rng.uniform(*np.log(_ASPECT)))
    height, width = (
        int(np.clip(round(side * np.sqrt(share)), 2, side - 1)) for share in (area * aspect, area / aspect)
    )
    return height, width


def _place(side: int, height: int, width: int, rng: Generator) -> tuple[int, int]:
    return int(rng.integers(0, side - height + 1)), int(rng.integers(0, side - width + 1))


def _ramp(length: int, fade: float) -> Floats32:
    """float32 (length,), rising from both ends to 1 over `fade` pixels."""
    inside = np.minimum(np.arange(length), np.arange(length)[::-1]) + 1
    return np.minimum(inside / fade, 1).astype(np.float32)


def _smooth(planes: Floats32, sigma: npt.NDArray[np.float64]) -> Floats32:
    """Each of (n, side, side, C) smoothed with a Gaussian of its own sigma (n,), in pixels, mirrored outside.

    It is done in the cosine basis, where smoothing by a Gaussian of any width is a product (the heat equation without
    flux at the border).
    """
    side = planes.shape[1]
    falls = np.exp(-0.5 * np.square(np.pi * np.arange(side) / side * sigma[:, None])).astype(np.float32)
    waves = fft.dctn(planes, axes=(1, 2))
    waves *= falls[:, :, None, None] * falls[:, None, :, None]
    smoothed: Floats32 = fft.idctn(waves, axes=(1, 2), overwrite_x=True)
    return smoothed


def _grid(side: int) -> npt.NDArray[np.int64]:
    """(2, side, side): the row and the column of every pixel."""
    return np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"))


def _sampled(images: Images, coordinates: Iterable[npt.NDArray[np.floating]]) -> Images:
    """Each image read at rows and columns (2, side, side) of its own, by cubic splines."""
    result = np.empty_like(images)
    for image, where, out in zip(images, coordinates, result, strict=True):
        for channel in range(image.shape[2]):
            plane = image[..., channel].astype(np.float32)
            out[..., channel] = _as_uint8(ndimage.map_coordinates(plane, where, order=3, mode="reflect"))
    return result


def _each(values: npt.NDArray[np.float64]) -> Floats32:
    """One number an image (n,), in the axes of the images."""
    return values.astype(np.float32)[:, None, None, None]


def _as_uint8(values: npt.NDArray[np.floating]) -> Images:
    rounded: Images = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return rounded
