"""Members on disk: what is written comes back, and what is damaged, foreign or newer is refused by name."""

import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ensemble_ad.errors import StorageError
from ensemble_ad.files.json_file import write_json
from ensemble_ad.files.whole import file_hash
from ensemble_ad.members.data_record import DataRecord
from ensemble_ad.members.info import ChosenBy, MemberInfo, Seconds
from ensemble_ad.members.recipe_info import RecipeInfo
from ensemble_ad.members.save import remove_half_written, save_member, weights_beside
from ensemble_ad.members.store import DamagedError, has_member, list_members, load_member

KEY = "fcn-0123456789ab"
INFO = MemberInfo(
    key=KEY,
    recipe=RecipeInfo.from_json(
        {
            "family": "fcn",
            "data": "ab" * 16,
            "preprocess": {"crop": [0.75, 0.75], "size": [32, 32]},
            "training": {"epochs": 1},
            "labels": None,
        }
    ),
    objective=ChosenBy(name="loss", direction="minimize", value=0.25, standard_error=0.01, column="mean"),
    best_epoch=1,
    parameters=6,
    seconds=Seconds(train=1.5, score=0.5),
    created="2026-01-02T03:04:05.000006+00:00",
)


@pytest.fixture
def vectors(digits_folder):
    """Two numbers an image of the digits, as (reference, test)."""
    sets = [np.load(digits_folder / name).astype(np.float32) for name in ("trainingset.npy", "testingset.npy")]
    return tuple({"mean": x.mean(axis=(1, 2, 3)), "spread": x.std(axis=(1, 2, 3))} for x in sets)


@pytest.fixture
def member(tmp_path, vectors):
    reference, test = vectors
    weights = {
        "layer.weight": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "layer.bias": np.ones(2, dtype=np.float32),
    }
    return save_member(tmp_path, INFO, reference=reference, test=test, weights=weights)


def test_a_member_comes_back_as_it_was_saved(member, tmp_path, vectors):
    from safetensors.numpy import load_file

    loaded = load_member(tmp_path, KEY)
    assert loaded == member
    assert (loaded.family, loaded.data, loaded.columns) == ("fcn", "ab" * 16, ("mean", "spread"))
    assert (loaded.value, loaded.sort_value, loaded.main_column) == (0.25, -0.25, "mean")
    for got, expected in zip(loaded.vectors(), vectors, strict=True):
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got, np.stack([expected["mean"], expected["spread"]], axis=1))
    weights = load_file(loaded.weights_path())
    np.testing.assert_array_equal(weights["layer.weight"], [[0, 3], [1, 4], [2, 5]])
    assert has_member(tmp_path, KEY)
    assert not has_member(tmp_path, "fcn-ffffffffffff")


def test_weights_that_are_written_beside_are_those_of_a_member(tmp_path, vectors):
    weights, members = {"w": np.arange(6, dtype=np.float32)}, tmp_path / "members"
    reference, test = vectors
    plain = save_member(tmp_path / "plain", INFO, reference=reference, test=test, weights=weights)
    with weights_beside(tmp_path, KEY, weights) as written:
        assert list_members(tmp_path) == ([], [])
        member = save_member(tmp_path, INFO, reference=reference, test=test, weights=written)
    assert member.info == plain.info
    assert member.weights_path().read_bytes() == plain.weights_path().read_bytes()
    assert [path.name for path in members.iterdir()] == [KEY]


def test_weights_whose_member_is_given_up_are_not_left(tmp_path):
    with pytest.raises(KeyboardInterrupt), weights_beside(tmp_path, KEY, {"w": np.ones(9)}):
        raise KeyboardInterrupt
    assert list((tmp_path / "members").iterdir()) == []


def test_weights_that_a_kill_has_left_go_with_the_next_attempt(tmp_path):
    with weights_beside(tmp_path, KEY, {"w": np.ones(9)}) as written:
        left = written.result().path.parent
        shutil.copytree(left, left.with_name(left.name.replace(".-", ".-killed-")))
    assert len(list((tmp_path / "members").iterdir())) == 1
    remove_half_written(tmp_path, KEY)
    assert list((tmp_path / "members").iterdir()) == []


