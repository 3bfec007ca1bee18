"""Detectors are given pictures of any size: one array, lists of arrays, and paths."""

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from ensemble_ad import AutoencoderDetector, BlendedDetector
from ensemble_ad.data.dataset import load_dataset
from ensemble_ad.data.fit import FITS, fitted
from ensemble_ad.detect.given import dataset_of


@pytest.fixture(scope="module")
def parts() -> list[np.ndarray]:
    """60 grey pictures, uint8, 30 to 59 pixels high and wide."""
    photograph, rng = load_sample_images().images[0][..., 1], np.random.default_rng(0)
    shapes = rng.integers(30, 60, (60, 2))
    return [photograph[5 * row : 5 * row + h, 6 * row : 6 * row + w] for row, (h, w) in enumerate(shapes)]


@pytest.mark.parametrize("fit", FITS)
def test_a_detector_makes_the_same_squares_of_new_pictures(parts, fit, tmp_path):
    detector = AutoencoderDetector("pca-10", image_fit=fit, device="cpu").fit(parts[:50])
    assert (detector.conversion_.fit, detector.conversion_.side) == (fit, 48)
    squares = np.stack([fitted(part, fit, 48) for part in parts])
    alike = AutoencoderDetector("pca-10", device="cpu").fit(squares[:50])
    expected = alike.score_samples(squares[50:])
    np.testing.assert_allclose(detector.score_samples(parts[50:]), expected, rtol=1e-5)
    for row, part in enumerate(parts[50:]):
        Image.fromarray(part).save(tmp_path / f"{row}.png")
    paths = [tmp_path / f"{row}.png" for row in range(10)]
    np.testing.assert_allclose(detector.score_samples(paths), expected, rtol=1e-5)


def test_an_array_that_is_not_square_is_fitted(parts):
    array = np.stack([part[:30, :20] for part in parts])
    detector = BlendedDetector(["pca-10"]).fit(array[:50])
    assert detector.anomaly_score(array[50:]).shape == (10,)
    with pytest.raises(ValueError, match="must have 8 bits a channel"):
        detector.anomaly_score(array[50:] / 255)


def test_an_unknown_fit_is_refused(parts):
    with pytest.raises(ValueError, match="a fit must be one of pad, squash, crop, not 'stretch'"):
        AutoencoderDetector("pca-10", image_fit="stretch").fit(parts)


@pytest.mark.parametrize("fit", FITS)
def test_a_list_of_pictures_is_the_data_set_of_a_folder_of_them(parts, tmp_path, fit):
    for name, some in (("train", parts[:50]), ("test", parts[50:])):
        (tmp_path / name).mkdir()
        for row, part in enumerate(some):
            Image.fromarray(part).save(tmp_path / name / f"{row:02}.png")
    paths = sorted((tmp_path / "train").iterdir())
    listed = dataset_of([*parts[:20], *paths[20:]], parts[50:], fit)
    folder = load_dataset(tmp_path, image_cache=tmp_path / "cache", fit=fit)
    assert listed.fingerprint == folder.fingerprint
    assert listed.conversion == folder.conversion
    np.testing.assert_array_equal(listed.test.shapes, folder.test.shapes)
    alone = dataset_of(parts[:50], None, fit)
    assert alone.fingerprint == load_dataset(tmp_path, image_cache=tmp_path / "cache", fit=fit, look=False).fingerprint


def test_an_array_is_the_data_set_of_its_file(photos, tmp_path):
    array = photos(12, 24, 3)
    np.save(tmp_path / "trainingset.npy", array[:9])
    np.save(tmp_path / "testingset.npy", array[9:])
    found = dataset_of(array[:9], list(array[9:]), "pad")
    assert found.fingerprint == load_dataset(tmp_path, image_cache=tmp_path / "cache").fingerprint
    assert found.train.images.base is array  # no copy
