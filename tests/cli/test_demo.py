"""The demo: the whole job on real images by the commands that a user types."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

import ensemble_ad as ea
from ensemble_ad.data.digits import NORMAL_DIGITS, write_digits


def test_bundled_digits_are_real_in_kaggles_layout_and_split_by_class(tmp_path):
    write_digits(tmp_path)
    train, test = np.load(tmp_path / "trainingset.npy"), np.load(tmp_path / "testingset.npy")
    label = pd.read_csv(tmp_path / "labels.csv", index_col="ID")["label"].to_numpy()
    assert train.dtype == test.dtype == np.uint8
    assert train.shape[1:] == test.shape[1:] == (32, 32, 1)
    assert list(pd.read_csv(tmp_path / "sample_submission.csv")["ID"]) == list(range(len(test)))
    digits = load_digits()
    known = {image.tobytes(): digit for image, digit in zip(digits.images, digits.target, strict=True)}

    def digit(image):
        return known[(np.rint(image[::4, ::4, 0] * (16 / 255))).astype(float).tobytes()]

    assert {digit(image) for image in train} == set(NORMAL_DIGITS)
    np.testing.assert_array_equal(label == 0, [digit(image) in NORMAL_DIGITS for image in test])
    assert label.mean() == 0.5
    assert not {image.tobytes() for image in train} & {image.tobytes() for image in test}


@pytest.mark.slow
def test_the_demo_runs_the_whole_job_and_a_rerun_finds_it_done(run_ensad, tmp_path):
    # What the user has set for their own work must not change what the demo shows.
    (tmp_path / "ensad.toml").write_text("[tune]\nobjective = 'loss'\n")
    result = run_ensad("demo", ENSAD_STORAGE="nosuchdialect://nowhere")
    assert result.exit_code == 0, result.output
    shown = [line for line in result.stderr.splitlines() if line.startswith("$ ensad ")]
    steps = [line.split()[2] for line in shown]
    assert steps == ["data", "tune", "tune", "blend", "evaluate", "submit", "compare"]
    for promise in ("ensad tune --family fcn --trials 50", "ensad blend --members fcn,resnet", "ensad submit"):
        assert promise in result.stderr.split("done in")[1]
    table = ea.comparison(tmp_path / "ensad-demo" / "studies")
    assert set(table["family"]) == {"fcn", "resnet", "fcn+resnet"}
    blend = table[table["kind"] == "blend"].iloc[0]
    members = table[table["kind"] == "member"]
    assert blend["auc_low"] > 0.75
    assert blend["auc"] > members["auc"].median()
    (csv,) = (tmp_path / "ensad-demo" / "submissions").glob("*.csv")
    handed_in = pd.read_csv(csv)
    assert list(handed_in.columns) == ["ID", "score"]
    assert list(handed_in["ID"]) == list(range(540))
    assert csv.name in result.stdout
    again = run_ensad("demo", "--json")
    assert again.exit_code == 0
    document = json.loads(again.stdout)
    assert list(document["result"]) == ["data", "studies", "submissions", "steps"]
    assert [step["command"].split()[1] for step in document["result"]["steps"]] == steps
    assert document["result"]["steps"][4]["result"]["rows"][0]["auc"] == pytest.approx(table["auc"].max())
    assert "trial 0" not in again.stderr
    assert list(ea.comparison(tmp_path / "ensad-demo" / "studies").index) == list(table.index)
    assert len(list((tmp_path / "ensad-demo" / "submissions").glob("*.csv"))) == 2