def test_weights_that_cannot_be_written_are_told_as_the_member_is_saved(tmp_path, vectors, monkeypatch):
    def full(path, packed):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with (
        pytest.raises(StorageError, match="no space is left; free some space"),
        weights_beside(tmp_path, KEY, {"w": np.ones(9)}) as written,
    ):
        save_member(tmp_path, INFO, reference=vectors[0], test=vectors[1], weights=written)
    assert list((tmp_path / "members").iterdir()) == []


def test_nothing_in_a_member_is_a_pickle(member):
    assert {path.name for path in member.folder.iterdir()} == {"member.json", "vectors.npz", "weights.safetensors"}
    with np.load(member.folder / "vectors.npz", allow_pickle=False) as file:
        assert {name: file[name].dtype for name in file} == {"reference": np.float32, "test": np.float32}


def test_a_copied_studies_folder_goes_on_elsewhere(member, tmp_path):
    shutil.copytree(tmp_path / "members", tmp_path / "other" / "members")
    copy = load_member(tmp_path / "other", KEY)
    assert copy.folder == tmp_path / "other" / "members" / KEY
    np.testing.assert_array_equal(copy.vectors()[1], member.vectors()[1])


@pytest.mark.parametrize(("name", "read"), [("vectors.npz", "vectors"), ("weights.safetensors", "weights_path")])
@pytest.mark.parametrize("position", [0.0, 0.5, 0.999])
def test_a_flipped_byte_is_noticed(member, name, read, position):
    path = member.folder / name
    content = bytearray(path.read_bytes())
    content[int(position * len(content))] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        StorageError, match=f"{name} is damaged: its checksum differs; remove .*{KEY} and run the study"
    ):
        getattr(member, read)()


@pytest.mark.parametrize(("name", "read"), [("vectors.npz", "vectors"), ("weights.safetensors", "weights_path")])
def test_a_truncated_and_a_missing_file_are_noticed(member, name, read):
    path = member.folder / name
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(StorageError, match=f"{name} is damaged"):
        getattr(member, read)()
    path.unlink()
    with pytest.raises(StorageError, match=f"cannot read .*{name}: No such file or directory"):
        getattr(member, read)()


def _write_npz(path, **arrays):
    np.savez(path, **arrays)


@pytest.fixture
def with_pseudo(tmp_path, vectors):
    """A member with error vectors of pseudo-anomalies of two kinds, made of rows 1 and 3 of the reference."""
    reference, test = vectors
    pseudo = {kind: {column: x[[1, 3]] + by for column, x in reference.items()} for kind, by in (("a", 1), ("b", 2))}
    return save_member(
        tmp_path, INFO, reference=reference, test=test, weights={}, pseudo=pseudo, damaged=np.array([1, 3])
    )


def test_error_vectors_of_pseudo_anomalies_come_back(with_pseudo, member, tmp_path, vectors):
    reference, _, pseudo = load_member(tmp_path, KEY).all_vectors()
    assert (pseudo.kinds, pseudo.scores.dtype, pseudo.damaged.tolist()) == (("a", "b"), np.float32, [1, 3])
    np.testing.assert_array_equal(pseudo.scores, reference[[1, 3]] + np.array([[[1]], [[2]]], dtype=np.float32))


