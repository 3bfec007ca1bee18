"""Data sets: Kaggle's layout, and what holds of both of its sets."""

import numpy as np
import pytest

from ensemble_ad.data.dataset import Dataset, load_dataset
from ensemble_ad.errors import DataError


def test_a_data_set_changes_with_either_of_its_sets(photos, image_set):
    train, test = image_set(photos(4, 16, 1)), image_set(photos(6, 16, 1))
    assert len({Dataset(train=a, test=b).fingerprint for a in (train, test) for b in (train, test)}) == 4


def test_a_data_set_is_grey_only_if_both_sets_are(photos, image_set):
    grey, colour = image_set(photos(4, 16, 1).repeat(3, axis=3)), image_set(photos(4, 16, 3))
    assert Dataset(train=grey, test=grey).is_grey
    assert not Dataset(train=grey, test=colour).is_grey
    assert not Dataset(train=colour, test=grey).is_grey


def test_kaggles_layout_is_read_with_ids_from_0(data, tmp_path):
    dataset = load_dataset(data, image_cache=tmp_path)
    assert (dataset.side, dataset.channels, len(dataset.train), len(dataset.test)) == (32, 1, 200, 120)
    assert dataset.test.ids == tuple(map(str, range(120)))


def test_training_and_test_images_need_one_shape(data, tmp_path, photos):
    np.save(data / "testingset.npy", photos(5, 64, 1))
    with pytest.raises(DataError, match=r"one shape, but trainingset.npy has 32x32x1 and testingset.npy 64x64x1"):
        load_dataset(data, image_cache=tmp_path)
