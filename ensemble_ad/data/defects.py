"""Defects made of held-out normal images, to judge a model where there is no test batch: the objective `synthetic`.

A model's value is the mean, over kinds of defect, of the AUC between held-out normal images and pseudo-anomalies made
of *other* held-out normal images. It assumes that a model which tells these defects from normal images tells real
anomalies too. No label and no test image is read.

Cost: the defects are made once a data set (256 images of 64x64x3: under two seconds on one core, 28 MB; the bound of 75
images of 256x256x3: some seven seconds, 133 MB); scoring them is up to nine kinds x 256 images more an evaluation.

It fails as follows.

- It rewards models that see these kinds of defect, and real anomalies may be otherwise: on another object in the same
  scene, or another person's face, it says little.
- Blur, and lower contrast, make an image easier to reconstruct, so that a reconstruction error ranks them *below*
  normal images. Where no trial does better than chance, `synthetic.kept_kinds` drops the kind; where some do, it
  favours these.
- Defects lie anywhere in the raw image. A trial that crops more sees fewer of them, and is judged the worse for it even
  if real anomalies lie in the middle.
- It is circular for a model that was trained on such defects (a CutPaste family): a good value there says that training
  worked, and is not comparable with that of a model which never saw them.
- Resampling and edges of patches leave traces that a model may find instead of the defect: small pictures that were
  enlarged by repeating pixels are told from their warps and turns at once. Kinds that all trials solve are dropped.
- It tells models apart no better than its standard error, about 0.02 a kind with 256 defects.
"""

import zlib
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.random import Generator
from scipy import fft, ndimage

from ensemble_ad.errors import DataError

Images = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
Kind = Callable[[Images, Generator], Images]

MOST = 256
MOST_BYTES = 2**27
LEAST_SIDE = 8

# Share of the image's area and height / width of a patch: Li et al. 2021.
_AREA = (0.02, 0.15)
_ASPECT = (0.3, 3.3)
# A patch is drawn again until it changes what it covers by this share of the images' standard deviation.
_NOTICEABLE = 0.3
_DRAWS = 8
_ORIENTED_SHARE = 0.5
_ORIENTATION_IMAGES = 512
# The seeds next to it draw the reference (`split.py`) and the test images of an epoch (`fit.py`).
_SEED_OFFSET = 2


class ReferenceSplit(NamedTuple):
    """Rows of the reference (the held-out normal images), sorted and disjoint.

    Attributes:
        normal: int64 (n,), scored as they are.
        turned: int64 (k,), made into pseudo-anomalies and scored as these only.
    """

    normal: Rows
    turned: Rows


