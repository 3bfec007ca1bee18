"""Maps on disk: each picture with its map laid over it, as PNG, and the map's numbers."""

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from ensemble_ad.data.colours import coloured
from ensemble_ad.data.fit import Fit, Shape, unfitted
from ensemble_ad.data.images import Images
from ensemble_ad.files.whole import whole_file
from ensemble_ad.statistics.arrays import Floats32

FAINTEST, OUTLINED, BRIGHTEST = 5.0, 7.0, 14.0
"""Where a picture begins to be coloured, where a line is drawn, and from where on it is palest yellow.

One in a hundred pixels of normal images is above the first, a few in a thousand are above the second
(benchmarks/maps.md).
"""
LOUDEST = 4.0
"""A map of a larger mean is drawn as if it had this one, else all of a very surprising image would be coloured."""
_PALEST, _DENSEST = 0.3, 0.75
_FIRST_COLOUR = 0.4  # of the ramp, whose darkest colours are lost on a dark picture
_LINE = np.array([0, 255, 255], dtype=np.uint8)
_GREY = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


def overlay(picture: Images, errors: Floats32) -> Images:
    """A grey picture, coloured where its map says so, with a line around what hardly any normal pixel reaches.

    Args:
        picture: uint8 (h, w) or (h, w, 1 or 3).
        errors: float32 (h, w), as `BlendScorer.explain` gives them.

    Returns:
        uint8 (h, w, 3).
    """
    from scipy.ndimage import binary_dilation

    errors = errors * min(1.0, LOUDEST / max(float(errors.mean()), LOUDEST))
    share = np.clip((errors - FAINTEST) / (BRIGHTEST - FAINTEST), 0, 1)
    dense = np.where(errors > FAINTEST, _PALEST + (_DENSEST - _PALEST) * share, 0)[..., None]
    deep = picture.reshape(*picture.shape[:2], -1)
    grey = (deep @ _GREY if deep.shape[2] == 3 else deep[..., 0])[..., None]
    colours = coloured(_FIRST_COLOUR + (1 - _FIRST_COLOUR) * share)
    laid_over: Images = np.rint(grey * (1 - dense) + colours * dense).astype(np.uint8)
    inside = errors >= OUTLINED
    laid_over[binary_dilation(inside) & ~inside] = _LINE
    return laid_over


@dataclass(kw_only=True)
class MapFolder:
    """A folder that gets maps, each named after its picture: NAME.map.png, and NAME.map.npy.

    Attributes:
        folder: the folder; it is made when the first map comes.
        fit: how pictures became the images; None where those are the pictures.
        raw: whether to write float32 (h, w) arrays too.
        count: how many pictures' maps it got.
    """

    folder: Path
    fit: Fit | None = None
    raw: bool = False
    count: int = 0
    _names: set[str] = field(default_factory=set)

    def write(self, name: str, image: Images, errors: Floats32, shape: Shape) -> Path:
        """Write a picture's map, of its own height and width, whole or not at all; one that is there is replaced.

        Args:
            name: the picture's id; its folders become folders.
            image: uint8 (side, side) or (side, side, 1 or 3).
            errors: float32 (side, side).
            shape: the picture's (height, width).

        Returns:
            The PNG's path.

        Raises:
            StorageError: if it cannot be written.
        """
        from PIL import Image

        picture = image.reshape(*image.shape[:2], -1)
        if self.fit is not None:
            channels = [unfitted(channel.astype(np.float32), shape, self.fit) for channel in np.moveaxis(picture, 2, 0)]
            picture = np.rint(np.stack(channels, axis=2)).astype(np.uint8)
            errors = unfitted(errors, shape, self.fit)
        place = self.folder / self._free(name)
        place.parent.mkdir(parents=True, exist_ok=True)
        png, numbers = (place.with_name(f"{place.name}.map.{ending}") for ending in ("png", "npy"))
        with whole_file(png, named_by_user=True) as part:
            Image.fromarray(overlay(picture, errors)).save(part, format="PNG")
        if self.raw:
            with whole_file(numbers, named_by_user=True) as part, part.open("wb") as file:
                np.save(file, errors)
        self.count += 1
        return png

    def _free(self, name: str) -> str:
        """Where in the folder a picture's map goes: never out of it, and never where another one's has gone."""
        inside = "/".join(part for part in PurePosixPath(name).parts if part.strip("/\\") not in ("", ".", ".."))
        free, number = inside or "picture", 2
        while free in self._names:
            free, number = f"{inside}-{number}", number + 1
        self._names.add(free)
        return free
