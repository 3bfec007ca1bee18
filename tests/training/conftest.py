"""The digits, and the recipe of a small member that is made of them in seconds."""

import pytest

from ensemble_ad.data.dataset import load_dataset
from ensemble_ad.data.preprocess import Preprocess
from ensemble_ad.families.fcn import FcnArchitecture
from ensemble_ad.training.prepared import PseudoImages
from ensemble_ad.training.recipe import Recipe
from ensemble_ad.training.settings import TrainSettings


@pytest.fixture(scope="module")
def dataset(digits_folder, tmp_path_factory):
    return load_dataset(digits_folder, image_cache=tmp_path_factory.mktemp("images"))


@pytest.fixture
def recipe(dataset):
    return Recipe(
        data=dataset.fingerprint,
        family="fcn",
        architecture=FcnArchitecture(widths=(64, 8)),
        preprocess=Preprocess(crop=(0.75, 0.75), size=(32, 32), channels=1),
        training=TrainSettings(epochs=4, batch_size=16),
        objective="separation",
        labels=None,
        subset=None,
        patience=None,
    )


@pytest.fixture(scope="module")
def pseudo(dataset):
    return PseudoImages.of(dataset)
