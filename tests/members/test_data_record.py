"""The record of a data set: what is written comes back, and what is none is refused by its path."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from ensemble_ad.data.dataset import load_dataset
from ensemble_ad.errors import StorageError
from ensemble_ad.files.json_file import read_json, write_json
from ensemble_ad.members.data_record import DataRecord, load_data_record, save_data_record

RECORD = DataRecord(
    fingerprint="ab" * 16, ids=("0", "b/1.png"), n_train=7, n_reference=3, shape=(64, 64, 3), source="data"
)


def test_a_data_record_comes_back(tmp_path):
    save_data_record(tmp_path, RECORD)
    assert load_data_record(tmp_path, RECORD.fingerprint) == RECORD


@pytest.mark.parametrize(
    "change",
    [
        lambda value: [], lambda value: {}, lambda value: {**value, "ids": None}, lambda value: "text",
        lambda value: {**value, "format": 2}, lambda value: {**value, "fingerprint": "cd" * 16},
    ],
    ids=["a list", "empty", "no ids", "text", "a newer format", "another's"],
)  # fmt: skip
def test_a_foreign_data_record_is_refused(tmp_path, change):
    save_data_record(tmp_path, RECORD)
    path = tmp_path / "data" / f"{RECORD.fingerprint}.json"
    write_json(path, change(read_json(path)))
    with pytest.raises(
        StorageError, match=rf"{RECORD.fingerprint}.json is not the record of a data set.*; run the study"
    ):
        load_data_record(tmp_path, RECORD.fingerprint)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"shape": [4000, 4000, 3]}, "shape cannot be"),
        ({"shape": [64, 32, 3]}, "shape cannot be"),
        ({"shape": [64, 64, 2]}, "shape cannot be"),
        ({"shape": [64.0, 64.0, 3]}, "shape cannot be"),
        ({"shape": [8, 8, 1]}, "shape cannot be"),
        ({"shape": [64, 64]}, "shape cannot be"),
        ({"n_train": -1}, "n_train cannot be"),
        ({"n_train": True}, "n_train cannot be"),
        ({"n_train": 1 << 60}, "n_train cannot be"),
        ({"n_reference": 8}, "it holds out more images than it has"),
        ({"ids": ["a", "a"]}, "its ids are not distinct names"),
        ({"ids": ["a", 5]}, "ids cannot be"),
        ({"ids": ["a\nb"]}, "ids cannot be"),
        ({"ids": ["x" * 4097]}, "ids cannot be"),
        ({"source": "x" * 4097}, "source cannot be"),
        ({"source": None}, "source cannot be"),
        ({"fingerprint": "../../x"}, "fingerprint cannot be"),
        ({"train": "ab" * 16, "test": "cd" * 16}, "its fingerprints do not belong together"),
        ({"seen": {"darkest": "black"}}, "what training images look like"),
    ],
    ids=str,
)
def test_a_part_that_cannot_be_is_refused_by_name(tmp_path, change, said):
    save_data_record(tmp_path, RECORD)
    path = tmp_path / "data" / f"{RECORD.fingerprint}.json"
    write_json(path, {**read_json(path), **change})
    with pytest.raises(StorageError, match=rf"{path.name} is not the record of a data set \({said}"):
        load_data_record(tmp_path, RECORD.fingerprint)


def test_what_is_too_large_to_be_read_is_not_written(tmp_path):
    ids = [f"{number}/" + "x" * 4000 for number in range(20_000)]
    with pytest.raises(StorageError, match="must have 67108864 bytes at most, and would have 80"):
        save_data_record(tmp_path, replace(RECORD, ids=tuple(ids)))
    assert list(tmp_path.rglob("*.json")) == []
    large = replace(RECORD, ids=tuple(ids[:16_000]))
    save_data_record(tmp_path, large)
    assert load_data_record(tmp_path, RECORD.fingerprint) == large


def test_a_folder_whose_name_is_no_text_is_noted_as_it_can_be(digits_folder, tmp_path):
    data = Path(os.fsdecode(os.fsencode(tmp_path) + b"/data-\xff"))
    shutil.copytree(digits_folder, data)
    record = DataRecord.of(load_dataset(data, image_cache=tmp_path))
    save_data_record(tmp_path, record)
    assert load_data_record(tmp_path, record.fingerprint) == record
    assert record.source.endswith("data-\\udcff")
