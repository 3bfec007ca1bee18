"""Pictures of any shape as square images, and maps of these back on the pictures."""

import numpy as np
import pytest
from sklearn.datasets import load_sample_images

from ensemble_ad.data.fit import FITS, checked_fit, fitted, unfitted
from ensemble_ad.errors import UsageError

SHAPES = [(120, 90), (61, 200), (33, 33), (500, 9), (1, 40), (8, 3)]


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    """uint8 (427, 640, 3)."""
    return load_sample_images().images[0]


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("shape", SHAPES)
def test_picture_of_any_shape_becomes_a_square(photograph, fit, shape):
    picture = photograph[: shape[0], : shape[1]]
    grey = fitted(picture[..., 0], fit, 64)
    assert grey.shape == (64, 64)
    assert grey.dtype == np.uint8
    assert fitted(picture, fit, 64).shape == (64, 64, 3)
    np.testing.assert_array_equal(fitted(picture[..., :1], fit, 64), grey[..., None])


@pytest.mark.parametrize("fit", FITS)
def test_square_of_that_side_stays_as_it_is(photograph, fit):
    square = photograph[:64, :64]
    assert fitted(square, fit, 64) is square


def test_pad_keeps_the_aspect_and_mirrors_the_picture_beside_itself(photograph):
    found = fitted(photograph[:100, :50], "pad", 100)
    np.testing.assert_array_equal(found[:, 25:75], photograph[:100, :50])
    np.testing.assert_array_equal(found[:, :25], photograph[:100, 24::-1])
    np.testing.assert_array_equal(found[:, 75:], photograph[:100, 49:24:-1])


def test_crop_takes_the_middle(photograph):
    np.testing.assert_array_equal(fitted(photograph[:101, :50], "crop", 50), photograph[25:75, :50])


def test_squash_takes_the_whole(photograph):
    found = fitted(photograph, "squash", 64).astype(float)
    corners = photograph[:7, :10].mean(axis=(0, 1)), photograph[-7:, -10:].mean(axis=(0, 1))
    assert abs(found[0, 0] - corners[0]).max() < 20
    assert abs(found[-1, -1] - corners[1]).max() < 20


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("shape", [(300, 120), (120, 300), (90, 90), (31, 50)])
def test_map_is_largest_where_the_picture_has_the_mark(fit, shape):
    picture = np.zeros(shape, dtype=np.uint8)
    row, column = shape[0] // 2 + 5, shape[1] // 2 - 5
    picture[row - 2 : row + 3, column - 2 : column + 3] = 255
    found = unfitted(fitted(picture, fit, 64).astype(np.float32), shape, fit)
    assert found.shape == shape
    assert found.dtype == np.float32
    highest = np.unravel_index(found.argmax(), shape)
    assert abs(highest[0] - row) <= 4
    assert abs(highest[1] - column) <= 4


@pytest.mark.parametrize("fit", ["pad", "squash"])
def test_map_of_a_larger_image_gives_the_picture_again(photograph, fit):
    picture = photograph[:80, :61, 0]
    found = unfitted(fitted(picture, fit, 240).astype(np.float32), (80, 61), fit)
    assert abs(found - picture).mean() < 3


def test_what_was_cropped_off_gets_the_least_of_the_map():
    errors = np.arange(16, dtype=np.float32).reshape(4, 4) + 7
    found = unfitted(errors, (4, 10), "crop")
    np.testing.assert_array_equal(found[:, 3:7], errors)
    assert (found[:, :3] == 7).all()
    assert (found[:, 7:] == 7).all()


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("shape", SHAPES)
def test_map_of_any_side_gets_the_shape_of_the_picture(fit, shape):
    errors = np.random.default_rng(0).random((32, 32), dtype=np.float32)
    found = unfitted(errors, shape, fit)
    assert found.shape == shape
    assert np.isfinite(found).all()
    assert errors.min() - 1e-6 <= found.min()
    assert found.max() <= errors.max() + 1e-6


def test_another_fit_is_refused_by_name():
    assert checked_fit("pad") == "pad"
    with pytest.raises(UsageError, match="pad, squash, crop, not 'stretch'"):
        checked_fit("stretch")
