"""Fully connected autoencoders."""

import numpy as np

from ensemble_ad import families
from ensemble_ad.data.preprocess import Preprocess, apply


def test_the_crop_of_fcn_crop_is_not_resized():
    preset = families.preset("fcn-crop")[1]
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    assert preset.size is not None
    cropped = apply(images, Preprocess(crop=preset.crop, size=preset.size, channels=3))
    np.testing.assert_array_equal(cropped, images[:, 14:50, 12:52])
