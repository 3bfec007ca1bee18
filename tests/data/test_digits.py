"""The bundled digits."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

from ensemble_ad.data.dataset import load_dataset
from ensemble_ad.data.digits import NORMAL_DIGITS, read_digits, write_digits
from ensemble_ad.errors import UsageError


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


FILES = ("labels.csv", "sample_submission.csv", "testingset.npy", "trainingset.npy")


def test_written_again_the_digits_stay_and_what_is_missing_is_added(tmp_path):
    write_digits(tmp_path)
    assert read_digits().fingerprint == load_dataset(tmp_path, image_cache=tmp_path / "cache").fingerprint
    before = {name: (tmp_path / name).read_bytes() for name in FILES}
    (tmp_path / "labels.csv").unlink()
    times = {name: (tmp_path / name).stat().st_mtime_ns for name in FILES[1:]}
    write_digits(tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in FILES} == before
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in FILES[1:]} == times


@pytest.mark.parametrize("name", [*FILES, "train/a.png", "test/a.png", "trainingset.npy/a folder"])
def test_other_data_is_never_overwritten_nor_put_in_the_shade(tmp_path, name):
    mine = tmp_path / name
    mine.parent.mkdir(exist_ok=True)
    mine.write_bytes(b"mine")
    with pytest.raises(UsageError, match=rf"{name.partition('/')[0]} holds other data than the demo's.* with --out"):
        write_digits(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [mine]
    assert mine.read_bytes() == b"mine"


def test_a_changed_byte_and_a_dangling_link_are_other_data(tmp_path):
    write_digits(tmp_path)
    changed = bytearray((tmp_path / "testingset.npy").read_bytes())
    changed[-1] ^= 1
    (tmp_path / "testingset.npy").write_bytes(changed)
    with pytest.raises(UsageError, match=r"testingset\.npy holds other data"):
        write_digits(tmp_path)
    (tmp_path / "testingset.npy").unlink()
    (tmp_path / "testingset.npy").symlink_to("nowhere")
    with pytest.raises(UsageError, match=r"testingset\.npy holds other data"):
        write_digits(tmp_path)