def split_reference(n_reference: int, fingerprint: str, *, image_bytes: int, most: int = MOST) -> ReferenceSplit:
    """Draw which held-out images become pseudo-anomalies; it depends on the data alone, so trials share the rows.

    Half of them, but at most `most`, and at most as many as fit into `MOST_BYTES` for all kinds together; the rest stay
    normal.

    Args:
        n_reference: held-out normal images in all.
        fingerprint: of the data set, hexadecimal; seeds the draw.
        image_bytes: height * width * channels of a raw image.
        most: images to turn at most.

    Raises:
        DataError: for fewer than 4 images, or bounds that leave fewer than 2 to turn.
    """
    if n_reference < 4:
        raise DataError(
            f"pseudo-anomalies need at least 4 held-out normal images, and there are {n_reference}; add more"
        )
    n_turned = min(n_reference // 2, most, MOST_BYTES // (image_bytes * len(KINDS)))
    if n_turned < 2:
        raise DataError(
            f"at least 2 images have to be made into pseudo-anomalies, got {n_turned} (at most {most}, "
            f"{image_bytes} bytes each); allow more or shrink the images"
        )
    order = np.random.default_rng(int(fingerprint, 16) + _SEED_OFFSET).permutation(n_reference)
    return ReferenceSplit(normal=np.sort(order[n_turned:]), turned=np.sort(order[:n_turned]))


def pseudo_anomalies(images: Images, *, seed: int) -> dict[str, Images]:
    """Every kind of defect that applies, made of every image.

    `rotate` is left out where the images are not `oriented`, `colour` where they hold no colours. Three equal channels
    stay equal.

    Args:
        images: uint8 (n, side, side, C), normal; n of 2 or more, C of 1 or 3; not written to.
        seed: not negative. Each kind has its own stream of it, so that a new kind changes no other.

    Returns:
        uint8 (n, side, side, C) a kind, in the order of `KINDS`.

    Raises:
        DataError: for one image, another dtype or shape.
    """
    images = _checked(images)
    if len(images) < 2:
        raise DataError(f"pseudo-anomalies need at least 2 images, and there is {len(images)}; add more")
    channels = images.shape[3]
    coloured = channels == 3 and not bool((images == images[..., :1]).all())
    used = images if coloured else images[..., :1]
    left_out = {name for name, applies in (("rotate", oriented(used)), ("colour", coloured)) if not applies}
    result = {}
    for name, kind in KINDS.items():
        if name not in left_out:
            made = kind(used, np.random.default_rng([seed, zlib.crc32(name.encode())]))
            result[name] = made if coloured else np.repeat(made, channels, axis=3)
    return result


def oriented(images: Images) -> bool:
    """Whether orientation means something: do most images fit the others better as they are than turned?

    Each image, and its turns by 90, 180 and 270 degrees, is correlated with the mean of the *other* images. Where
    orientation means nothing, each of the four is the best fit for a quarter of the images; the answer is yes where the
    image as it is wins for more than half of them. Faces and digits do, textures do not.

    It fails for textures lit from one side (they pass for oriented), and for objects in a fixed pose that look
    alike when turned (a cross, a bottle from above: rightly not oriented).

    Args:
        images: uint8 (n, side, side, C); 512 of them, evenly spaced, are looked at.

    Raises:
        DataError: for another dtype or shape. One image, or constant ones, are not oriented.
    """
    images = _checked(images)
    rows = np.linspace(0, len(images) - 1, min(len(images), _ORIENTATION_IMAGES)).round().astype(int)
    grey = images[rows].mean(axis=3, dtype=np.float32)
    if len(grey) < 2:
        return False
    others = grey.sum(axis=0) - grey
    others -= others.mean(axis=(1, 2), keepdims=True)
    # A turn changes neither the mean nor the norm of an image, so that products rank as correlations.
    grey -= grey.mean(axis=(1, 2), keepdims=True)
    fit = np.stack([(np.rot90(grey, turn, axes=(1, 2)) * others).sum(axis=(1, 2)) for turn in range(4)])
    return bool(np.mean(fit[0] > fit[1:].max(axis=0)) > _ORIENTED_SHARE)


def cut_paste(images: Images, rng: Generator) -> Images:
    """A patch of the image pasted elsewhere into it, with hard edges: 2 to 15% of the area, aspect 0.3 to 3.3.

    Li, Sohn, Yoon and Pfister 2021, "CutPaste" (arXiv:2104.04015), without its jitter of colours. A patch that would
    hardly show (blank on blank) is drawn again, at most seven times.
    """
    side = _checked(images).shape[1]

    def patch(i: int) -> "_Patch":
        height, width = _patch_size(side, rng)
        (top, left), (from_top, from_left) = (_place(side, height, width, rng) for _ in range(2))
        content = images[i, from_top : from_top + height, from_left : from_left + width]
        return _Patch(top, left, content.astype(np.float32))

    return _patched(images, patch)


def patch_swap(images: Images, rng: Generator) -> Images:
    """A patch of another image of the set at the same place, of the size that `cut_paste` draws.

    Every second one, by chance, has a hard edge; the others fade in over 10 to 40% of the shorter edge.

    Raises:
        DataError: for one image.
    """
    side = _checked(images).shape[1]
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
    """A rectangle of one tone, 2 to 15% of the area; each channel between the 5% and 95% quantiles of all images."""
    side = _checked(images).shape[1]
    low, high = np.quantile(images[:, ::2, ::2], [0.05, 0.95], axis=(0, 1, 2))

    def patch(i: int) -> "_Patch":
        height, width = _patch_size(side, rng)
        top, left = _place(side, height, width, rng)
        tone = rng.uniform(low, high).astype(np.float32)
        return _Patch(top, left, np.broadcast_to(tone, (height, width, len(tone))))

    return _patched(images, patch)


def elastic(images: Images, rng: Generator) -> Images:
    """A smooth random warp: uniform noise, smoothed and scaled to move pixels by 2 to 4% of the side.

    That is the root mean square along an axis. The Gaussian that smooths has a standard deviation of 8 to 14% of the
    side, so that the warp hardly folds.

    Simard, Steinkraus and Platt 2003, "Best practices for convolutional neural networks applied to visual document
    analysis", with the scale given by the displacement instead of their alpha. Cubic interpolation, mirrored outside.
    """
    images = _checked(images)
    n, side = images.shape[:2]
    sigma = rng.uniform(0.08, 0.14, n) * side
    size = rng.uniform(0.02, 0.04, n) * side
    field = _smooth(rng.uniform(-1, 1, (n, side, side, 2)).astype(np.float32), sigma)
    field *= (size / np.sqrt(np.square(field).mean(axis=(1, 2, 3))))[:, None, None, None].astype(np.float32)
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"))
    return _sampled(images, (grid + np.moveaxis(shift, 2, 0) for shift in field))


def rotate(images: Images, rng: Generator) -> Images:
    """Turned about the centre by 10 to 40 degrees, either way; cubic interpolation, mirrored outside."""
    images = _checked(images)
    n, side = images.shape[:2]
    angle = np.deg2rad(rng.uniform(10, 40, n)) * rng.choice([-1, 1], n)
    centre = (side - 1) / 2
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij")) - centre
    turns = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], axis=1).reshape(n, 2, 2)
    return _sampled(images, (np.tensordot(turn, grid, axes=1) + centre for turn in turns))


