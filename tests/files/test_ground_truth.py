"""Labels that the names of folders tell, as MVTec AD has them."""

import shutil

import numpy as np
import pytest

from ensemble_ad.errors import DataError
from ensemble_ad.files.ground_truth import read_ground_truth

IDS = ("blot/000.png", "good/000.png", "good/001.png", "seven/a/000.png")


@pytest.fixture
def folder(tmp_path):
    for name in ("blot", "good", "seven"):
        (tmp_path / name).mkdir()
    return tmp_path


def test_folders_tell_kinds_and_labels(folder):
    truth = read_ground_truth(folder, IDS)
    assert truth.kinds == ("blot", "good", "good", "seven")
    np.testing.assert_array_equal(truth.label, [1, 0, 0, 1])
    assert truth.digest == read_ground_truth(folder, IDS).digest
    assert truth.digest != read_ground_truth(folder, IDS[:3]).digest


def test_a_file_tells_labels_alone(tmp_path):
    (tmp_path / "labels.csv").write_text("ID,label\n1,0\n0,1\n")
    truth = read_ground_truth(tmp_path / "labels.csv", ["0", "1"])
    assert truth.kinds is None
    np.testing.assert_array_equal(truth.label, [1, 0])


@pytest.mark.parametrize(
    ("ids", "gone", "said"),
    [
        (("0", "1"), None, "test image '0' lies in none; name a CSV file"),
        (IDS, "seven", "has no 'seven'"),
        (IDS, "good", "has no 'good'"),
        (IDS[1:3], None, "must hold both classes, but every label is 0"),
    ],
)
def test_what_tells_no_labels_is_refused(folder, ids, gone, said):
    if gone:
        shutil.rmtree(folder / gone)
    with pytest.raises(DataError, match=said):
        read_ground_truth(folder, ids)
