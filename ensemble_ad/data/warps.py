"""Changes of place that a normal image can be given as a defect: what is in it, elsewhere."""

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
from numpy.random import Generator
from scipy import fft, ndimage

from ensemble_ad.data.images import Images
from ensemble_ad.data.square import as_uint8, checked_square
from ensemble_ad.statistics.arrays import Floats32


def elastic(images: Images, rng: Generator) -> Images:
    """A smooth random warp: uniform noise, smoothed and scaled to move pixels by 4 to 8% of the side.

    The 4 to 8% are the root mean square along an axis. The smoothing Gaussian has a standard deviation of 10 to 20% of
    the side, so that the warp hardly folds. Interpolation is cubic; outside, the image is mirrored. Source: Simard,
    Steinkraus and Platt 2003, "Best practices for convolutional neural networks applied to visual document analysis",
    with the scale given by the displacement instead of their alpha.
    """
    images = checked_square(images)
    n, side = images.shape[:2]
    sigma = rng.uniform(0.1, 0.2, n) * side
    size = rng.uniform(0.04, 0.08, n) * side
    field = smoothed(rng.uniform(-1, 1, (n, side, side, 2)).astype(np.float32), sigma)
    field *= (size / np.sqrt(np.square(field).mean(axis=(1, 2, 3))))[:, None, None, None].astype(np.float32)
    grid = _grid(side)
    return _sampled(images, (grid + np.moveaxis(shift, 2, 0) for shift in field))


def rotate(images: Images, rng: Generator) -> Images:
    """The image turned about its centre by 10 to 40 degrees, either way; cubic interpolation, mirrored outside."""
    n = len(checked_square(images))
    return _mapped(images, _turns(np.deg2rad(rng.uniform(10, 40, n)) * rng.choice([-1, 1], n)))


def shift(images: Images, rng: Generator) -> Images:
    """The image moved by 3 to 15% of the side in any direction; cubic interpolation, mirrored outside."""
    n, side = checked_square(images).shape[:2]
    return _mapped(images, np.tile(np.eye(2), (n, 1, 1)), _moves(rng, n, (0.03 * side, 0.15 * side)))


def roll(images: Images, rng: Generator) -> Images:
    """The image moved by 8 to 20% of the side, up or across: what leaves it on one side comes in on the other."""
    side = checked_square(images).shape[1]
    result = np.empty_like(images)
    for image, out in zip(images, result, strict=True):
        distance = max(1, round(side * rng.uniform(0.08, 0.2))) * int(rng.choice([-1, 1]))
        out[:] = np.roll(image, distance, axis=int(rng.integers(2)))
    return result


def affine(images: Images, rng: Generator) -> Images:
    """A little out of place: turned by 3 to 12 degrees, scaled by 0.86 to 1.16, moved by 2 to 6% of the side.

    Cubic interpolation, mirrored outside.
    """
    n, side = checked_square(images).shape[:2]
    turns = _turns(np.deg2rad(rng.uniform(3, 12, n)) * rng.choice([-1, 1], n))
    scale = np.exp(rng.uniform(-0.15, 0.15, n))
    return _mapped(images, turns * scale[:, None, None], _moves(rng, n, (0.02 * side, 0.06 * side)))


def stretch(images: Images, rng: Generator) -> Images:
    """The image drawn towards one of its edges: the distance d from an edge, 0 to 1, becomes d to the power 1.2 to 1.5.

    Cubic interpolation.
    """
    n, side = checked_square(images).shape[:2]
    grid = _grid(side).astype(np.float64)

    def places() -> Iterator[npt.NDArray[np.float64]]:
        for _ in range(n):
            power, axis = rng.uniform(1.2, 1.5) ** rng.choice([-1, 1]), rng.integers(2)
            where = grid.copy()
            where[axis] = (grid[axis] / (side - 1)) ** power * (side - 1)
            yield where

    return _sampled(images, places())


def upside_down(images: Images, rng: Generator) -> Images:
    """The image with its rows in the opposite order; nothing is drawn."""
    return checked_square(images)[:, ::-1].copy()


def smoothed(planes: Floats32, sigma: npt.NDArray[np.float64]) -> Floats32:
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


def _turns(angle: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The (n, 2, 2) matrices that turn by angles (n,)."""
    return np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], axis=1).reshape(-1, 2, 2)


def _moves(rng: Generator, n: int, length: tuple[float, float]) -> npt.NDArray[np.float64]:
    """(n, 2): moves in any direction, of a length from one number to the other."""
    angle, far = rng.uniform(0, 2 * np.pi, n), rng.uniform(*length, n)
    return np.stack([far * np.sin(angle), far * np.cos(angle)], axis=1)


def _mapped(images: Images, turns: npt.NDArray[np.float64], moves: npt.NDArray[np.float64] | None = None) -> Images:
    """Each image read about its centre by a matrix (n, 2, 2) of its own, and at a distance (n, 2) in pixels."""
    side = images.shape[1]
    centre = (side - 1) / 2
    grid = _grid(side) - centre
    moved = np.zeros((len(images), 2)) if moves is None else moves
    places = (
        np.tensordot(turn, grid, axes=1) + (centre + move)[:, None, None]
        for turn, move in zip(turns, moved, strict=True)
    )
    return _sampled(images, places)


def _grid(side: int) -> npt.NDArray[np.int64]:
    """(2, side, side): the row and the column of every pixel."""
    return np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"))


def _sampled(images: Images, coordinates: Iterable[npt.NDArray[np.floating]]) -> Images:
    """Each image read at rows and columns (2, side, side) of its own, by cubic splines."""
    result = np.empty_like(images)
    for image, where, out in zip(images, coordinates, result, strict=True):
        for channel in range(image.shape[2]):
            plane = image[..., channel].astype(np.float32)
            out[..., channel] = as_uint8(ndimage.map_coordinates(plane, where, order=3, mode="reflect"))
    return result
