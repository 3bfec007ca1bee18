"""The bundled digits."""

import numpy as np
import pandas as pd
from sklearn.datasets import load_digits

from ensemble_ad.data.digits import NORMAL_DIGITS, write_digits


def test_bundled_digits_are_real_in_kaggles_layout_and_split_by_class(tmp_path):
    write_digits(tmp_path)
    train, test = np.load(tmp_path / "trainingset.npy"), np.load(tmp_path / "testingset.npy")
    label = pd.read_csv(tmp_path / "labels.csv", index_col="ID")["label"].to_numpy()
    assert train.dtype == test.dtype == np.uint8
    assert train.shape[1:] == test.shape[1:] == (32, 32, 1)
    assert list(pd.read_csv(tmp_path / "sample_submission.csv")["ID"]) == list(range(len(test)))
    digits = load_digits()
    known = {image.tobytes(): digit for image, digit in zip(digits.images, digits.target, strict=True)}

    def digit(image):
        return known[(np.rint(image[::4, ::4, 0] * (16 / 255))).astype(float).tobytes()]

    assert {digit(image) for image in train} == set(NORMAL_DIGITS)
    np.testing.assert_array_equal(label == 0, [digit(image) in NORMAL_DIGITS for image in test])
    assert label.mean() == 0.5
    assert not {image.tobytes() for image in train} & {image.tobytes() for image in test}
