"""The demo: the whole job on real images by the commands that a user types."""

import json

import pandas as pd
import pytest

import ensemble_ad as ea


@pytest.mark.slow
def test_the_demo_runs_the_whole_job_and_a_rerun_finds_it_done(run_ensad, tmp_path):
    # What the user has set for their own work must not change what the demo shows.
    (tmp_path / "ensad.toml").write_text("[tune]\nobjective = 'loss'\n")
    result = run_ensad("demo", ENSAD_STORAGE="nosuchdialect://nowhere")
    assert result.exit_code == 0, result.output
    shown = [line for line in result.stderr.splitlines() if line.startswith("$ ensad ")]
    steps = [line.split()[2] for line in shown]
    assert steps == ["data", "run", "evaluate", "compare"]
    assert "ensad run --time 30m\n" in result.stderr.split("done in")[1]
    table = ea.comparison(tmp_path / "ensad-demo" / "studies")
    assert set(table["family"]) == {"fcn", "inpaint", "pca", "fcn+inpaint+pca"}
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
    assert document["result"]["steps"][2]["result"]["rows"][0]["auc"] == pytest.approx(table["auc"].max())
    assert "trial 0" not in again.stderr
    assert list(ea.comparison(tmp_path / "ensad-demo" / "studies").index) == list(table.index)
    assert len(list((tmp_path / "ensad-demo" / "submissions").glob("*.csv"))) == 2


def test_the_demo_leaves_data_and_studies_of_ones_own_alone(run_ensad, data, studies, tmp_path):
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    result = run_ensad("demo", "--only-data", "--out", ".")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: data/")
    assert result.stderr.endswith("is left alone; name another folder with --out\n")
    result = run_ensad("demo", "--out", ".")
    assert result.exit_code == 2
    assert result.stderr == (
        "Error: studies holds members of other images than the demo's; name another folder with --out\n"
    )
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_only_the_data_may_be_written_again(run_ensad, tmp_path):
    for _ in range(2):
        result = run_ensad("demo", "--only-data", "--out", ".")
        assert result.exit_code == 0
        assert result.stdout == "data\n"
