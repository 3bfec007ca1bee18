"""Data sets: Kaggle's layout, and what holds of both of its sets."""

import io
import os

import numpy as np
import pytest

from ensemble_ad.data.dataset import Dataset, load_dataset
from ensemble_ad.data.preprocess import Preprocess, cached
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


# Images that change under a study


@pytest.fixture
def opened(data, tmp_path):
    return load_dataset(data, image_cache=tmp_path / "images")


def _write_into(path, change):
    """Change pixels in the very file that is mapped, as `cat other.npy > path` does."""
    array = np.load(path)
    change(array)
    content = io.BytesIO()
    np.save(content, array)
    with path.open("r+b") as file:
        file.write(content.getvalue())
    os.utime(path, ns=(1, 1))  # a write within one tick of the clock


def test_images_that_are_as_they_were_are_taken(opened, data):
    opened.check_unchanged()
    os.utime(data / "testingset.npy", ns=(5, 5))  # touched, with the same pixels
    opened.check_unchanged()


@pytest.mark.parametrize("name", ["trainingset.npy", "testingset.npy"])
def test_pixels_that_were_written_over_are_noticed(opened, data, name):
    assert opened.fingerprint

    def turn(array):
        array[:] = array[::-1].copy()

    _write_into(data / name, turn)
    with pytest.raises(DataError, match=rf"{name} has changed since it was read; put the old images back"):
        opened.check_unchanged()


def test_a_file_that_was_cut_off_replaced_or_removed_is_noticed(opened, data):
    assert opened.fingerprint
    path = data / "testingset.npy"
    content = path.read_bytes()
    for spoil in (
        lambda: os.truncate(path, 1000),
        lambda: (path.unlink(), path.write_bytes(content)),
        path.unlink,
    ):
        spoil()
        with pytest.raises(DataError, match="has changed since it was read"):
            opened.check_unchanged()


def test_a_crop_of_changed_pixels_is_not_kept(opened, data, tmp_path):
    assert opened.fingerprint
    _write_into(data / "testingset.npy", lambda array: array.fill(7))
    small = Preprocess(crop=(0.75, 0.75), size=(16, 16), channels=1)
    with pytest.raises(DataError, match="has changed while it was read"):
        cached(opened.test, small, tmp_path / "kept")
    assert list((tmp_path / "kept").iterdir()) == []


def test_a_pipe_in_the_place_of_an_array_is_refused_and_not_waited_for(data, tmp_path):
    (data / "testingset.npy").unlink()
    os.mkfifo(data / "testingset.npy")
    with pytest.raises(DataError, match=r"must be a .npy file, but is none"):
        load_dataset(data, image_cache=tmp_path / "images")
