"""`ensad blend --test`: unlabelled images that came after the models are taken into account, and nothing is trained."""

import io
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from sklearn.metrics import roc_auc_score

import ensemble_ad as ea
from ensemble_ad.blend.columns import stacked
from ensemble_ad.blend.saved import load_blend
from ensemble_ad.cli import main
from ensemble_ad.detect import networks
from ensemble_ad.members.store import load_member
from ensemble_ad.training.load import load_model

TEST = ("--test", "data/testingset.npy")


def _scores(run_ensad, *arguments):
    result = run_ensad("score", "data/testingset.npy", "-q", *arguments)
    assert result.exit_code == 0, result.output
    return pd.read_csv(io.StringIO(result.stdout))["score"].to_numpy()


@pytest.fixture(scope="module")
def blind_studies(digits_folder, tmp_path_factory):
    """Two members of pca that never saw a test image; for reading only."""
    folder = tmp_path_factory.mktemp("blind") / "studies"
    command = f"tune --family pca --trials 2 --no-look --data {digits_folder} --studies {folder}"
    assert CliRunner().invoke(main, command.split(), catch_exceptions=False).exit_code == 0
    return folder


@pytest.fixture
def later(run_ensad, data, tmp_path, blind_studies):
    """The blend `moved` of two members of pca and the test images that they never saw."""
    shutil.copytree(blind_studies, tmp_path / "studies")
    result = run_ensad("blend", "--name", "moved", *TEST)
    assert result.exit_code == 0, result.output
    assert "next: ensad score data/testingset.npy --blend moved, or ensad report" in result.stderr
    return load_blend(tmp_path / "studies", "moved")


def test_the_blend_is_that_of_members_that_had_seen_them(run_ensad, data, tmp_path, later):
    members = [load_member(tmp_path / "studies", key) for key in later.info.members]
    assert all(len(member.vectors()[1]) == 0 for member in members)
    found = stacked(list(later.weights), members, later.later())
    wanted = ea.blend_scores(found.reference, found.test, pseudo=found.pseudo)
    np.testing.assert_allclose(later.scores(), wanted.scores)
    assert wanted.separation is not None
    assert later.info.separation.value == pytest.approx(wanted.separation.value)
    np.testing.assert_allclose(_scores(run_ensad, "--blend", "moved"), later.scores())


def test_what_follows_a_blend_follows_this_one(run_ensad, data, tmp_path, later):
    handed_in = run_ensad("submit", "-q")
    assert handed_in.exit_code == 0, handed_in.output
    np.testing.assert_allclose(pd.read_csv(tmp_path / handed_in.stdout.strip())["score"], later.scores())
    judged = run_ensad("evaluate", "--labels", "data/labels.csv", "--json", "-q")
    auc = {row["name"]: row["auc"] for row in json.loads(judged.stdout)["result"]["rows"]}["moved"]
    assert auc == pytest.approx(roc_auc_score(pd.read_csv(data / "labels.csv")["label"], later.scores()))
    assert run_ensad("compare").exit_code == 0
    reported = run_ensad("report")
    assert reported.exit_code == 0, reported.output
    assert run_ensad("export", "moved", "-o", "moved.zip").exit_code == 0
    imported = run_ensad("import", "moved.zip", "--studies", "away")
    assert imported.exit_code == 0, imported.output
    away = _scores(run_ensad, "--alarm-rate", "0.1", "--studies", "away")
    np.testing.assert_array_equal(away, _scores(run_ensad, "--alarm-rate", "0.1"))


def test_what_was_scored_is_kept_and_what_is_damaged_is_scored_again(run_ensad, data, tmp_path, later, monkeypatch):
    kept = sorted((tmp_path / "studies" / "batches").glob("*/*.npz"))
    assert [path.stem for path in kept] == sorted(later.info.members)
    before = kept[0].read_bytes()
    kept[0].write_bytes(before[:-100])  # as a full disk or a copy that broke off leaves it
    loaded = []

    def load(member, device):
        loaded.append(member.key)
        return load_model(member, device)

    monkeypatch.setattr(networks, "load_model", load)
    again = run_ensad("blend", "--name", "again", *TEST)
    assert again.exit_code == 0, again.output
    assert loaded == [kept[0].stem]
    np.testing.assert_array_equal(load_blend(tmp_path / "studies", "again").scores(), later.scores())
    images = np.load(data / "testingset.npy")
    images[0, 0, 0] ^= 1
    np.save(data / "testingset.npy", images)
    assert run_ensad("blend", "--name", "changed", *TEST).exit_code == 0
    assert len(loaded) == 3
    assert load_blend(tmp_path / "studies", "changed").info.batch != later.info.batch


def test_what_cannot_be_taken_into_account_is_refused(run_ensad, data, studies, images, tmp_path, blind_studies):
    saw = run_ensad("blend", *TEST)
    assert "--test blends members that never saw test images, and all 4 have scores of them" in saw.stderr
    both = run_ensad("blend", "--no-look", *TEST)
    assert (both.exit_code, "give one of them" in both.stderr) == (2, True)
    shutil.copytree(blind_studies, tmp_path / "studies", dirs_exist_ok=True)
    np.save(tmp_path / "small.npy", images[:, :16, :16])
    small = run_ensad("blend", "--test", "small.npy")
    assert (small.exit_code, "must be 32x32 pixels" in small.stderr) == (3, True)
    missing = run_ensad("blend", "--test", "nowhere")
    assert (missing.exit_code, "nowhere does not exist" in missing.stderr) == (3, True)