def test_a_member_made_without_pseudo_anomalies_has_none(member, tmp_path):
    assert member.all_vectors()[2] is None
    assert "pseudo_kinds" not in json.loads((member.folder / "member.json").read_text())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda arrays: arrays.pop("pseudo"),
        lambda arrays: arrays.pop("damaged"),
        lambda arrays: arrays.update(pseudo=arrays["pseudo"][:1]),
        lambda arrays: arrays.update(pseudo=arrays["pseudo"][:, :, :1]),
        lambda arrays: arrays.update(pseudo=arrays["pseudo"][:, :1]),
        lambda arrays: arrays.update(pseudo=arrays["pseudo"] * np.float32("nan")),
        lambda arrays: arrays.update(pseudo=arrays["pseudo"].astype(np.float64)),
        lambda arrays: arrays.update(damaged=np.array([1, len(arrays["reference"])])),
        lambda arrays: arrays.update(damaged=np.array([3, 1])),
        lambda arrays: arrays.update(damaged=np.array([1.0, 3.0])),
        lambda arrays: arrays.update(pseudo=arrays["pseudo"][:, :0], damaged=np.array([], dtype=np.int64)),
    ],
    ids=["none", "no rows", "a kind", "a column", "an image", "NaN", "64 bits", "beyond", "unsorted", "float", "empty"],
)
def test_damaged_vectors_of_pseudo_anomalies_are_refused(with_pseudo, tmp_path, spoil):
    path = with_pseudo.folder / "vectors.npz"
    with np.load(path) as file:
        arrays = dict(file)
    spoil(arrays)
    np.savez(path, **arrays)
    info = json.loads((with_pseudo.folder / "member.json").read_text())
    info["checksums"]["vectors.npz"] = file_hash(path)
    write_json(with_pseudo.folder / "member.json", info)
    with pytest.raises(DamagedError, match=r"vectors.npz (is not a member's|must hold)"):
        load_member(tmp_path, KEY).all_vectors()
    with pytest.raises(DamagedError):
        load_member(tmp_path, KEY).verify()


@pytest.mark.parametrize("kinds", [["a", "a"], ["a", 1], ["a b"], {"a": 1}, ["x" * 101]])
def test_kinds_of_pseudo_anomaly_that_are_no_names_are_refused(with_pseudo, tmp_path, kinds):
    info = json.loads((with_pseudo.folder / "member.json").read_text())
    write_json(with_pseudo.folder / "member.json", {**info, "pseudo_kinds": kinds})
    with pytest.raises(DamagedError):
        load_member(tmp_path, KEY)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"not a zip"),
        lambda path: path.write_bytes(path.read_bytes()[:-10]),
        lambda path: _write_npz(path, reference=np.zeros((3, 2), dtype=np.float32)),
        lambda path: _write_npz(path, reference=np.zeros((3, 2)), test=np.zeros((3, 3))),
        lambda path: _write_npz(path, reference=np.zeros(3), test=np.zeros(3)),
        lambda path: _write_npz(path, reference=np.array([{}, {}]), test=np.zeros((3, 2))),
    ],
    ids=["empty", "not a zip", "cut off", "no test", "3 columns", "1-D", "pickled"],
)
def test_vectors_that_are_none_are_refused_even_if_the_checksum_fits(member, tmp_path, spoil):
    spoil(member.folder / "vectors.npz")
    info = json.loads((member.folder / "member.json").read_text())
    info["checksums"]["vectors.npz"] = file_hash(member.folder / "vectors.npz")
    write_json(member.folder / "member.json", info)
    with pytest.raises(StorageError, match=r"vectors.npz (is not a member's error vectors|must have 2 columns)"):
        load_member(tmp_path, KEY).vectors()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda info: [info], f"is not the member {KEY}; remove"),
        (lambda info: {"version": 1}, f"is not the member {KEY}; remove"),
        (lambda info: {**info, "key": "fcn-ffffffffffff"}, f"is not the member {KEY}; remove"),
        (lambda info: {**info, "format": 2}, "has format 2, and this version reads 1; use the ensad that wrote it"),
        (lambda info: {k: v for k, v in info.items() if k != "recipe"}, "lacks recipe, or has them otherwise"),
        (lambda info: {**info, "recipe": None}, "lacks recipe, or has them otherwise"),
        (lambda info: {**info, "recipe": {"family": "fcn"}}, "lacks recipe, or has them otherwise"),
        (lambda info: {**info, "objective": {}}, "lacks objective, or has them otherwise"),
        (lambda info: {**info, "objective": {**info["objective"], "value": "x"}}, "lacks objective, or has them"),
        (lambda info: {**info, "columns": 2}, "lacks columns, or has them otherwise"),
        (lambda info: {**info, "columns": ["spread"]}, "lacks columns, or has them otherwise"),
        (lambda info: {**info, "checksums": []}, "lacks checksums, or has them otherwise"),
        (lambda info: {**info, "created": 5}, "lacks created, or has them otherwise"),
    ],
    ids=[
        "a list", "foreign", "another member's", "a newer format", "no recipe", "null recipe", "half a recipe",
        "no objective", "value is text", "columns a number", "no main column", "checksums a list", "created a number",
    ],
)  # fmt: skip
def test_a_foreign_or_newer_member_is_refused_and_hides_no_other(member, tmp_path, vectors, change, message):
    info = replace(INFO, key="fcn-ffffffffffff")
    other = save_member(tmp_path, info, reference=vectors[0], test=vectors[1], weights={"w": np.ones(1)})
    path = member.folder / "member.json"
    write_json(path, change(json.loads(path.read_text())))
    with pytest.raises(StorageError, match=f"member.json {message}"):
        load_member(tmp_path, KEY)
    members, problems = list_members(tmp_path)
    assert members == [other]
    assert len(problems) == 1
    assert str(path) in problems[0]


