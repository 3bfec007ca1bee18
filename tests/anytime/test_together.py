"""Runs beside other processes: workers of its own, another run in the same folder, another machine."""

import json

import pytest
from filelock import FileLock

from ensemble_ad.data.dataset import load_dataset
from ensemble_ad.layout import preprocessed_folder, run_lock, worker_lock
from ensemble_ad.members.store import list_members
from ensemble_ad.search.lease import lease
from ensemble_ad.search.plan import Plan, TuneSettings

PCA = ("--families", "pca", "--device", "cpu")


def _result(command):
    assert command.exit_code == 0, command.output
    return json.loads(command.stdout)["result"]


def test_a_second_machine_blends_what_the_first_has_made(data, run_ensad, tmp_path):
    shared = ("--storage", f"sqlite:///{tmp_path / 'shared.db'}", "--artifacts", f"file://{tmp_path / 'store'}")
    one = _result(run_ensad("run", "--trials", 2, *PCA, *shared, "--studies", "one", "--json"))
    two = _result(run_ensad("run", "--trials", 1, *PCA, *shared, "--studies", "two", "--json"))
    assert len(two["trials"]) == 1
    made = {member.key for member in list_members(tmp_path / "two")[0]}
    assert len(made) == 3
    assert {name.partition("/")[0] for name in one["weights"]} < made
    assert {name.partition("/")[0] for name in two["weights"]} == made
    assert not (tmp_path / "two/studies.db").exists()


@pytest.mark.slow
def test_workers_of_a_run_train_a_trial_each(data, run_ensad, tmp_path):
    made = _result(run_ensad("run", "--trials", 3, *PCA, "--workers", 2, "--json"))
    assert [trial["family"] for trial in made["trials"]] == ["pca"] * 3
    assert len(list_members(tmp_path / "studies")[0]) == 3
    alone = _result(run_ensad("run", "--trials", 3, *PCA, "--studies", "alone", "--json"))
    assert alone["weights"].keys() == made["weights"].keys(), "places and seeds are the same"


def test_a_run_that_is_under_way_is_not_begun_again(data, run_ensad, tmp_path):
    path = run_lock(tmp_path / "studies", "run")
    path.parent.mkdir(parents=True)
    with FileLock(path):
        second = run_ensad("run", "--trials", 1, *PCA)
        assert second.exit_code == 2
        assert "the run 'run' is under way in another process" in second.stderr
        beside = run_ensad("run", "--trials", 1, *PCA, "--name", "beside")
        assert beside.exit_code == 0, beside.output


def test_a_family_that_another_process_trains_is_left_to_it(data, run_ensad, tmp_path):
    studies = tmp_path / "studies"
    dataset = load_dataset(data, image_cache=preprocessed_folder(studies))
    plan = Plan(dataset, TuneSettings(family="inpaint", device="cpu"))
    line = ("run", "--trials", 1, "--families", "pca,inpaint", "--device", "cpu", "--json")
    with lease(studies) as worker:
        shared = plan.open_study(studies, worker)
        assert shared.next_trial(1) is not None
        assert [trial["family"] for trial in _result(run_ensad(*line))["trials"]] == ["pca"]
    worker_lock(studies, worker).touch()  # a worker that is killed leaves it
    made = _result(run_ensad(*line, "--name", "later"))
    assert [trial["family"] for trial in made["trials"]] == ["inpaint"]
