"""`ensad tune`: what is said of a study, and what it needs."""

import json
import subprocess
import sys

import pytest

import ensemble_ad as ea


@pytest.mark.slow
def test_a_study_that_reads_labels_says_so_in_every_row_that_used_them(run_ensad, data, studies):
    command = "tune --family fcn --trials 1 --epochs 1 --max-width 128 --labels data/labels.csv -q"
    key = run_ensad(*command.split()).stdout.strip()
    run_ensad("blend", "--members", key, "--name", "informed")
    labels = ea.comparison("studies")["labels_used"]
    assert labels[key].startswith("labels.csv:")
    assert labels["informed"] == labels[key]
    assert labels.drop([key, "informed"]).eq("none").all()


@pytest.mark.slow
def test_a_study_is_silent_too_if_asked_to(tmp_path, data, studies):
    command = "tune --family fcn --trials 1 --epochs 1 --max-width 128 --device cpu -q"
    code = "from ensemble_ad.cli import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", code, *command.split()], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    # Warnings are said all the same.
    assert "warning: only 100 images could be held out, and 150 are advised: " in result.stderr
    assert all(line.startswith("warning: ") for line in result.stderr.splitlines())
    assert result.stdout.startswith("fcn-")


def test_neither_a_study_nor_its_blend_needs_test_images(data, run_ensad):
    (data / "testingset.npy").unlink()
    result = run_ensad("tune", "--family", "fcn", "--trials", 2, "--epochs", 2, "--max-width", 128)
    assert result.exit_code == 0, result.output
    assert "pseudo-anomalies decide alone" in result.stderr
    result = run_ensad("blend", "--members", "fcn")
    assert result.exit_code == 0
    assert "Method prior" in result.stderr
    result = run_ensad("compare")
    assert result.exit_code == 0
    assert result.stdout.count("fcn-") == 3


def test_several_families_are_tuned_one_after_the_other(data, run_ensad):
    line = "tune --family pca,inpaint --trials 1 --size 16 --device cpu"
    result = run_ensad(*line.split())
    assert result.exit_code == 0, result.output
    assert [key.partition("-")[0] for key in result.stdout.split()] == ["pca", "inpaint"]
    assert "next: ensad blend --members pca,inpaint" in result.stderr
    studies = json.loads(run_ensad(*line.split(), "--json").stdout)["result"]["studies"]
    assert [study["key"] for study in studies] == result.stdout.split()


def test_a_family_that_is_not_known_is_refused_before_any_trains(data, run_ensad, tmp_path):
    result = run_ensad("tune", "--family", "pca,gan", "--trials", 1)
    assert result.exit_code == 2
    assert "unknown family 'gan'" in result.stderr
    assert not list((tmp_path / "studies").glob("members/*"))
