"""A study whose process is killed, by SIGKILL, again and again, ends as one that was left alone."""

import multiprocessing
import random
import time
from typing import Any

import numpy as np
import optuna
import pytest
import sqlalchemy
from optuna.trial import TrialState

from ensemble_ad.data.dataset import load_dataset
from ensemble_ad.members.store import list_members, load_member
from ensemble_ad.search import lease, retries, workers
from ensemble_ad.search.plan import TuneSettings
from ensemble_ad.search.study import FINISHED
from ensemble_ad.search.workers import Task

KILLS = 20
_WORK = """
import torch
from ensemble_ad.training import checkpoint
from ensemble_ad.search import workers
torch.set_num_threads(1)
checkpoint.SECONDS_BETWEEN, checkpoint._SHARE = 0.0, 1e9
{first}
error = workers.work(task)
assert error is None, error
"""


@pytest.fixture(scope="module")
def processes():
    """Makes processes that have imported everything, so that a kill finds them at work."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ensemble_ad.search.workers"])

    def make(task, first=""):
        return context.Process(target=exec, args=(_WORK.format(first=first), {"task": task}), daemon=True)

    return make


@pytest.fixture
def task_in(digits_folder, tmp_path):
    fingerprint = load_dataset(digits_folder, image_cache=tmp_path / "images").fingerprint

    def make(studies, **changes):
        settings: dict[str, Any] = {
            "family": "fcn",
            "trials": 2,
            "epochs": 2,
            "objective": "separation",
            "device": "cpu",
            "seed": 3,
        }
        settings |= {"max_width": 128, "size": 16} | changes
        return Task(data=digits_folder, fingerprint=fingerprint, studies=studies, settings=TuneSettings(**settings))

    return make


def study_in(folder):
    storage = f"sqlite:///{folder / 'studies.db'}"
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage)


def finished(folder):
    return [t for t in study_in(folder).trials if t.state in FINISHED]


def done_in(folder):
    """How many trials are finished, also of a study that was not begun."""
    try:
        return len(finished(folder)) if (folder / "studies.db").exists() else 0
    except (ValueError, sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.OptunaError):
        return 0


def by_place(folder):
    return {t.user_attrs["place"]: t for t in finished(folder)}


def wait_for_a_checkpoint(process, folder):
    while not list(folder.glob("checkpoints/*.safetensors")):
        time.sleep(0.01)
        assert process.is_alive()


def run(processes, task):
    process = processes(task)
    process.start()
    process.join(120)
    assert process.exitcode == 0


@pytest.mark.slow
def test_a_study_killed_at_random_moments_ends_as_one_that_is_not(processes, task_in, tmp_path):
    wanted, moments, kills, in_vain, done = 24, random.Random(7), 0, 0, 0
    run(processes, task_in(tmp_path / "whole", trials=wanted, epochs=6))
    killed = task_in(tmp_path / "killed", trials=wanted, epochs=6)
    while kills < KILLS:
        process = processes(killed)
        process.start()
        # A trial that is killed ten times is given up, which another test is about: after five kills one waits for it.
        while in_vain == 5 and process.is_alive() and done_in(tmp_path / "killed") == done:
            process.join(0.05)
        # The first kills fall into the beginning of a process and of the study, the others anywhere.
        process.join(moments.uniform(0.0, 0.4 if kills < 4 else 1.2))
        if not process.is_alive() and process.exitcode == 0:
            pytest.fail(f"the study was finished after {kills} kills: it needs more trials")
        process.kill()
        process.join()
        kills += 1
        now = done_in(tmp_path / "killed")
        in_vain, done = (0 if now > done else in_vain + 1), now
    run(processes, killed)

    whole, parts = by_place(tmp_path / "whole"), by_place(tmp_path / "killed")
    assert len(finished(tmp_path / "killed")) == len(parts) == wanted
    states = {trial.state for trial in study_in(tmp_path / "killed").trials}
    assert not states & {TrialState.RUNNING, TrialState.WAITING}
    for place, trial in whole.items():
        assert parts[place].params == trial.params
        assert (parts[place].state, parts[place].values) == (trial.state, trial.values)
        assert parts[place].intermediate_values == trial.intermediate_values
    members, problems = list_members(tmp_path / "killed")
    assert problems == []
    assert {m.key for m in members} == {m.key for m in list_members(tmp_path / "whole")[0]}
    for member in members:
        expected = load_member(tmp_path / "whole", member.key)
        for got, wanted_vectors in zip(member.vectors(), expected.vectors(), strict=True):
            np.testing.assert_array_equal(got, wanted_vectors)
        member.weights_path()
    assert [path.name for path in (tmp_path / "killed" / "members").glob(".*")] == []
    assert list((tmp_path / "killed").glob("checkpoints/*")) == []


def test_a_killed_workers_trial_goes_on_from_its_checkpoint(processes, task_in, tmp_path):
    task = task_in(tmp_path, trials=1, epochs=60, prune=False)
    process = processes(task)
    process.start()
    wait_for_a_checkpoint(process, tmp_path)
    process.kill()
    process.join()
    (before,) = study_in(tmp_path).trials
    assert before.state == TrialState.RUNNING
    assert lease.is_over(tmp_path, before.user_attrs["worker"])
    run(processes, task)
    dead, again = study_in(tmp_path).trials
    assert (dead.state, again.state) == (TrialState.FAIL, TrialState.COMPLETE)
    assert again.params == before.params
    assert again.system_attrs["retry_history"] == [0]
    (member,) = list_members(tmp_path)[0]
    assert again.intermediate_values.keys() == {epoch.number for epoch in member.info.history}
    assert list((tmp_path / "checkpoints").iterdir()) == []
    assert [path.name for path in (tmp_path / "workers").iterdir()] == []


def test_two_workers_do_each_trial_once_and_no_more_than_were_asked_for(processes, task_in, tmp_path):
    task = task_in(tmp_path, trials=9)
    crew = [processes(task) for _ in range(3)]
    for process in crew:
        process.start()
    for process in crew:
        process.join(120)
        assert process.exitcode == 0
    trials = study_in(tmp_path).trials
    assert [t.state in FINISHED for t in trials] == [True] * 9
    assert sorted(t.user_attrs["place"] for t in trials) == list(range(9))
    assert len({t.user_attrs["key"] for t in trials}) == 9
    assert len({t.user_attrs["worker"] for t in trials}) > 1


def test_a_worker_takes_over_what_another_leaves_at_the_end(processes, task_in, tmp_path):
    task = task_in(tmp_path, trials=1, epochs=80, prune=False)
    first, second = processes(task), processes(task)
    first.start()
    wait_for_a_checkpoint(first, tmp_path)
    second.start()
    time.sleep(0.5)
    assert second.is_alive()
    first.kill()
    second.join(120)
    assert second.exitcode == 0
    assert len(finished(tmp_path)) == 1


def test_what_kills_its_process_every_time_is_given_up(task_in, tmp_path, monkeypatch):
    task = task_in(tmp_path, trials=1, epochs=1)
    monkeypatch.setattr(retries, "MOST_KILLS", 2)

    class Killed(BaseException):
        """Ends a worker as a kill does: nothing is told to the study."""

    def die(*args, **kwargs):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("ensemble_ad.search.worker.fit_member", die)
        for _ in range(3):
            with pytest.raises(Killed):
                workers.work(task)
    assert workers.work(task) is None
    trials = study_in(tmp_path).trials
    assert [t.state.name for t in trials] == ["FAIL", "FAIL", "FAIL", "COMPLETE"]
    assert trials[0].params == trials[1].params == trials[2].params != trials[3].params
