"""`--no-look`: nothing before `ensad submit` reads a test image."""

import io

import numpy as np
import pandas as pd
import pytest

from ensemble_ad.data import dataset
from ensemble_ad.data.dataset import TEST
from ensemble_ad.results import same_images


@pytest.fixture
def unread(monkeypatch):
    """Makes reading test images raise, until the returned function is called."""
    real, allowed = dataset.open_images, []

    def open_images(data, names, image_cache):
        assert allowed or names != TEST, "a test image was read"
        return real(data, names, image_cache)

    for module in (dataset, same_images):  # the second has it by its own name
        monkeypatch.setattr(module, "open_images", open_images)
    return lambda: allowed.append(True)


def test_no_test_image_is_read_before_submit(run_ensad, data, tmp_path, unread):
    tuned = run_ensad("tune", "--family", "pca", "--trials", "2", "--no-look")
    assert tuned.exit_code == 0, tuned.output
    assert "pseudo-anomalies decide alone" in tuned.stderr
    assert "next: ensad blend --members pca --no-look" in tuned.stderr
    blended = run_ensad("blend", "--no-look", "--name", "blind")
    assert blended.exit_code == 0, blended.output
    assert "Method prior" in blended.stderr
    assert "No test image was looked at" in blended.stderr
    assert run_ensad("compare").exit_code == 0
    judged = run_ensad("evaluate")
    assert judged.exit_code != 0
    assert "made without test images" in judged.stderr
    assert "made without test images" in run_ensad("report").stderr
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
    assert run_ensad("tune", "--family", "pca", "--trials", "1").exit_code == 0
    assert run_ensad("blend").exit_code == 0
    result = run_ensad("submit")
    assert result.exit_code != 0
    assert "was made without test images, and data has none to score" in result.stderr


def test_members_that_saw_the_test_images_are_refused(run_ensad, studies):
    result = run_ensad("blend", "--no-look")
    assert result.exit_code != 0
    assert "--no-look blends members that never saw the test images, and all 4 have scores of them" in result.stderr


def test_a_blind_blend_travels(run_ensad, data, tmp_path):
    assert run_ensad("tune", "--family", "pca", "--trials", "1", "--no-look").exit_code == 0
    assert run_ensad("blend", "--no-look", "--name", "blind").exit_code == 0
    assert run_ensad("export", "blind", "-o", "blind.zip").exit_code == 0
    imported = run_ensad("import", "blind.zip", "--studies", "away")
    assert imported.exit_code == 0, imported.output
    scored = [run_ensad("score", data / "testingset.npy", "-q", "--studies", at).stdout for at in ("studies", "away")]
    here, away = scored
    assert here == away
