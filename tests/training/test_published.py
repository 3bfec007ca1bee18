"""A published system's recipe, and what of it may be changed."""

import pytest

from ensemble_ad.data.dataset import load_dataset
from ensemble_ad.errors import UsageError
from ensemble_ad.families import preset
from ensemble_ad.training.published import published_recipe


@pytest.fixture
def dataset(digits_folder, tmp_path):
    return load_dataset(digits_folder, image_cache=tmp_path)


def test_a_preset_is_trained_as_published_unless_asked_otherwise(dataset):
    family, published = preset("fcn-boss")
    recipe = published_recipe("fcn-boss", dataset, seed=3, precision="fp32")
    assert (recipe.family, recipe.architecture) == (family.name, published.architecture)
    assert recipe.training.epochs == published.training["epochs"]
    assert (recipe.training.seed, recipe.objective, recipe.labels) == (3, "separation", None)
    other = published_recipe("fcn-boss", dataset, seed=3, precision="fp32", epochs=2, batch_size=7, size=16, subset=50)
    assert (other.training.epochs, other.training.batch_size, other.subset) == (2, 7, 50)
    assert other.preprocess.size == (16, 16)
    assert other.key != recipe.key


def test_what_is_out_of_range_or_unknown_is_refused(dataset):
    with pytest.raises(UsageError, match="epochs must be 1 or more, not 0"):
        published_recipe("fcn-boss", dataset, seed=0, precision="fp32", epochs=0)
    with pytest.raises(UsageError, match="unknown preset 'fcn-bos'"):
        published_recipe("fcn-bos", dataset, seed=0, precision="fp32")


def test_a_batch_is_no_larger_than_the_images_and_its_rate_is_its_own(dataset):
    published = preset("cnn-sample")[1].training
    recipe = published_recipe("cnn-sample", dataset, seed=0, precision="fp32", subset=100)
    rows = len(dataset.split(100).train)
    assert recipe.training.batch_size == rows < published["batch_size"]
    expected = published["learning_rate"] * (rows / published["batch_size"]) ** 0.5
    assert recipe.training.learning_rate == pytest.approx(expected)
    solved = published_recipe("pca-64", dataset, seed=0, precision="fp32", subset=100)
    assert solved.training.batch_size == 256
