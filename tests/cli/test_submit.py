"""`ensad submit`: the CSV that is handed in, its ids, and the line to paste."""

import io

import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score


def test_the_submission_has_the_auc_that_evaluate_tells(run_ensad, data, studies):
    path = run_ensad("submit", "-q").stdout.strip()
    told = pd.read_csv(io.StringIO(run_ensad("evaluate", "-q").stdout), sep="\t", index_col="name")
    handed_in = pd.read_csv(path).merge(pd.read_csv(data / "labels.csv"), on="ID", validate="one_to_one")
    assert len(handed_in) == 120
    assert told.loc["both", "AUC"] == pytest.approx(roc_auc_score(handed_in["label"], handed_in["score"]), abs=5e-5)
    assert told["AUC"].is_monotonic_decreasing
    assert ((told["low"] <= told["AUC"]) & (told["AUC"] <= told["high"])).all()
    assert set(told.index) == {"both", *(folder.name for folder in (studies / "members").iterdir())}


def test_the_line_to_paste_quotes_what_a_shell_would_split(run_ensad, studies, tmp_path):
    result = run_ensad("submit", "--submissions", "my files")
    path = result.stdout.strip()
    assert f"-f '{path}' -m both\n" in result.stderr
    assert (tmp_path / path).exists()


def test_a_copied_studies_folder_is_enough_to_blend_and_hand_in(run_ensad, studies, tmp_path):
    assert not (tmp_path / "data").exists()
    assert run_ensad("blend", "--members", "resnet").exit_code == 0
    result = run_ensad("submit")
    assert "ids from the test images" in result.stderr
    assert pd.read_csv(result.stdout.strip())["ID"].tolist() == list(range(120))


def test_the_sample_submission_of_the_data_folder_decides_ids_and_order(run_ensad, data, studies):
    rows = (data / "sample_submission.csv").read_text().splitlines()
    (data / "sample_submission.csv").write_text("\n".join([rows[0], *rows[:0:-1]]))
    result = run_ensad("submit")
    assert "ids from data/sample_submission.csv" in result.stderr
    assert pd.read_csv(result.stdout.strip())["ID"].tolist() == list(range(119, -1, -1))


def test_two_submissions_are_two_files(run_ensad, studies, tmp_path):
    paths = {run_ensad("submit", "-q").stdout for _ in range(3)}
    assert len(paths) == len(list((tmp_path / "submissions").iterdir())) == 3
