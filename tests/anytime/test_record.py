"""What is kept of a run."""

import json

import pytest

from ensemble_ad.anytime.record import Done, RunRecord
from ensemble_ad.errors import StorageError, UsageError
from ensemble_ad.layout import run_file

DATA = "ab" * 16
DONE = (Done(family="fcn", gain=0.2, seconds=9.0),)
RECORD = RunRecord(data=DATA, used=12.5, curve=((3.0, 0.7),), done=DONE, before={"fcn": 2})


def test_a_record_is_read_as_it_was_written(tmp_path):
    RECORD.save(tmp_path, "run")
    assert RunRecord.load(tmp_path, "run", DATA) == RECORD


def test_a_run_on_other_images_is_not_replaced(tmp_path):
    RECORD.save(tmp_path, "run")
    with pytest.raises(UsageError, match="'run' is taken by a run on other images; choose another with --name"):
        RunRecord.load(tmp_path, "run", "cd" * 16)
    assert RunRecord.load(tmp_path, "other", "cd" * 16) == RunRecord(data="cd" * 16)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2}, {"used": -1}, {"used": "x"}, {"curve": [[1]]}, {"curve": [[1, "x"]]}, {"data": "../x"},
        {"done": [{"family": "../x", "gain": 0, "seconds": 0}]}, {"done": [{"family": "fcn"}]}, {"done": 3},
        {"before": None}, {"before": {"../x": 1}}, {"before": {"fcn": -1}},
    ],
)  # fmt: skip
def test_what_is_no_record_is_refused_by_name(tmp_path, change):
    RECORD.save(tmp_path, "run")
    path = run_file(tmp_path, "run")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(StorageError, match=r"runs/run\.json is not a run"):
        RunRecord.load(tmp_path, "run", DATA)


def test_a_name_that_leads_elsewhere_is_refused(tmp_path):
    with pytest.raises(UsageError, match="name must be letters"):
        RECORD.save(tmp_path, "../run")
