"""How `ensad run` ends at odd moments, and what it says then."""

import json
import time

from ensemble_ad.anytime.blender import Blender
from ensemble_ad.cli import _folders
from ensemble_ad.search import worker

LINE = ("run", "--trials", 2, "--families", "pca", "--device", "cpu")


def _stopped(*args, **kwargs):
    raise KeyboardInterrupt


def test_a_run_that_is_stopped_while_it_reads_says_so(data, run_ensad, monkeypatch):
    monkeypatch.setattr(_folders, "dataset", _stopped)
    result = run_ensad(*LINE)
    assert result.exit_code == 130
    assert "interrupted before anything was trained" in result.stderr


def test_a_run_that_is_stopped_in_its_first_trial_has_nothing(data, run_ensad, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(worker, "fit_member", _stopped)
        result = run_ensad(*LINE, "--json")
    assert result.exit_code == 130
    document = json.loads(result.stdout)
    assert (document["ok"], document["result"]["name"]) == (False, None)
    assert "there is nothing to hand in" in document["error"]["message"]
    assert not (data.parent / "submissions").exists()
    result = run_ensad(*LINE)
    assert result.exit_code == 0, "the same command goes on"


def test_a_run_that_is_stopped_while_it_blends_keeps_a_blend(data, run_ensad, monkeypatch):
    made, make = [], Blender.make

    def stopped(self):
        made.append(self)
        return _stopped() if len(made) == 4 else make(self)  # the last one, after one at first and one a trial

    with monkeypatch.context() as patch:
        patch.setattr(Blender, "make", stopped)
        result = run_ensad(*LINE, "--json")
    assert result.exit_code == 130, result.output
    assert len(list((data.parent / "submissions").glob("*-run.csv"))) == 1
    weights = json.loads(result.stdout)["result"]["weights"]
    assert len(weights) >= 1
    with monkeypatch.context() as patch:
        patch.setattr(Blender, "make", _stopped)
        again = run_ensad(*LINE, "--json")
    assert json.loads(again.stdout)["result"]["weights"] == weights, "the blend of the command before stays"


def test_reading_that_takes_longer_than_the_time_is_ended(data, run_ensad, monkeypatch):
    monkeypatch.setattr(_folders, "dataset", lambda *args, **kwargs: time.sleep(60))
    started = time.monotonic()
    result = run_ensad("run", "--time", "1s")
    assert time.monotonic() - started < 11
    assert result.exit_code == 2
    assert "--time must be more than it takes to read and check the images" in result.stderr


def test_a_time_without_a_model_says_what_to_type(data, run_ensad, monkeypatch):
    monkeypatch.setattr(worker, "fit_member", lambda *args, **kwargs: time.sleep(60))
    result = run_ensad("run", "--time", "2s", "--families", "pca", "--device", "cpu", "--seed", 1)
    assert result.exit_code == 0, result.output
    assert "no model was finished, so there is nothing to hand in" in result.stderr
    assert "next: ensad run --time 60s --families pca --seed 1 --device cpu\n" in result.stderr


def test_what_labels_have_judged_is_marked(data, run_ensad):
    line = ("run", "--trials", 1, "--families", "pca", "--device", "cpu", "--labels", "data/labels.csv")
    result = run_ensad(*line)
    assert result.exit_code == 0, result.output
    assert " by labels\t" in result.stdout
    assert "warning: labels were used: members were judged by labels.csv:" in result.stderr
    document = json.loads(run_ensad(*line, "--json").stdout)["result"]
    assert document["labels_used"].startswith("labels.csv:")
    assert [family["by_labels"] for family in document["families"]] == [True]
    assert "labels.csv" in run_ensad("compare").stdout
    refused = run_ensad(*line, "--no-look")
    assert refused.exit_code == 2
    assert "--no-look leaves unread" in refused.stderr


def test_the_three_commands_work_in_a_fresh_folder(data, run_ensad):
    tuned = run_ensad("tune", "--family", "fcn", "--trials", 2)  # 50 on the page
    assert tuned.exit_code == 0, tuned.output
    blended = run_ensad("blend", "--members", "fcn,resnet")
    assert blended.exit_code == 0, blended.output
    assert "resnet has no member yet and is left out; `ensad tune --family resnet` makes some" in blended.stderr
    handed_in = run_ensad("submit")
    assert handed_in.exit_code == 0, handed_in.output
    assert (data.parent / handed_in.stdout.strip()).read_text().count("\n") == 121
