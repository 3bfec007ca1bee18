"""A data set as one recipe sees it: cropped, resized, on the device, with its pseudo-anomalies."""

import warnings
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ensemble_ad.data.dataset import Dataset
from ensemble_ad.data.defects import pseudo_anomalies, split_reference
from ensemble_ad.data.images import Images, ImageSet, give_back
from ensemble_ad.data.preprocess import apply, cached
from ensemble_ad.families.architecture import CrossFittedArchitecture
from ensemble_ad.layout import preprocessed_folder
from ensemble_ad.training.allocator import give_back_freed_memory
from ensemble_ad.training.cross_fitted import Folds, deal
from ensemble_ad.training.recipe import Recipe

# An evaluation after every epoch looks at this many test images; the finished member is scored on all.
_TEST_IMAGES_AN_EPOCH = 2000
_MOST_KEPT = {"cpu": 1 << 26, "cuda": 1 << 30}
MOST_TILES = 1 << 15
"""The most tiles that are trained on in an epoch."""


@dataclass(frozen=True, kw_only=True)
class PseudoImages:
    """Pseudo-anomalies, made of held-out normal images once for all trials.

    Attributes:
        images: uint8 (j, side, side, C) by kind, of the data set's size: each recipe crops and resizes them.
        normal_rows: int64 (r,), the rows of the reference that no pseudo-anomaly was made of.
        damaged: int64 (j,), those that they were made of.
    """

    images: Mapping[str, Images]
    normal_rows: npt.NDArray[np.int64]
    damaged: npt.NDArray[np.int64]

    @classmethod
    def of(cls, dataset: Dataset) -> "PseudoImages":
        """The pseudo-anomalies of a data set; they depend on its images alone."""
        images, rows = dataset.train.images, dataset.split().reference
        split = split_reference(len(rows), dataset.fingerprint, image_bytes=images[0].nbytes)
        some = images[rows[split.damaged]]
        give_back(images)  # the rows lie all over the images, which the system has mapped around them
        made = pseudo_anomalies(some, seed=int(dataset.fingerprint, 16))
        return cls(images=made, normal_rows=split.normal, damaged=split.damaged)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A data set as one recipe sees it; images, or their tiles, are uint8 (N, H, W, C) on the device.

    Attributes:
        train: all training images.
        rows: int64 (n,), the rows of `train` to train on; of tiles at most `MOST_TILES`.
        reference: the held-out normal images.
        test: all test images.
        glance: int64 (g,), the rows of `test` that are scored after each epoch.
        pseudo: the pseudo-anomalies by kind.
        folds: the folds of images, or of tiles, of a transductive family.
        tiles: how many tiles an image is cut into; all rows are those of tiles, an image's side by side.
        maps: the memory maps that lie under the images on a CPU.
    """

    train: Tensor
    rows: Tensor
    reference: Tensor
    test: Tensor
    glance: Tensor
    pseudo: Mapping[str, Tensor]
    folds: Folds | None
    tiles: int = 1
    maps: tuple[Images, ...] = ()

    @property
    def nbytes(self) -> int:
        """What it takes of the device's memory; on a CPU the images lie in memory maps, which do not count."""
        mapped = () if self.train.device.type == "cpu" else (self.train, self.test)
        return sum(each.nbytes for each in (*mapped, self.reference, self.rows, self.glance, *self.pseudo.values()))

    def give_back(self) -> None:
        """Let the images that were read last go from memory: training and scoring need not hold both sets."""
        for images in self.maps:
            give_back(images)
        give_back_freed_memory()

    @classmethod
    def of(
        cls, dataset: Dataset, recipe: Recipe, studies: Path, device: torch.device, pseudo: PseudoImages | None
    ) -> "Prepared":
        split = dataset.split(recipe.subset)
        train, test = (_prepared(images, recipe, studies) for images in (dataset.train, dataset.test))
        train_images = _to_device(train, device)
        architecture, seen = recipe.architecture, recipe.preprocess
        damaged = {} if pseudo is None else pseudo.images
        glance = _glance(len(dataset.test), dataset.fingerprint)
        folds = None
        if isinstance(architecture, CrossFittedArchitecture):
            dealt = deal(len(split.reference), len(dataset.test), architecture.folds, recipe.training.seed, device)
            folds = Folds(*(of_images.repeat_interleave(seen.tiles) for of_images in dealt))
        prepared = cls(
            train=train_images,
            rows=torch.from_numpy(_some(seen.rows_of(split.train), seen.tiles)).to(device),
            reference=train_images[torch.from_numpy(seen.rows_of(split.reference)).to(device)],
            test=_to_device(test, device),
            glance=torch.from_numpy(glance).to(device),
            pseudo={kind: torch.from_numpy(apply(x, seen)).to(device) for kind, x in damaged.items()},
            folds=folds,
            tiles=seen.tiles,
            maps=(train, test),
        )
        prepared.give_back()
        return prepared


class KeptPrepared:
    """The data set as trials have seen it, kept for those that see it alike: it is not prepared, nor uploaded, anew.

    A study's trials soon keep to few crops and sizes, and a run goes from family to family by turns. What was used last
    is kept, up to a bound of bytes beside what is in use.
    """

    def __init__(self) -> None:
        # With what it was made of, so that no other object takes the id of one.
        self._kept: OrderedDict[tuple[object, ...], tuple[Prepared, Dataset, PseudoImages | None]] = OrderedDict()

    def of(
        self, dataset: Dataset, recipe: Recipe, studies: Path, device: torch.device, pseudo: PseudoImages | None
    ) -> Prepared:
        """As `Prepared.of`; what goes beyond the bound goes first, so that it is never in memory beside it."""
        architecture = recipe.architecture
        folds = (
            (architecture.folds, recipe.training.seed) if isinstance(architecture, CrossFittedArchitecture) else None
        )
        seen = (id(dataset), id(pseudo), recipe.preprocess, recipe.subset, folds, studies, device)
        found = self._kept.pop(seen, None)
        if found is None:
            while sum(each.nbytes for each, *_ in self._kept.values()) > _MOST_KEPT[device.type]:
                self._kept.popitem(last=False)
            found = Prepared.of(dataset, recipe, studies, device, pseudo), dataset, pseudo
        self._kept[seen] = found
        return found[0]


def _some(rows: npt.NDArray[np.int64], tiles: int) -> npt.NDArray[np.int64]:
    """The rows to train on: of tiles, of which images have many, at most `MOST_TILES`, drawn at random."""
    if tiles == 1 or len(rows) <= MOST_TILES:
        return rows
    return np.sort(np.random.default_rng(len(rows)).choice(rows, MOST_TILES, replace=False))


def _prepared(image_set: ImageSet, recipe: Recipe, studies: Path) -> Images:
    if not len(image_set):
        return np.empty(recipe.preprocess.shape_of(0), dtype=np.uint8)
    return cached(image_set, recipe.preprocess, preprocessed_folder(studies))


def _to_device(images: Images, device: torch.device) -> Tensor:
    with warnings.catch_warnings():
        # The memory map is read-only, and nothing here writes to it.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.asarray(images)).to(device)


def _glance(n_test: int, fingerprint: str) -> npt.NDArray[np.int64]:
    if n_test <= _TEST_IMAGES_AN_EPOCH:
        return np.arange(n_test)
    drawn = np.random.default_rng(int(fingerprint, 16) + 1).choice(n_test, _TEST_IMAGES_AN_EPOCH, replace=False)
    return np.sort(drawn)
