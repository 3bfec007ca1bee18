"""How much a data set's test batch is believed, by two detectors in closed form, before the first trial."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ensemble_ad.data.dataset import Dataset
from ensemble_ad.members.auto_objective import belief_of
from ensemble_ad.members.objectives import Evidence
from ensemble_ad.statistics.belief import Belief
from ensemble_ad.training.error_vectors import error_vectors
from ensemble_ad.training.load import untrained
from ensemble_ad.training.loop import train
from ensemble_ad.training.prepared import Prepared, PseudoImages
from ensemble_ad.training.published import published_recipe
from ensemble_ad.training.recipe import Recipe

_DETECTORS = ("inpaint-gauss", "pca-64")
_SIDE = 16


def believed(dataset: Dataset, pseudo: PseudoImages, studies: Path, share: float | None = None) -> Belief:
    """How much the test images say beside pseudo-anomalies; it depends on the data and on `share` alone.

    Two detectors that need no training, `inpaint-gauss` and `pca-64` at 16 pixels, score the held-out images, the
    pseudo-anomalies and the 2,000 test images at most that a trial is judged by after each epoch. That takes some
    seconds of one core with 9,000 images.

    Args:
        dataset: the images.
        pseudo: its pseudo-anomalies.
        studies: the studies' folder, where resized images are kept.
        share: the share of anomalies among the test images, where the user knows it.
    """
    if not len(dataset.test):
        return Belief()
    evidence = [_evidence(dataset, recipe, studies, pseudo) for recipe in detectors(dataset)]
    return belief_of(evidence, share)


def detectors(dataset: Dataset) -> list[Recipe]:
    """What the detectors are made of."""
    channels = 1 if dataset.is_grey else dataset.channels
    recipes = [published_recipe(name, dataset, seed=0, precision="fp32", size=_SIDE) for name in _DETECTORS]
    return [replace(recipe, preprocess=replace(recipe.preprocess, channels=channels)) for recipe in recipes]


def _evidence(dataset: Dataset, recipe: Recipe, studies: Path, pseudo: PseudoImages) -> Evidence:
    images = Prepared.of(dataset, recipe, studies, torch.device("cpu"), pseudo)
    model = train(partial(untrained, recipe), images.train, images.rows, recipe.training)
    model.eval()
    score = partial(error_vectors, model)
    found = Evidence(
        reference=score(images.reference),
        test=score(images.test[images.glance]),
        pixels=int(np.prod(recipe.preprocess.shape)),
        pseudo={kind: score(damaged) for kind, damaged in images.pseudo.items()},
        normal_rows=pseudo.normal_rows,
    )
    images.give_back()
    return found
