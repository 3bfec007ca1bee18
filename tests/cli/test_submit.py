"""`ensad submit`: the CSV that is handed in, its ids, and the line to paste."""

import io
import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
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
    assert len(paths) == len(list((tmp_path / "submissions").glob("*.csv"))) == 3


def test_the_samples_header_and_its_other_columns_are_kept(run_ensad, data, studies):
    rows = [f"{i},0,{'Public' if i % 2 else 'Private'}" for i in range(120)]
    (data / "sample_submission.csv").write_text("\n".join(["Id,Predicted,Usage", *rows]))
    table = pd.read_csv(run_ensad("submit", "-q").stdout.strip())
    assert list(table.columns) == ["Id", "Predicted", "Usage"]
    assert table["Usage"].tolist() == ["Private", "Public"] * 60
    (data / "sample_submission.csv").write_text("\n".join(["Id,p,q", *(f"{i},0,0" for i in range(120))]))
    result = run_ensad("submit")
    assert (result.exit_code, "name it with --column" in result.stderr) == (3, True)
    assert list(pd.read_csv(run_ensad("submit", "-q", "--column", "q").stdout.strip()).columns) == ["Id", "p", "q"]
    assert run_ensad("submit", "--column", "r").exit_code == 2
    assert "120 ids, 0 to 119" in run_ensad("data", "check").output


def test_pictures_in_folders_get_no_line_for_kaggle(run_ensad, data, studies, tmp_path):
    assert "kaggle competitions submit -c ml2022spring-hw8" in run_ensad("submit").stderr
    assert "kaggle competitions submit -c mine" in run_ensad("submit", "--competition", "mine").stderr
    for name, array in (("train", "trainingset.npy"), ("test", "testingset.npy")):
        (data / name).mkdir()
        for row, image in enumerate(np.load(data / array)[:60]):
            Image.fromarray(image[..., 0]).save(data / name / f"{row:03}.png")
        (data / array).unlink()
    (data / "sample_submission.csv").unlink()
    run_ensad("train", "--preset", "pca-10")
    run_ensad("blend", "--members", "pca")
    assert "kaggle" not in run_ensad("submit").stderr
    assert json.loads(run_ensad("submit", "--json", "-q").stdout)["result"]["paste"] is None
    assert "kaggle competitions submit -c mine" in run_ensad("submit", "--competition", "mine").stderr
