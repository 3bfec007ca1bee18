"""What training images look like in a few numbers, and which new images are unlike all of them.

The score of such an image means little: a model that was never shown anything dark may reconstruct a black frame
without an error.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from ensemble_ad.files.json_file import fits

if TYPE_CHECKING:
    from ensemble_ad.data.images import Images
    from ensemble_ad.statistics.arrays import Bools, Floats64

_LOOKED_AT = 2048
_BLOCK = 256
_LEAST_MARGIN = 16.0  # grey levels, where all training images are equally bright
_MARGIN = 0.5  # of the range of the training images' brightness
_FACTOR = 2.0  # of their lowest and highest contrast

MEANINGS: Mapping[str, str] = {
    "constant": "one value everywhere",
    "grey": "no colours, and all training images have colours",
    "coloured": "colours, and all training images are grey",
    "darker": "far darker than any training image",
    "brighter": "far brighter than any training image",
    "flatter": "far less contrast than any training image",
    "sharper": "far more contrast than any training image",
}
"""Kinds of images that are unlike all training images; an image is of the first kind that it fits."""


class _Looks(NamedTuple):
    """The mean and the standard deviation of each image's pixels, and whether its channels are equal."""

    brightness: "Floats64"
    contrast: "Floats64"
    grey: "Bools"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What training images look like.

    Attributes:
        darkest, brightest: the lowest and the highest mean of an image's pixels, in grey levels.
        flattest, sharpest: the lowest and the highest standard deviation of an image's pixels.
        grey: whether some have equal channels.
        coloured: whether some have not.
    """

    darkest: float
    brightest: float
    flattest: float
    sharpest: float
    grey: bool
    coloured: bool

    @classmethod
    def of(cls, images: "Images") -> Self:
        """What uint8 (n, H, W, C) look like; 2,048 of them at most are looked at, evenly spread."""
        import numpy as np

        from ensemble_ad.data.images import give_back

        rows = np.unique(np.linspace(0, len(images) - 1, _LOOKED_AT).astype(int))
        parts = []
        for start in range(0, len(rows), _BLOCK):
            parts.append(_looks(images[rows[start : start + _BLOCK]]))
            give_back(images)  # the system maps what lies around each image too
        brightness, contrast, grey = (np.concatenate(part) for part in zip(*parts, strict=True))
        return cls(
            darkest=float(brightness.min()),
            brightest=float(brightness.max()),
            flattest=float(contrast.min()),
            sharpest=float(contrast.max()),
            grey=bool(grey.any()),
            coloured=not grey.all(),
        )

    @classmethod
    def unknown(cls, *, coloured: bool) -> Self:
        """What stands for images of which an earlier version noted only whether they have colours."""
        return cls(darkest=0.0, brightest=255.0, flattest=1e-9, sharpest=255.0, grey=not coloured, coloured=coloured)

    def unlike(self, images: "Images") -> list[str | None]:
        """For each of uint8 (n, H, W, C) the kind of `MEANINGS` that it is unlike all training images by, else None."""
        brightness, contrast, grey = _looks(images)
        margin = max(_LEAST_MARGIN, _MARGIN * (self.brightest - self.darkest))
        found = {
            "constant": (contrast == 0) & (self.flattest > 0),
            "grey": grey & (not self.grey),
            "coloured": ~grey & (not self.coloured),
            "darker": brightness < self.darkest - margin,
            "brighter": brightness > self.brightest + margin,
            "flatter": contrast < self.flattest / _FACTOR,
            "sharper": contrast > self.sharpest * _FACTOR,
        }
        return [next((kind for kind, which in found.items() if which[row]), None) for row in range(len(images))]

    def to_json(self) -> dict[str, Any]:
        """The inverse of `from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """What `to_json` gave, of a file that may be a stranger's.

        Raises:
            TypeError: if it is otherwise.
        """
        kinds = {name: bool if name in ("grey", "coloured") else (int, float) for name in cls.__dataclass_fields__}
        if not fits(value, kinds):
            raise TypeError("what training images look like is not said as it has to be")
        return cls(**{name: value[name] for name in kinds})


class Strange:
    """How many images are unlike all training images, by kind, and the id of the first of each; for any number."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.first: dict[str, str] = {}
        self.total = 0

    @property
    def count(self) -> int:
        """Number of images that are unlike all training images."""
        return sum(self.counts.values())

    def add(self, ids: Iterable[str], kinds: Sequence[str | None]) -> None:
        """Count images, given what `Seen.unlike` gave of them."""
        self.total += len(kinds)
        for name, kind in zip(ids, kinds, strict=True):
            if kind is not None:
                self.counts[kind] = self.counts.get(kind, 0) + 1
                self.first.setdefault(kind, name)

    def in_words(self) -> str:
        """One line about them."""
        kinds = ", ".join(
            f"{self.counts[kind]} {kind} ({meaning}; the first is {self.first[kind]!r})"
            for kind, meaning in MEANINGS.items()
            if kind in self.counts
        )
        return f"unlike all training images, so that a score means little: {kinds}; of {self.total} images"


def _looks(images: "Images") -> _Looks:
    flat = images.reshape(len(images), -1)
    grey = (images == images[..., :1]).reshape(len(images), -1).all(axis=1)
    return _Looks(flat.mean(axis=1), flat.std(axis=1), grey)
