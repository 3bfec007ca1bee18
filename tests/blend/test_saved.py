"""Blends on disk: names, the latest one, and what is damaged or foreign."""

import os
from dataclasses import replace

import numpy as np
import pytest

from ensemble_ad.blend.info import BlendInfo
from ensemble_ad.blend.saved import latest_blend, list_blends, load_blend, save_blend
from ensemble_ad.errors import StorageError, UsageError
from ensemble_ad.files.json_file import read_json, write_json
from ensemble_ad.members.measured import Measured
from ensemble_ad.statistics.implied import Share

INFO = BlendInfo(
    name="a",
    data="ab" * 16,
    members=("fcn-0123456789ab",),
    families=("fcn",),
    method="mean",
    normaliser="pooled-rank",
    weights={"fcn-0123456789ab/rss": 0.75, "fcn-0123456789ab/logit": 0.25},
    separation=Measured(value=0.6, standard_error=0.01),
    labels_used="none",
    seconds=0.5,
)


@pytest.fixture
def scores(digits_folder):
    """A number an image of the digits' test set, float64 (120,)."""
    return np.load(digits_folder / "testingset.npy").mean(axis=(1, 2, 3))


def test_a_blend_comes_back_as_it_was_saved(tmp_path, scores):
    saved = save_blend(tmp_path, replace(INFO, name="a+b_1.c-2"), {"test": scores})
    loaded = load_blend(tmp_path, "a+b_1.c-2")
    assert loaded == saved
    added = {"created": "", "blended": "", "identity": "", "checksum": ""}
    assert replace(loaded.info, **added) == replace(INFO, name="a+b_1.c-2")  # type: ignore[arg-type]
    assert all(getattr(loaded.info, name) for name in added)
    assert (loaded.data, loaded.weights) == (INFO.data, INFO.weights)
    assert loaded.scores().dtype == np.float64
    np.testing.assert_array_equal(loaded.scores(), scores)


def test_saving_a_blend_again_keeps_the_first_and_makes_it_the_latest(tmp_path, scores):
    first = save_blend(tmp_path, INFO, {"test": scores})
    save_blend(tmp_path, replace(INFO, name="b", method="max"), {"test": scores})
    assert latest_blend(tmp_path).name == "b"
    again = save_blend(tmp_path, replace(INFO, seconds=9), {"test": scores})
    assert replace(again.info, blended="") == replace(first.info, blended="")
    # File times may be lost on the way to another machine.
    os.utime(tmp_path / "blends" / "b" / "blend.json")
    assert latest_blend(tmp_path).name == "a"
    assert [blend.name for blend in list_blends(tmp_path)[0]] == ["b", "a"]


def test_the_same_blend_with_another_share_keeps_its_scores(tmp_path, scores):
    first = save_blend(tmp_path, INFO, {"test": scores})
    assert (first.share, first.info.transductive, first.info.correlation) == (None, False, {})
    later = {"anomaly_share": 0.2, "correlation": {"fcn-0123456789ab": 0.5}, "transductive": True}
    again = save_blend(tmp_path, replace(INFO, **later), {"test": scores})  # type: ignore[arg-type]
    assert again.share == Share(value=0.2)
    assert again.info.correlation == {"fcn-0123456789ab": 0.5}
    assert again.info.transductive
    assert again.info.created == first.info.created


def test_the_users_share_goes_before_the_estimated_one(tmp_path, scores):
    estimate = Measured(value=0.3, standard_error=0.05)
    guessed = save_blend(tmp_path, replace(INFO, share=estimate), {"test": scores})
    assert guessed.share == Share(value=0.3, standard_error=0.05, given=False)
    told = save_blend(tmp_path, replace(INFO, name="b", share=estimate, anomaly_share=0.5), {"test": scores})
    assert told.share == Share(value=0.5)


@pytest.mark.parametrize("change", [{"data": "cd" * 16}, {"method": "max"}, {"weights": {"x/rss": 1.0}}], ids=str)
def test_a_name_is_not_taken_away_from_another_blend(tmp_path, scores, change):
    save_blend(tmp_path, INFO, {"test": scores})
    with pytest.raises(UsageError, match="the name 'a' is taken by another blend; choose another with --name"):
        save_blend(tmp_path, replace(INFO, **change), {"test": -scores})
    np.testing.assert_array_equal(load_blend(tmp_path, "a").scores(), scores)


