"""`--no-look`: nothing before `ensad submit` reads a test image."""

import io
import re

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from ensemble_ad.data import dataset
from ensemble_ad.data.dataset import TEST
from ensemble_ad.results import same_images


@pytest.fixture
def unread(monkeypatch):
    """Makes reading test images raise, until the returned function is called."""
    real, allowed = dataset.open_images, []

    def open_images(data, names, *more):
        assert allowed or names != TEST, "a test image was read"
        return real(data, names, *more)

    for module in (dataset, same_images):  # the second has it by its own name
        monkeypatch.setattr(module, "open_images", open_images)
    return lambda: allowed.append(True)


def test_no_test_image_is_read_before_submit(run_ensad, data, tmp_path, unread):
    tuned = run_ensad("tune", "--family", "pca", "--trials", "2", "--no-look")
    assert tuned.exit_code == 0, tuned.output
    assert "next: ensad blend --members pca --no-look" in tuned.stderr
    blended = run_ensad("blend", "--no-look", "--name", "blind")
    assert blended.exit_code == 0, blended.output
    assert "Method prior" in blended.stderr
    assert "No test image was looked at" in blended.stderr
    assert run_ensad("compare").exit_code == 0
    judged = run_ensad("evaluate")
    assert judged.exit_code != 0
    assert "blind was made without test images" in judged.stderr
    assert "`ensad evaluate --labels FILE` scores the test images in data now" in judged.stderr
    reported = run_ensad("report")
    assert reported.exit_code == 0, reported.output
    assert "next: ensad score IMAGES --blend blind" in reported.stderr
    unread()
    handed_in = run_ensad("submit", "-q")
    assert handed_in.exit_code == 0, handed_in.output
    table = pd.read_csv(tmp_path / handed_in.stdout.strip())
    assert len(table) == len(np.load(data / "testingset.npy"))
    scored = run_ensad("score", data / "testingset.npy", "-q")
    wanted = pd.read_csv(io.StringIO(scored.stdout))
    np.testing.assert_allclose(table["score"], wanted["score"], rtol=1e-6)


def test_without_test_images_submit_says_what_is_missing(run_ensad, data):
    (data / "testingset.npy").unlink()
    checked = run_ensad("data", "check")
    assert checked.exit_code == 0, checked.output
    assert "no test images: models are judged and weighted by images that are damaged on purpose" in checked.stdout
    assert "100 training images are held out: ensad score takes alarm rates from 0.0099 up" in checked.stdout
    tuned = run_ensad("tune", "--family", "pca", "--trials", "1")
    assert "without test images, pseudo-anomalies decide alone" in tuned.stderr
    blended = run_ensad("blend", "--name", "prior")
    assert "on kinds of pseudo-anomaly that it was not weighted by, it is 0." in blended.stderr
    assert "by 100 held-out ones (95%): at --alarm-rate 0.01 0.00025 to 0.036" in blended.stderr
    assert "next: ensad score IMAGES --blend prior, or ensad blend --test FOLDER" in blended.stderr
    shown = run_ensad("compare").stdout.splitlines()
    assert (shown[0].split()[5], shown[1].split()[0]) == ("value", "prior")
    assert all(re.search(r" 0\.\d{3} ", line) for line in shown[1:3])
    result = run_ensad("submit")
    assert result.exit_code != 0
    assert "was made without test images, and data has none to score" in result.stderr


def test_evaluate_scores_what_the_blend_has_not_seen(run_ensad, data):
    assert run_ensad("tune", "--family", "pca", "--trials", "2", "--no-look").exit_code == 0
    assert run_ensad("blend", "--no-look", "--name", "blind").exit_code == 0
    judged = run_ensad("evaluate", "--labels", "data/labels.csv", "-q")
    assert judged.exit_code == 0, judged.output
    table = pd.read_csv(io.StringIO(judged.stdout), sep="\t", index_col="name")
    label = pd.read_csv(data / "labels.csv")["label"]
    scored = pd.read_csv(io.StringIO(run_ensad("score", data / "testingset.npy", "-q").stdout))
    assert table.loc["blind", "AUC"] == pytest.approx(roc_auc_score(label, scored["score"]), abs=1e-4)
    assert len(table) == 3  # the blend and its members
    compared = pd.read_csv(io.StringIO(run_ensad("compare", "--format", "csv").stdout), index_col="name")
    assert compared.loc["blind", "auc"] == pytest.approx(table.loc["blind", "AUC"], abs=1e-4)
    assert compared["separation"].isna().all()


def test_evaluate_says_what_is_missing_where_there_are_no_test_images(run_ensad, data):
    (data / "testingset.npy").unlink()
    assert run_ensad("tune", "--family", "pca", "--trials", "1").exit_code == 0
    unblended = run_ensad("evaluate", "--labels", "data/labels.csv")
    assert "only blends score them later; run `ensad blend`" in unblended.stderr
    assert run_ensad("blend").exit_code == 0
    result = run_ensad("evaluate", "--labels", "data/labels.csv")
    assert (result.exit_code, "data has none to score; put them into testingset.npy" in result.stderr) == (3, True)
    audited = run_ensad("audit", "--labels", "data/labels.csv")
    assert "no choices by them to hold against labels" in audited.stderr


def test_members_that_saw_the_test_images_are_refused(run_ensad, studies):
    result = run_ensad("blend", "--no-look")
    assert result.exit_code != 0
    assert "--no-look blends members that never saw test images, and all 4 have scores of them" in result.stderr


def test_blind_ones_stand_beside_the_others_in_the_table(run_ensad, data, studies):
    assert run_ensad("tune", "--family", "pca", "--trials", "2", "--no-look").exit_code == 0
    assert run_ensad("blend", "--no-look", "--name", "blind").exit_code == 0
    shown = run_ensad("compare")
    assert shown.exit_code == 0, shown.output
    lines = {line.split()[0]: line for line in shown.stdout.splitlines()[1:]}
    assert re.fullmatch(r"blind +prior of 2 +-( +-)* +none", lines["blind"])
    assert re.search(r" 0\.\d{3} ", lines["both"])
    order = [name for name in lines if name == "blind" or name.startswith("pca-")]
    table = pd.read_csv(io.StringIO(run_ensad("compare", "--format", "csv").stdout), index_col="name")
    assert order[0] == "blind"  # after all that have a separation, and before its members, the best first
    assert [*lines][: len(lines) - 3] == [name for name in lines if name not in order]
    assert table.loc[order[1:], "value"].is_monotonic_decreasing
    for options in (("--anomaly-share", "0.5"), ("--blend", "both"), ("--format", "markdown")):
        assert run_ensad("compare", *options).exit_code == 0


def test_a_blind_blend_travels(run_ensad, data, tmp_path):
    assert run_ensad("tune", "--family", "pca", "--trials", "1", "--no-look").exit_code == 0
    assert run_ensad("blend", "--no-look", "--name", "blind").exit_code == 0
    assert run_ensad("export", "blind", "-o", "blind.zip").exit_code == 0
    imported = run_ensad("import", "blind.zip", "--studies", "away")
    assert imported.exit_code == 0, imported.output
    scored = [run_ensad("score", data / "testingset.npy", "-q", "--studies", at).stdout for at in ("studies", "away")]
    here, away = scored
    assert here == away
