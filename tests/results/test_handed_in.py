"""What was handed in, and what came back."""

import json

import pytest

from ensemble_ad.errors import StorageError, UsageError
from ensemble_ad.results.handed_in import HandedIn, handed_in, note_submission


@pytest.fixture
def csv(tmp_path):
    path = tmp_path / "20261125-120000-run.csv"
    path.write_text("ID,score\n0,0.5\n")
    return path


def test_what_is_noted_adds_up(csv):
    note_submission(csv, blend="run", separation=0.75)
    note_submission(csv, public=0.84)
    note_submission(csv, note="with contrast")
    noted = HandedIn(blend="run", separation=0.75, note="with contrast", public=0.84)
    assert handed_in(csv.parent) == {csv.name: noted}


def test_files_that_nothing_is_known_of_are_listed(csv):
    assert handed_in(csv.parent) == {csv.name: HandedIn()}
    assert handed_in(csv.parent / "nowhere") == {}


@pytest.mark.parametrize("what", [{"note": "two\nlines"}, {"public": float("nan")}, {"note": "x" * 1001}])
def test_what_cannot_be_kept_is_refused(csv, what):
    with pytest.raises(UsageError, match="a note must be one line"):
        note_submission(csv, **what)
    assert handed_in(csv.parent) == {csv.name: HandedIn()}


def test_a_submission_that_is_not_there_is_refused(csv):
    with pytest.raises(UsageError, match=r"no submission other\.csv .* there are 20261125-120000-run\.csv"):
        note_submission(csv.with_name("other.csv"), public=0.5)


@pytest.mark.parametrize(
    "value", [{}, {"format": 2, "submissions": {}}, {"format": 1, "submissions": {"a.csv": {"public": "high"}}}]
)
def test_a_damaged_record_is_named(csv, value):
    (csv.parent / "handed_in.json").write_text(json.dumps(value))
    with pytest.raises(StorageError, match=r"handed_in\.json is"):
        handed_in(csv.parent)
