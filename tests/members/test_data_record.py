"""The record of a data set: what is written comes back, and what is none is refused by its path."""

import pytest

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
