"""Sets of images: their fingerprints, and whether they are grey."""

import numpy as np
import pytest

from ensemble_ad.data import images
from ensemble_ad.data.npy import open_array


def test_fingerprints_depend_on_pixels_and_shape_and_on_nothing_else(tmp_path, photos, image_set):
    pixels = photos(5, 32, 3)
    np.save(tmp_path / "c.npy", pixels)
    np.save(tmp_path / "fortran.npy", np.asfortranarray(pixels))
    same = [pixels, open_array(tmp_path / "c.npy"), open_array(tmp_path / "fortran.npy")]
    assert len({image_set(each).fingerprint for each in same}) == 1
    changed = pixels.copy()
    changed[4, 31, 31, 2] ^= 1
    others = [changed, pixels[::-1], pixels.reshape(20, 16, 16, 3)]
    assert len({image_set(each).fingerprint for each in [pixels, *others]}) == 4


def test_a_fingerprint_does_not_depend_on_the_size_of_a_block(monkeypatch, photos, image_set):
    pixels = photos(7, 16, 3)
    whole = image_set(pixels).fingerprint
    monkeypatch.setattr(images, "_BLOCK", 3)
    assert image_set(pixels).fingerprint == whole


@pytest.mark.parametrize("pixel", [None, 0, -1])
def test_grey_is_when_every_pixel_of_every_image_has_equal_channels(photos, pixel, image_set):
    pixels = photos(4, 16, 1).repeat(3, axis=3)
    if pixel is not None:
        pixels[pixel, pixel, pixel, 1] ^= 1
    assert image_set(pixels).is_grey == (pixel is None)
