"""Groups of training images: near-duplicates, what a user names, and the split that divides none."""

import io

import numpy as np
import pytest
from PIL import Image

from ensemble_ad.data import groups
from ensemble_ad.data.dataset import Dataset
from ensemble_ad.data.groups import joined, near_duplicates, read_groups
from ensemble_ad.data.split import split_rows
from ensemble_ad.errors import DataError
from ensemble_ad.files.json_file import json_hash


def compressed(image: np.ndarray) -> np.ndarray:
    """An image of one or three channels as JPEG gives it back."""
    file = io.BytesIO()
    Image.fromarray(image.squeeze()).save(file, "JPEG", quality=85)
    return np.asarray(Image.open(file)).reshape(image.shape)


@pytest.mark.parametrize("copies", [0, 1])
def test_near_duplicates_of_many_images_are_kept(digits, image_set, tmp_path, monkeypatch, copies):
    monkeypatch.setattr(groups, "_WORTH_KEEPING", 0)
    train, test = image_set(np.concatenate([digits[:60], digits[3 : 3 + copies]])), image_set(digits[60:70])
    found = Dataset(train=train, test=test, cache=tmp_path).together
    assert found == ((*range(60), 3) if copies else None)
    (kept,) = tmp_path.iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(groups, "near_duplicates", None)  # is not called again
        assert Dataset(train=train, test=test, cache=tmp_path).together == found
    kept.write_bytes(kept.read_bytes()[:-30])
    assert Dataset(train=train, test=test, cache=tmp_path).together == found
    assert Dataset(train=train, test=test, cache=tmp_path / kept.name).together == found  # where nothing can be written


@pytest.mark.parametrize(("zoom", "channels"), [(1, 1), (1, 3), (2, 1)])
def test_copies_and_compressed_copies_are_a_group(digits, zoom, channels):
    images = digits[:300].repeat(zoom, 1).repeat(zoom, 2).repeat(channels, 3)
    assert near_duplicates(images) is None
    groups = near_duplicates(np.concatenate([images, images[3:4], compressed(images[7])[None]]))
    assert groups == (*range(300), 3, 7)


def test_images_that_are_all_alike_are_no_group_but_for_copies(photos):
    rng = np.random.default_rng(0)
    images = np.clip(photos(1, 32, 1) + rng.integers(0, 3, (40, 32, 32, 1)), 0, 255).astype(np.uint8)
    assert near_duplicates(images) is None
    groups = near_duplicates(np.concatenate([images, images[5:6]]))
    assert groups == (*range(40), 5)


def test_groups_that_share_an_image_are_joined():
    assert joined((0, 0, 1, 2, 3), (0, 1, 1, 2, 3)) == (0, 0, 0, 1, 2)
    assert joined(None, (0, 1, 0)) == (0, 1, 0)
    assert joined(None, None) is None


def test_a_csv_names_groups_and_the_others_stand_alone(tmp_path):
    path = tmp_path / "groups.csv"
    path.write_text("ID,group\n0,anna\n3,anna\n1,\n2,\n")
    assert read_groups(path, tuple("01234")) == (0, 1, 2, 0, 3)
    path.write_text("ID,group\n9,anna\n")
    with pytest.raises(DataError, match="'9' is none"):
        read_groups(path, tuple("01234"))


def test_folders_are_groups_when_asked_for():
    assert read_groups("folders", ("a/1.png", "a/2.png", "3.png", "4.png")) == (0, 0, 1, 2)
    with pytest.raises(DataError, match="none lies in a folder"):
        read_groups("folders", ("1.png", "2.png"))


@pytest.mark.parametrize("size", [2, 7, 30])
def test_no_group_is_divided(size):
    groups = tuple(row // size for row in range(1000))
    split = split_rows(1000, "ab" * 16, groups=groups)
    assert {groups[row] for row in split.train}.isdisjoint(groups[row] for row in split.reference)
    assert sorted([*split.train, *split.reference]) == list(range(1000))
    assert 150 <= len(split.reference) < 150 + size
    assert len(split_rows(1000, "ab" * 16, 100, groups).train) == 100


def test_groups_too_large_to_hold_out_are_refused():
    with pytest.raises(DataError, match=r"too large \(up to 990 images\)"):
        split_rows(1000, "ab" * 16, groups=tuple(max(0, row - 989) for row in range(1000)))


def test_a_data_set_keeps_its_split_unless_that_divides_a_group(digits, image_set):
    train, test = image_set(digits[:400]), image_set(digits[400:])
    plain = Dataset(train=train, test=test)
    known = json_hash([train.fingerprint, test.fingerprint])
    assert plain.fingerprint == known
    np.testing.assert_array_equal(plain.split().reference, split_rows(400, known).reference)
    inside = np.arange(400)
    inside[plain.split().reference[1]] = inside[plain.split().reference[0]]
    assert Dataset(train=train, test=test, named=tuple(inside.tolist())).fingerprint == known
    across = np.arange(400)
    across[plain.split().reference[0]] = across[plain.split().train[0]]
    other = Dataset(train=train, test=test, named=tuple(across.tolist()))
    assert other.fingerprint != known
    pair = {plain.split().reference[0], plain.split().train[0]}
    assert pair <= set(other.split().reference) or pair <= set(other.split().train)
