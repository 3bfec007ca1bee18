"""The CSV that is handed in: its ids, its order, its checks, and that it never overwrites."""

import threading
from datetime import datetime

import numpy as np
import pandas as pd
import pytest

from ensemble_ad.errors import DataError, StorageError
from ensemble_ad.results.submission import write_submission

NOW = datetime(2026, 1, 2, 3, 4, 5)
IDS = [str(i) for i in range(120)]


@pytest.fixture
def scores(digits_folder):
    """A number an image of the digits' test set, float64 (120,)."""
    return np.load(digits_folder / "testingset.npy").mean(axis=(1, 2, 3))


@pytest.fixture
def write(tmp_path, scores):
    """Writes a submission of the digits; arguments replace the usual ones."""

    def call(*, name="both", scores=scores, ids=IDS, sample=None):
        return write_submission(tmp_path / "out", name, scores, ids, sample=sample, now=NOW)

    return call


def test_without_a_sample_the_ids_and_order_are_the_images(tmp_path, write, scores):
    path = write()
    assert path == tmp_path / "out" / "20260102-030405-both.csv"
    table = pd.read_csv(path)
    assert list(table.columns) == ["ID", "score"]
    assert table["ID"].tolist() == list(range(120))
    assert table["score"].tolist() == scores.tolist()


def test_ids_and_order_are_the_samples(tmp_path, write, scores):
    order = np.random.default_rng(0).permutation(120)
    sample = tmp_path / "sample.csv"
    sample.write_text("ID,score\n" + "".join(f"{i},0\n" for i in order))
    table = pd.read_csv(write(sample=sample))
    assert table["ID"].tolist() == order.tolist()
    assert table["score"].tolist() == scores[order].tolist()


def test_file_names_are_ids_too(tmp_path, write, scores):
    ids = [f'a "{i}", b.png' for i in IDS]
    table = pd.read_csv(write(ids=ids))
    assert table["ID"].tolist() == ids
    assert table["score"].tolist() == scores.tolist()


def test_scores_keep_all_their_digits(write):
    scores = np.linspace(0, 1, 120) / 3 + 1e-17
    _, *lines = write(scores=scores).read_text().splitlines()
    assert [float(line.split(",")[1]) for line in lines] == scores.tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: np.where(np.arange(120) == 3, np.nan, x), "must be a finite number, but 1 are not; blend again"),
        (lambda x: np.where(np.arange(120) < 3, np.inf, x), "must be a finite number, but 3 are not"),
        (lambda x: np.where(np.arange(120) < 2, -np.inf, x), "must be a finite number, but 2 are not"),
        (lambda x: x[:-1], "one score an image: 120, not 119"),
        (lambda x: np.append(x, 0), "one score an image: 120, not 121"),
        (lambda x: x * 0 + 0.5, r"every score is 0.5, which ranks nothing \(AUC 0.5\); blend other members"),
    ],
    ids=["nan", "inf", "-inf", "too few", "too many", "constant"],
)
def test_worthless_scores_are_refused_and_nothing_is_written(tmp_path, write, scores, change, message):
    with pytest.raises(DataError, match=message):
        write(scores=change(scores))
    assert not (tmp_path / "out").exists()


def test_a_single_image_need_not_differ_from_others(write, scores):
    assert write(scores=scores[:1], ids=IDS[:1]).read_text() == f"ID,score\n0,{float(scores[0])!r}\n"


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (IDS[:-1], "asks for 119 ids, but there are scores for 120 test images; use the test set that belongs to it"),
        ([*IDS, "120"], "asks for 121 ids"),
        ([*IDS[:-1], "x"], r"1 missing \('119'\) and 1 unknown \('x'\)"),
        ([*IDS[:-1], "0"], "must name each id once, but '0' comes again on line 121"),
    ],
    ids=["too few", "too many", "unknown", "repeated"],
)
def test_a_sample_of_other_ids_is_refused_and_nothing_is_written(tmp_path, write, ids, message):
    sample = tmp_path / "sample.csv"
    sample.write_text("ID,score\n" + "".join(f"{i},0\n" for i in ids))
    with pytest.raises(DataError, match=f"sample.csv .*{message}"):
        write(sample=sample)
    assert not (tmp_path / "out").exists()


def test_a_second_submission_of_the_same_second_gets_a_number(write, scores):
    paths = [write(), write(scores=-scores), write()]
    assert [path.name for path in paths] == [f"20260102-030405-both{suffix}.csv" for suffix in ("", "-2", "-3")]
    assert pd.read_csv(paths[0])["score"].tolist() == scores.tolist()
    assert pd.read_csv(paths[1])["score"].tolist() == (-scores).tolist()


def test_submissions_at_the_same_time_never_overwrite_each_other(tmp_path, write, scores):
    threads = [threading.Thread(target=write, kwargs={"scores": scores + i}) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    firsts = {pd.read_csv(path)["score"][0] for path in (tmp_path / "out").iterdir()}
    assert firsts == {scores[0] + i for i in range(6)}


def test_a_file_in_the_place_of_the_folder_is_one_clear_error(tmp_path, write):
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(StorageError, match=r"cannot write to .*out: File exists; look at that path"):
        write()