@pytest.mark.parametrize(
    "key", ["", "fcn", "fcn-0123", "../x-0123456789ab", "fcn-0123456789AB", "fcn-0123456789ab/..", "."]
)
def test_a_key_cannot_lead_out_of_the_folder(tmp_path, key, vectors):
    for use in (has_member, load_member):
        with pytest.raises(StorageError, match=r"key must look like fcn-0123456789ab, not"):
            use(tmp_path, key)
    with pytest.raises(StorageError, match="key must look like"):
        save_member(tmp_path, replace(INFO, key=key), reference=vectors[0], test=vectors[1], weights={})
    assert list(tmp_path.iterdir()) == []


def test_members_are_listed_oldest_first_without_unfinished_ones(tmp_path, vectors):
    for second, key in ((3, "fcn-000000000003"), (1, "fcn-000000000001"), (2, "fcn-000000000002")):
        info = replace(INFO, key=key, created=f"2026-01-02T03:04:0{second}+00:00")
        save_member(tmp_path, info, reference=vectors[0], test=vectors[1], weights={"w": np.ones(1)})
    (tmp_path / "members" / ".fcn-000000000004.x.part").mkdir()
    (tmp_path / "members" / "a-file").write_text("not a folder")
    members, problems = list_members(tmp_path)
    assert [member.key[-1] for member in members] == ["1", "2", "3"]
    assert problems == []


def test_a_member_that_has_not_changed_is_read_once(member, monkeypatch):
    monkeypatch.setattr("ensemble_ad.members.store._SETTLED_NS", -(10**12))
    studies, path = member.folder.parents[1], member.folder / "member.json"
    first = load_member(studies, member.key)
    assert load_member(studies, member.key) is first
    path.write_text(path.read_text().replace('"created"', '"made"'))
    with pytest.raises(DamagedError, match="lacks created"):
        load_member(studies, member.key)


def test_no_members_where_there_is_no_folder(tmp_path):
    assert list_members(tmp_path / "none") == ([], [])


def test_a_member_of_other_images_than_its_data_sets_is_refused(member, vectors):
    n, k = len(vectors[0]["mean"]), len(vectors[1]["mean"])
    record = DataRecord(
        fingerprint="ab" * 16, ids=tuple(map(str, range(k))), n_train=n, n_reference=n, shape=(32, 32, 1), source=""
    )
    member.verify(record)
    for other in (replace(record, ids=record.ids[1:]), replace(record, n_reference=n - 1)):
        with pytest.raises(DamagedError, match=f"{KEY} has scores of {n} and {k} images, .* it is of another data set"):
            member.verify(other)


def test_a_pipe_in_a_members_folder_is_not_waited_for(member, tmp_path):
    for name, read in (("vectors.npz", "vectors"), ("weights.safetensors", "weights_path")):
        (member.folder / name).unlink()
        os.mkfifo(member.folder / name)
        with pytest.raises(StorageError, match=f"cannot read .*{name}"):
            getattr(member, read)()
    (member.folder / "member.json").unlink()
    os.mkfifo(member.folder / "member.json")
    with pytest.raises(StorageError, match="Not a regular file"):
        load_member(tmp_path, KEY)
