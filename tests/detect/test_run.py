"""`ensemble_ad.run`: from images to a scorer."""

from functools import partial

import numpy as np
import pytest

import ensemble_ad as ea

small_run = partial(ea.run, families=["pca"], device="cpu")


def test_a_run_on_a_folder_gives_a_scorer(data, tmp_path):
    studies = tmp_path / "studies"
    scorer = small_run(data, trials=2, studies=studies)
    images = np.load(data / "testingset.npy")
    np.testing.assert_allclose(
        scorer.score(images), ea.load_blend("run", studies, device="cpu").score(images), rtol=1e-6
    )


def test_a_run_on_arrays_is_that_on_the_folder(data, tmp_path):
    normal, test = (np.load(data / name) for name in ("trainingset.npy", "testingset.npy"))
    by_arrays = small_run(normal, unlabelled=test, trials=1, studies=tmp_path / "one")
    by_folder = small_run(data, trials=1, studies=tmp_path / "other")
    np.testing.assert_array_equal(by_arrays.score(test), by_folder.score(test))


@pytest.mark.parametrize(
    ("normal", "message"),
    [
        ([], "images in memory must have"),
        (np.zeros((100, 3, 16, 16), np.uint8), "its channels come second"),
        ([np.zeros((20, 20, 4), np.uint8)] * 3, r"image 0 must be numbers of the axes"),
        (["nowhere.png"], "nowhere.png cannot be read"),
        ([np.zeros((20, 4), np.uint8)] * 100, "image 0 must have at least 8 pixels a side"),
    ],
)
def test_a_list_that_holds_no_pictures_is_refused(tmp_path, normal, message):
    with pytest.raises(ea.DataError, match=message):
        small_run(normal, trials=1, studies=tmp_path / "studies")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "give one of time_limit=600"),
        ({"time_limit": 9, "trials": 2}, "give one of time_limit=600"),
        ({"trials": 0}, "trials must be 1 or more, not 0"),
        ({"time_limit": -1}, "time_limit must be more than 0 seconds, not -1"),
        ({"time_limit": 1e-6, "families": ["pca"]}, "no model was finished; give a larger time_limit"),
        ({"trials": 1, "families": ["nosuch"]}, "unknown family 'nosuch'"),
        ({"trials": 1, "unlabelled": np.zeros((3, 8, 8), np.uint8)}, "goes with an array or list of normal images"),
    ],
)
def test_what_cannot_be_run_is_refused(data, tmp_path, settings, message):
    with pytest.raises(ea.UsageError, match=message):
        ea.run(data, studies=tmp_path / "studies", **settings)


def test_images_that_make_a_run_worthless_are_refused(tmp_path):
    black = np.zeros((200, 32, 32), np.uint8)
    with pytest.raises(ea.DataError, match="would be worthless"):
        small_run(black, trials=1, studies=tmp_path / "studies")
    assert not (tmp_path / "studies" / "members").exists()