def blur(images: Images, rng: Generator) -> Images:
    """Smoothed with a Gaussian of 1.2 to 3% of the side, at least 0.6 pixels; mirrored outside."""
    images = _checked(images)
    n, side = images.shape[:2]
    return _as_uint8(_smooth(images.astype(np.float32), np.maximum(rng.uniform(0.012, 0.03, n) * side, 0.6)))


def contrast(images: Images, rng: Generator) -> Images:
    """Deviations from the image's mean times 0.5 to 0.77 or, as often, 1.3 to 2, and 5 to 25 grey levels up or down."""
    images = _checked(images)
    n = len(images)
    gain = np.exp(rng.uniform(np.log(1.3), np.log(2), n) * rng.choice([-1, 1], n))
    shift = rng.uniform(5, 25, n) * rng.choice([-1, 1], n)
    mean = images.mean(axis=(1, 2, 3), keepdims=True, dtype=np.float32)
    return _as_uint8((images - mean) * _each(gain) + mean + _each(shift))


def noise(images: Images, rng: Generator) -> Images:
    """Gaussian noise, independent a number, of 5 to 20% of the images' standard deviation, at least 2 grey levels."""
    images = _checked(images)
    sigma = np.maximum(rng.uniform(0.05, 0.2, len(images)) * images.std(), 2)
    return _as_uint8(images + _each(sigma) * rng.standard_normal(images.shape, dtype=np.float32))


def colour(images: Images, rng: Generator) -> Images:
    """Hues turned by 30 to 90 degrees, either way, about the grey axis: greys stay.

    Raises:
        DataError: for images of one channel.
    """
    images = _checked(images)
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
"""Name to function: uint8 (n, side, side, C) and a generator in, a defect of every image out, same shape and dtype. The
strength is drawn an image; the same generator state gives the same pixels. They raise DataError for other dtypes and
shapes. On constant images only `occlusion`, `contrast` and `noise` show."""


class _Patch(NamedTuple):
    top: int
    left: int
    content: Floats


def _patched(images: Images, draw: Callable[[int], _Patch]) -> Images:
    """Every image with the first drawn patch that shows, or else the one of the drawn that shows most."""
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


def _ramp(length: int, fade: float) -> Floats:
    """float32 (length,): from the edges up to 1 over `fade` pixels."""
    inside = np.minimum(np.arange(length), np.arange(length)[::-1]) + 1
    return np.minimum(inside / fade, 1).astype(np.float32)


def _smooth(planes: Floats, sigma: npt.NDArray[np.float64]) -> Floats:
    """Each of (n, side, side, C) smoothed with a Gaussian of its own sigma (n,), in pixels, mirrored outside.

    In the cosine basis, where a Gaussian of any width is a product (the heat equation without flux at the border).
    """
    side = planes.shape[1]
    falls = np.exp(-0.5 * np.square(np.pi * np.arange(side) / side * sigma[:, None])).astype(np.float32)
    waves = fft.dctn(planes, axes=(1, 2))
    waves *= falls[:, :, None, None] * falls[:, None, :, None]
    smoothed: Floats = fft.idctn(waves, axes=(1, 2), overwrite_x=True)
    return smoothed


def _sampled(images: Images, coordinates: Iterable[npt.NDArray[np.floating]]) -> Images:
    """Each image read at its own (2, side, side) rows and columns, by cubic splines."""
    result = np.empty_like(images)
    for image, where, out in zip(images, coordinates, result, strict=True):
        for channel in range(image.shape[2]):
            plane = image[..., channel].astype(np.float32)
            out[..., channel] = _as_uint8(ndimage.map_coordinates(plane, where, order=3, mode="reflect"))
    return result


def _each(values: npt.NDArray[np.float64]) -> Floats:
    return values.astype(np.float32)[:, None, None, None]


def _as_uint8(values: npt.NDArray[np.floating]) -> Images:
    rounded: Images = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return rounded


def _checked(images: Images) -> Images:
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        what = images.dtype if isinstance(images, np.ndarray) else type(images).__name__
        raise DataError(f"pseudo-anomalies are made of uint8 images (0 to 255), got {what}; convert them first")
    shape = images.shape
    if images.ndim != 4 or 0 in shape or shape[1] != shape[2] or shape[3] not in (1, 3) or shape[1] < LEAST_SIDE:
        raise DataError(
            f"images must have the axes (n, side, side, 1 or 3) with a side of {LEAST_SIDE} or more, got {shape}; "
            "reshape or resize them"
        )
    return images