@pytest.mark.parametrize("name", ["", ".", "..", "../a", "a/b", "/tmp/a", "-a", "a b", "é", "a\n", "x" * 101])
def test_a_name_cannot_lead_out_of_the_folder(tmp_path, scores, name):
    for use in (load_blend, lambda folder, name: save_blend(folder, replace(INFO, name=name), {"test": scores})):
        with pytest.raises(UsageError, match=r"must be letters, digits and _ . \+ - \(100 at most\), not"):
            use(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["CON", "nul.txt", "Com1", "a."])
def test_a_name_is_a_folders_on_windows_too(tmp_path, scores, name):
    with pytest.raises(UsageError, match="on Windows too"):
        save_blend(tmp_path, replace(INFO, name=name), {"test": scores})
    assert list(tmp_path.iterdir()) == []


def test_a_members_key_is_no_name_since_tables_hold_both(tmp_path, scores):
    with pytest.raises(UsageError, match="'fcn-0123456789ab' looks like a member's key; choose another with --name"):
        save_blend(tmp_path, replace(INFO, name="fcn-0123456789ab"), {"test": scores})
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_blend_is_refused_with_those_there_are(tmp_path, scores):
    with pytest.raises(UsageError, match=r"unknown blend 'c'; the blends in .* are none; run `ensad tune --family fcn"):
        load_blend(tmp_path, "c")
    for name in "ba":
        save_blend(tmp_path, replace(INFO, name=name), {"test": scores})
    with pytest.raises(UsageError, match=r"unknown blend 'c'; the blends in .* are b, a"):
        load_blend(tmp_path, "c")


def test_without_a_blend_there_is_no_latest(tmp_path):
    with pytest.raises(UsageError, match=r"there is no blend in .*; run `ensad tune --family fcn --trials 50` first"):
        latest_blend(tmp_path)
    (tmp_path / "members" / "fcn-0123456789ab").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"there is no blend in .*; run `ensad blend` first"):
        latest_blend(tmp_path)


@pytest.mark.parametrize("position", [0.0, 0.5, 0.999])
def test_a_flipped_byte_in_the_scores_is_noticed(tmp_path, scores, position):
    blend = save_blend(tmp_path, INFO, {"test": scores})
    content = bytearray((blend.folder / "scores.npz").read_bytes())
    content[int(position * len(content))] ^= 1
    (blend.folder / "scores.npz").write_bytes(content)
    with pytest.raises(StorageError, match=r"scores.npz is damaged: its checksum differs; blend again"):
        blend.scores()


@pytest.mark.parametrize(
    "change",
    [
        lambda value: [value],
        lambda value: {"name": "a"},
        lambda value: {**value, "format": 2},
        lambda value: {**value, "name": "b"},
        lambda value: {**value, "weights": []},
        lambda value: {k: v for k, v in value.items() if k != "checksum"},
        lambda value: {**value, "separation": {"value": 0.5}},
        lambda value: {**value, "anomaly_share": 1.5},
        lambda value: {**value, "share": {"value": 0.5}},
        lambda value: {**value, "share": {"value": -1, "standard_error": 0.1}},
        lambda value: {**value, "correlation": {"fcn-0123456789ab": "high"}},
        lambda value: {**value, "transductive": "no"},
    ],
    ids=[
        "a list",
        "foreign",
        "a newer format",
        "another's",
        "weights a list",
        "no checksum",
        "half a separation",
        "a share above 1",
        "half a share",
        "a share below 0",
        "a correlation in words",
        "transductive in words",
    ],
)
def test_a_foreign_or_newer_blend_is_refused(tmp_path, scores, change):
    save_blend(tmp_path, INFO, {"test": scores})
    path = tmp_path / "blends" / "a" / "blend.json"
    write_json(path, change(read_json(path)))
    with pytest.raises(
        StorageError, match=r"blend.json is not a blend that this version reads; remove .* and blend again"
    ):
        load_blend(tmp_path, "a")
