"""Kinds of defect that a normal image can be given: a function each, all of them listed in `KINDS`."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from ensemble_ad.data.images import Images
from ensemble_ad.data.square import as_uint8, checked_square
from ensemble_ad.data.warps import affine, elastic, roll, rotate, shift, stretch, upside_down
from ensemble_ad.errors import DataError
from ensemble_ad.statistics.arrays import Floats32

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


def halves(images: Images, rng: Generator) -> Images:
    """The other side of a straight cut, upright or level, is another image's; the cut lies at 35 to 65% of the side.

    Raises:
        DataError: for one image.
    """
    side = checked_square(images).shape[1]
    if len(images) < 2:
        raise DataError(f"halves needs at least 2 images, and there is {len(images)}; add more")
    result = images.copy()
    for i, out in enumerate(result):
        cut, other = round(side * rng.uniform(0.35, 0.65)), images[(i + rng.integers(1, len(images))) % len(images)]
        part = (slice(cut, None), slice(None)) if rng.random() < 0.5 else (slice(None), slice(cut, None))
        out[part] = other[part]
    return result


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
    return as_uint8(images @ turn[:, None].transpose(0, 1, 3, 2).astype(np.float32))


KINDS: dict[str, Kind] = {
    "cut_paste": cut_paste,
    "patch_swap": patch_swap,
    "occlusion": occlusion,
    "halves": halves,
    "elastic": elastic,
    "rotate": rotate,
    "shift": shift,
    "roll": roll,
    "affine": affine,
    "stretch": stretch,
    "upside_down": upside_down,
    "colour": colour,
}
"""Each function takes uint8 (n, side, side, C) and a generator, and gives every image with a defect of its own
strength, in the same shape and dtype. It raises a DataError for other dtypes and shapes. The same state of the
generator gives the same pixels. On constant images only `occlusion` shows."""
OF_PLACE = frozenset({"elastic", "rotate", "shift", "roll", "affine", "stretch", "upside_down"})
"""The kinds that change where things are: they say something only where normal images have things in their places."""


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
        result[i][best[0]] = as_uint8(best[1])
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


def _each(values: npt.NDArray[np.float64]) -> Floats32:
    """One number an image (n,), in the axes of the images."""
    return values.astype(np.float32)[:, None, None, None]
