"""Pseudo-anomalies: which kinds of defect apply, which images get them, and what depends on the seed."""

import numpy as np
import pytest

from ensemble_ad.data import defects as module
from ensemble_ad.data.defect_kinds import KINDS, OF_PLACE
from ensemble_ad.data.defects import oriented, pseudo_anomalies, split_reference
from ensemble_ad.errors import DataError

FINGERPRINT = "00c0ffee"


@pytest.mark.parametrize("value", [0, 128, 255])
@pytest.mark.parametrize("channels", [1, 3])
def test_constant_images_break_nothing(value, channels):
    images = np.full((4, 16, 16, channels), value, dtype=np.uint8)
    made = pseudo_anomalies(images, seed=0)
    assert set(made) == set(KINDS) - OF_PLACE - {"colour"}
    for name, each in made.items():
        np.testing.assert_array_equal(each, images, err_msg=name)


def test_digits_are_oriented_and_random_crops_are_not(digits, photos):
    assert oriented(digits)
    assert oriented(digits[:100])
    assert not oriented(photos(200, 32, 3))
    assert not oriented(photos(200, 64, 1))
    turned = np.stack([np.rot90(image, turn % 4) for turn, image in enumerate(digits)])
    assert not oriented(turned)


def test_one_image_or_blank_ones_have_no_orientation(digits):
    assert not oriented(digits[:1])
    assert not oriented(np.full((30, 16, 16, 1), 9, dtype=np.uint8))
    with pytest.raises(DataError, match="uint8"):
        oriented(digits.astype(float))


def test_the_kinds_that_apply(digits, photos):
    coloured, grey = photos(30, 32, 3), digits[:60]
    assert list(pseudo_anomalies(coloured, seed=0)) == [name for name in KINDS if name not in OF_PLACE]
    assert list(pseudo_anomalies(grey, seed=0)) == [name for name in KINDS if name != "colour"]


def test_three_equal_channels_stay_equal_and_are_as_one(digits):
    one = pseudo_anomalies(digits[:40], seed=3)
    three = pseudo_anomalies(np.repeat(digits[:40], 3, axis=3), seed=3)
    assert list(one) == list(three)
    for name, made in three.items():
        np.testing.assert_array_equal(made, np.repeat(one[name], 3, axis=3))


def test_the_seed_decides_and_kinds_have_streams_of_their_own(photos, monkeypatch):
    images = photos(6, 32, 3)
    first = pseudo_anomalies(images, seed=7)
    for name, made in pseudo_anomalies(images, seed=8).items():
        assert (made != first[name]).any(), name
    monkeypatch.setattr(module, "KINDS", {"one": KINDS["halves"], "other": KINDS["halves"]})
    twice = pseudo_anomalies(images, seed=7)
    assert (twice["one"] != twice["other"]).any()
    monkeypatch.setattr(module, "KINDS", {name: KINDS[name] for name in ("halves", "cut_paste")})
    for name, made in pseudo_anomalies(images, seed=7).items():
        np.testing.assert_array_equal(made, first[name])


def test_one_image_is_refused(photos):
    with pytest.raises(DataError, match="at least 2 images, and there is 1"):
        pseudo_anomalies(photos(1, 32, 3), seed=0)


@pytest.mark.parametrize("n_reference", [4, 5, 20, 150, 5000])
def test_no_image_is_both_normal_and_damaged(n_reference):
    split = split_reference(n_reference, FINGERPRINT, image_bytes=64 * 64 * 3)
    np.testing.assert_array_equal(np.sort(np.concatenate(split)), np.arange(n_reference))
    assert len(split.damaged) == min(n_reference // 2, module.MOST)
    for rows in split:
        assert rows.dtype == np.int64
        assert (np.diff(rows) > 0).all()
    again = split_reference(n_reference, FINGERPRINT, image_bytes=64 * 64 * 3)
    np.testing.assert_array_equal(split.damaged, again.damaged)


def test_the_split_depends_on_the_data_and_its_size_is_bounded():
    one, other = (split_reference(1000, print_, image_bytes=4096).damaged for print_ in ("aa", "ab"))
    assert (one != other).any()
    assert (one != np.sort(np.random.default_rng(0xAA).permutation(1000)[: len(one)])).any(), "split.py's own draw"
    large = split_reference(1000, "aa", image_bytes=256 * 256 * 3)
    assert len(large.damaged) * 256 * 256 * 3 * len(KINDS) <= module.MOST_BYTES
    assert 50 < len(large.damaged) < module.MOST


def test_too_few_images_to_split():
    with pytest.raises(DataError, match="at least 4 held-out normal images, and there are 3"):
        split_reference(3, FINGERPRINT, image_bytes=4096)
