"""The sample submission decides what a submission looks like: header, columns, their order, ids and theirs."""

import csv
import re
from datetime import datetime

import numpy as np
import pytest

from ensemble_ad.errors import DataError, UsageError
from ensemble_ad.files.sample import read_sample, sample_ids
from ensemble_ad.results.submission import write_submission

IDS = ["a.png", "b.png", "c.png"]


@pytest.fixture
def submitted(tmp_path):
    """The rows of the submission of the scores 0, 1, 2 by a sample's text."""

    def call(text, column=None, ids=IDS):
        (tmp_path / "sample.csv").write_text(text, encoding="utf-8")
        now = datetime(2026, 1, 2)
        scores = np.arange(len(ids)) / 1.0
        path = write_submission(tmp_path, "x", scores, ids, sample=tmp_path / "sample.csv", now=now, column=column)
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.reader(file))

    return call


@pytest.mark.parametrize(
    ("header", "column"),
    [
        ("Id,Score", None),
        ("Id,Predicted", None),
        ("ID,score", None),
        ("image_id,target", None),
        ("filename,anomaly", None),
        ("id,label", "label"),
        ("Id,Predicted", "predicted"),
        ("Id, Score", None),
        ('"the id","the score, of all"', None),
    ],
)
def test_the_header_is_the_samples(submitted, header, column):
    rows = submitted(f"{header}\nc.png,0\na.png,0\nb.png,0\n", column)
    assert rows[0] == next(csv.reader([header]))
    assert rows[1:] == [["c.png", "2.0"], ["a.png", "0.0"], ["b.png", "1.0"]]


@pytest.mark.parametrize(
    ("text", "column", "at"),
    [
        ("Id,Score,Usage\nb.png,0,Public\na.png,0,Private\nc.png,0,\n", None, 1),
        ("Usage,Id,Score\nPublic,b.png,0\nPrivate,a.png,0\n,c.png,0\n", None, 2),
        ("Predicted,Id,Usage\n0.5,b.png,Public\n0.5,a.png,Private\n0.5,c.png,x\n", None, 0),
        ("id,p,q\nb.png,7,8\na.png,9,10\nc.png,11,12\n", "q", 2),
        ("id,p,P\nb.png,7,8\na.png,9,10\nc.png,11,12\n", "P", 2),
        ("row,image,score\n0,b.png,0\n1,a.png,0\n2,c.png,0\n", None, 2),
    ],
)
def test_other_columns_and_the_order_are_kept(submitted, text, column, at):
    given = list(csv.reader(text.splitlines()))
    rows = submitted(text, column)
    assert rows[0] == given[0]
    scores = {"a.png": "0.0", "b.png": "1.0", "c.png": "2.0"}
    for row, was in zip(rows[1:], given[1:], strict=True):
        name = next(cell for cell in was if cell in scores)
        assert row == [*was[:at], scores[name], *was[at + 1 :]]


def test_numbers_are_ids_in_whichever_column_holds_them_all(submitted):
    rows = submitted("score,number\n0,2\n0,1\n0,0\n", ids=["0", "1", "2"])
    assert rows == [["score", "number"], ["2.0", "2"], ["1.0", "1"], ["0.0", "0"]]
    # A column of the same cells is not taken for the ids where another is called so.
    rows = submitted("row,ID,score\n0,2,0\n1,1,0\n2,0,0\n", ids=["0", "1", "2"])
    assert rows[1:] == [["0", "2", "2.0"], ["1", "1", "1.0"], ["2", "0", "0.0"]]


@pytest.mark.parametrize(
    ("text", "column", "error", "message"),
    [
        (
            "Id,p,q\na.png,0,0\nb.png,0,0\nc.png,0,0\n",
            None,
            DataError,
            "is the score's (p, q); name it",
        ),
        ("Id,p\na.png,0\nb.png,0\nc.png,0\n", "q", UsageError, "--column must be one of p, the columns of"),
        ("Id,p\na.png,0\nb.png,0\nc.png,0\n", "Id", UsageError, "--column must be one of p,"),
        ("Id,p,p\na.png,0,0\nb.png,0,0\nc.png,0,0\n", "p", UsageError, "'p' is there more than once"),
        ("Id,Score,score\na.png,0,0\nb.png,0,0\nc.png,0,0\n", None, DataError, "it is not clear"),
        ("Id\na.png\nb.png\nc.png\n", None, DataError, "but has one, 'Id'"),
        ("Id;Score\na.png;0\nb.png;0\nc.png;0\n", None, DataError, "but has one, 'Id;Score'"),
        ("Id,Score\na.png,0\nb.png,0\n", None, DataError, "asks for 2 ids"),
        ("Id,Score\na.png,0\nb.png,0\nx.png,0\n", None, DataError, "1 missing ('c.png') and 1 unknown ('x.png')"),
        ("Id,Score\na.png,0\nb.png,0\nb.png,0\n", None, DataError, "'b.png' comes again on line 4"),
        ("Id,Score\na.png,0\nb.png\nc.png,0\n", None, DataError, "line 3 must have 2 cells, but has 1"),
        ("Id,Score,note\na.png,0,=1+1\nb.png,0,\nc.png,0,\n", None, DataError, "has '=1+1'; rename it"),
        ("Id,=Score\na.png,0\nb.png,0\nc.png,0\n", None, DataError, "has '=Score'"),
        ("", None, DataError, "but is empty"),
    ],
)
def test_a_sample_that_is_not_clear_is_refused(submitted, tmp_path, text, column, error, message):
    with pytest.raises(error, match=re.escape(message)):
        submitted(text, column)
    assert [path.name for path in tmp_path.iterdir()] == ["sample.csv"]


def test_without_a_sample_the_column_has_the_name_that_was_given(tmp_path):
    path = write_submission(
        tmp_path, "x", np.arange(3) / 1.0, IDS, sample=None, now=datetime(2026, 1, 2), column="Predicted"
    )
    assert path.read_text().splitlines()[:2] == ["ID,Predicted", "a.png,0.0"]
    for column in ("", "id", "=1", "a\nb"):
        with pytest.raises(UsageError, match="--column must be a name other than ID"):
            write_submission(
                tmp_path, "x", np.arange(3) / 1.0, IDS, sample=None, now=datetime(2026, 1, 2), column=column
            )


def test_the_ids_of_a_sample_do_not_ask_for_the_scores_column(tmp_path):
    (tmp_path / "sample.csv").write_text("Id,p,q\nc.png,0,0\nb.png,0,0\na.png,0,0\n")
    assert sample_ids(tmp_path / "sample.csv", IDS) == ["c.png", "b.png", "a.png"]
    with pytest.raises(DataError, match="not clear"):
        read_sample(tmp_path / "sample.csv", IDS, None)
