"""The recipe of a published system on one's own images."""

import math
from dataclasses import replace

from ensemble_ad.data.dataset import Dataset
from ensemble_ad.data.preprocess import Preprocess
from ensemble_ad.families import preset
from ensemble_ad.training.device import Precision
from ensemble_ad.training.recipe import Recipe
from ensemble_ad.training.settings import TrainSettings


def published_recipe(
    name: str,
    dataset: Dataset,
    *,
    seed: int,
    precision: Precision,
    epochs: int | None = None,
    batch_size: int | None = None,
    size: int | None = None,
    tile: int | None = None,
    subset: int | None = None,
    mirror: bool = False,
    flips: bool = False,
) -> Recipe:
    """The recipe of a preset: what was published, but for what is given here.

    Its epoch is chosen by separation, which reads no labels, or without test images by pseudo-anomalies.

    Args:
        name: the preset's.
        dataset: the images.
        seed: of the training.
        precision: what to train in.
        epochs: None for the published number.
        batch_size: None for the published one.
        size: side that the crop is resized to; None for the published one, or the images' own.
        tile: side of the tiles that the resized crop is cut into; None leaves it whole.
        subset: training images used; None is all.
        mirror: whether images are mirrored at random while training, which none of the published systems does.
        flips: whether the mean of the scores of an image and its mirror image is the score.

    Raises:
        UsageError: if there is no such preset, or for a number that is out of range.
    """
    family, published = preset(name)
    training = TrainSettings(seed=seed, precision=precision, **published.training)
    training = replace(
        training,
        epochs=training.epochs if epochs is None else epochs,
        batch_size=training.batch_size if batch_size is None else batch_size,
        mirror=mirror,
    )
    seen = Preprocess(
        crop=published.crop,
        size=(published.size or (dataset.side, dataset.side)) if size is None else (size, size),
        channels=dataset.channels,
        via=published.via,
        tile=tile,
    )
    if len(family.ranges_of(published.architecture).batch_size) > 1:  # what is solved in closed form has no batches
        training = _fitted(training, len(dataset.split(subset).train) * seen.tiles)
    return Recipe(
        data=dataset.fingerprint,
        family=family.name,
        architecture=published.architecture,
        preprocess=seen,
        training=training,
        objective="separation" if len(dataset.test) else "synthetic",
        labels=None,
        subset=subset,
        patience=None,
        flips=flips,
    )


def _fitted(training: TrainSettings, images: int) -> TrainSettings:
    """The settings for so few images: a batch is no larger than all of them, and the rate is that of the smaller batch.

    As in a study, by the square root (Malladi et al. 2022, arXiv:2205.10287).
    """
    size = min(training.batch_size, max(1, images))
    return replace(
        training, batch_size=size, learning_rate=training.learning_rate * math.sqrt(size / training.batch_size)
    )
