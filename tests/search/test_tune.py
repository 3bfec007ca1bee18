"""Studies: resumed, pruned, cached, interrupted, failing."""

import gc
import os
import signal
import sqlite3
import sys
from dataclasses import replace

import numpy as np
import optuna
import pytest
import sqlalchemy

from ensemble_ad.data.dataset import load_dataset
from ensemble_ad.errors import DivergedError, EnsadError, Interrupted, StorageError, UsageError
from ensemble_ad.members.store import list_members, load_member
from ensemble_ad.search import lease, study, worker
from ensemble_ad.search.plan import Plan, TuneSettings
from ensemble_ad.search.signals import like_ctrl_c
from ensemble_ad.search.storage import open_storage
from ensemble_ad.search.tune import tune
from ensemble_ad.training import checkpoint, make_member


class Log:
    """Remembers what it is told."""

    def __init__(self, on_epoch=None):
        self.states, self.notes, self.epochs = [], [], 0
        self.on_epoch = on_epoch

    def study(self, name, finished, wanted):
        self.name, self.finished_before = name, finished

    def epoch(self, trial, epoch, epochs, judgement):
        self.epochs += 1
        if self.on_epoch is not None:
            self.on_epoch(self.epochs)

    def trial(self, number, state, value, best, note):
        self.states.append(state)
        self.notes.append(note)


def run(dataset, studies, log=None, **changes):
    settings = {"family": "fcn", "trials": 2, "epochs": 2, "objective": "separation", "device": "cpu", "max_width": 128}
    log = log or Log()
    return tune(dataset, TuneSettings(**{**settings, **changes}), studies=studies, watcher=log), log


def test_every_finished_trial_is_a_member_and_the_best_is_the_studys(dataset, tmp_path):
    result, log = run(dataset, tmp_path, trials=3, prune=False)
    members, problems = list_members(tmp_path)
    assert problems == []
    assert log.states == ["complete"] * 3
    assert len(members) == result.finished == 3
    assert result.best.value == max(m.value for m in members)
    assert {m.info.trial.study for m in members} == {log.name}


class Deaf:
    """Interrupts where Python drops it."""

    def __del__(self):
        signal.raise_signal(signal.SIGTERM)


def test_an_interrupt_that_python_drops_ends_the_study_all_the_same(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "unraisablehook", lambda dropped: None)
    log = Log(on_epoch=lambda number: Deaf() and None)
    with like_ctrl_c(), pytest.raises(Interrupted):
        run(dataset, tmp_path, log, trials=1, epochs=3)
    assert log.epochs == 1
    run(dataset, tmp_path, trials=1, epochs=3)  # and nothing is left of it


def test_an_interrupt_that_python_drops_before_a_training_ends_the_study_before_it(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "unraisablehook", lambda dropped: None)
    recipe = Plan.recipe
    monkeypatch.setattr(Plan, "recipe", lambda *given: (Deaf() and None) or recipe(*given))
    log = Log()
    with like_ctrl_c(), pytest.raises(Interrupted):
        run(dataset, tmp_path, log, trials=1, epochs=3)
    assert log.epochs == 0


def test_an_interrupt_amid_a_read_leaves_the_database_to_what_is_written_next(dataset, tmp_path, monkeypatch):
    opened = sqlalchemy.engine.CursorResult._init_metadata

    def interrupted(*result):
        monkeypatch.setattr(sqlalchemy.engine.CursorResult, "_init_metadata", opened)
        raise KeyboardInterrupt

    def read(number):
        monkeypatch.setattr(sqlalchemy.engine.CursorResult, "_init_metadata", interrupted)

    gc.disable()  # or else the cursor may go in time by luck
    try:
        with pytest.raises(Interrupted):
            run(dataset, tmp_path, Log(on_epoch=read), trials=1, epochs=2)
    finally:
        gc.enable()


def test_a_rerun_tops_up_and_a_finished_study_runs_nothing(dataset, tmp_path):
    run(dataset, tmp_path, trials=2)
    topped, log = run(dataset, tmp_path, trials=3)
    assert (log.finished_before, len(log.states), topped.finished) == (2, 1, 3)
    _, idle = run(dataset, tmp_path, trials=3)
    assert idle.states == []


def test_a_resumed_study_draws_new_parameters(dataset, tmp_path):
    run(dataset, tmp_path, trials=3, epochs=1)
    run(dataset, tmp_path, trials=5, epochs=1)
    rates = [m.info.recipe.json["training"]["weight_decay"] for m in list_members(tmp_path)[0]]
    assert len(set(rates)) == len(rates) == 5


def test_members_outlive_their_study_and_are_found_in_the_cache(dataset, tmp_path):
    first, _ = run(dataset, tmp_path)
    (tmp_path / "studies.db").unlink()
    again, log = run(dataset, tmp_path)
    assert log.states == ["cached", "cached"]
    assert log.epochs == 0
    assert again.best.key == first.best.key
    trials = optuna.load_study(study_name=log.name, storage=f"sqlite:///{tmp_path / 'studies.db'}").trials
    # The pruner compares later trials with theirs.
    for trial in trials:
        history = load_member(tmp_path, trial.user_attrs["member"]).info.history
        assert trial.intermediate_values == {epoch.number: epoch.value for epoch in history}
        assert len(history) == 2


@pytest.mark.parametrize(
    "change",
    [{"epochs": 1}, {"objective": "loss"}, {"subset": 30}, {"size": 16}, {"max_width": 256}, {"flips": True}],
)
def test_settings_whose_values_do_not_compare_are_another_study(dataset, tmp_path, change):
    _, log = run(dataset, tmp_path, trials=1)
    _, other = run(dataset, tmp_path, trials=1, **change)
    assert other.name != log.name
    assert other.finished_before == 0


def sizes_of(studies):
    members = sorted(list_members(studies)[0], key=lambda member: member.info.trial.number)
    return [member.info.recipe.json["preprocess"]["size"] for member in members]


def test_a_study_begins_with_small_sizes_and_tries_larger_ones_after(digits_folder, tmp_path):
    images = np.load(digits_folder / "trainingset.npy")[..., :1]
    (tmp_path / "data").mkdir()
    for name, some in (("trainingset.npy", images), ("testingset.npy", images[:60])):
        np.save(tmp_path / "data" / name, some.repeat(2, axis=1).repeat(2, axis=2))
    large = load_dataset(tmp_path / "data", image_cache=tmp_path)
    run(large, tmp_path / "searched", trials=7, epochs=1, prune=False)
    assert sizes_of(tmp_path / "searched")[:2] == [[32, 32]] * 2
    assert sorted(sizes_of(tmp_path / "searched")[2:5]) == [[16, 16], [24, 24], [32, 32]]
    assert sizes_of(tmp_path / "searched")[5:] == [[48, 48], [64, 64]]
    run(large, tmp_path / "pinned", trials=1, epochs=1, size=48)
    assert sizes_of(tmp_path / "pinned") == [[48, 48]]
    # Pixels of a smaller image are easier to rebuild, so that losses do not compare.
    run(large, tmp_path / "loss", trials=1, epochs=1, objective="loss")
    assert sizes_of(tmp_path / "loss") == [[large.side, large.side]]


def test_few_images_are_shown_several_times_an_epoch(dataset, tmp_path):
    run(dataset, tmp_path, trials=1)
    (member,) = list_members(tmp_path)[0]
    assert member.info.recipe.json["training"]["passes"] == 4
    assert member.info.recipe.json["training"]["batch_size"] == 8


def test_ctrl_c_keeps_what_is_finished_and_queues_the_running_trial(dataset, tmp_path):
    def interrupt(epochs):
        if epochs == 3:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match=r"1 finished trials .* are kept"):
        run(dataset, tmp_path, Log(interrupt), trials=3, prune=False)
    storage = f"sqlite:///{tmp_path / 'studies.db'}"
    (name,) = optuna.get_all_study_names(storage)
    lost = optuna.load_study(study_name=name, storage=storage).trials[1].params
    result, _ = run(dataset, tmp_path, trials=3, prune=False)
    trials = optuna.load_study(study_name=name, storage=storage).trials
    assert result.finished == 3
    redone = [t for t in trials if t.state == optuna.trial.TrialState.COMPLETE and t.params == lost]
    assert len(redone) == 1


@pytest.mark.parametrize("when", ["asking", "begun"])
def test_ctrl_c_between_two_trials_leaves_none_running(dataset, tmp_path, monkeypatch, when):
    real = study.SharedStudy.next_trial
    trials = []

    def interrupted(self, wanted):
        trials.append(real(self, wanted) if when == "begun" or not trials else None)
        if len(trials) == 2:
            raise KeyboardInterrupt
        return trials[-1]

    with monkeypatch.context() as patch:
        patch.setattr(study.SharedStudy, "next_trial", interrupted)
        with pytest.raises(Interrupted, match=r"1 finished trials .* are kept"):
            run(dataset, tmp_path, trials=3, prune=False)
    (only,) = studies_of(tmp_path).values()
    assert "RUNNING" not in {trial.state.name for trial in only.trials}
    result, _ = run(dataset, tmp_path, trials=3, prune=False)
    assert result.finished == 3


def test_ctrl_c_keeps_the_checkpoint_and_the_next_run_goes_on_from_it(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr(checkpoint, "_SHARE", 1e9)
    whole, _ = run(dataset, tmp_path / "whole", trials=1, epochs=6, prune=False)
    last = len(whole.best.info.history)
    seen = []

    class Epochs(Log):
        def epoch(self, trial, epoch, epochs, judgement):
            seen.append(epoch.number)
            if len(seen) == 3:
                raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="will be gone on with"):
        run(dataset, tmp_path, Epochs(), trials=1, epochs=6, prune=False)
    assert len(list((tmp_path / "checkpoints").iterdir())) == 1
    run(dataset, tmp_path, Epochs(), trials=1, epochs=6, prune=False)
    assert seen == [1, 2, 3, *range(3, last + 1)]
    (only,) = studies_of(tmp_path).values()
    assert list(only.trials[-1].intermediate_values) == list(range(1, last + 1))
    assert list((tmp_path / "checkpoints").iterdir()) == []
    assert list((tmp_path / "workers").iterdir()) == []


def test_a_trial_that_diverges_is_recorded_and_the_study_goes_on(dataset, tmp_path, monkeypatch):
    real, calls = make_member.fit_member, []

    def diverges_once(*args, **kwargs):
        calls.append(1)
        if len(calls) == 1:
            # What the real loop raises; test_train shows it raised by a real divergence.
            raise DivergedError("the training loss became nan in epoch 1; lower the learning rate")
        return real(*args, **kwargs)

    monkeypatch.setattr(worker, "fit_member", diverges_once)
    result, log = run(dataset, tmp_path, trials=1)
    assert log.states == ["failed", "complete"]
    assert (result.finished, result.failed) == (1, 1)
    storage = f"sqlite:///{tmp_path / 'studies.db'}"
    failed = optuna.load_study(study_name=log.name, storage=storage).trials[0]
    assert "lower the learning rate" in failed.user_attrs["reason"]


def test_ten_failures_in_a_row_stop_a_study_with_the_reason(dataset, tmp_path, monkeypatch):
    def always(*args, **kwargs):
        raise RuntimeError("CUDA error: out of order")

    monkeypatch.setattr(worker, "fit_member", always)
    log = Log()
    with pytest.raises(EnsadError, match=r"10 trials in a row failed.*out of order"):
        run(dataset, tmp_path, log, trials=1)
    assert log.states == ["failed"] * 10


@pytest.mark.slow
def test_trials_that_fall_behind_are_pruned(dataset, tmp_path):
    result, log = run(dataset, tmp_path, trials=14, epochs=5)
    assert result.finished == 14
    assert result.pruned == log.states.count("pruned") > 0
    assert len(list_members(tmp_path)[0]) == 14 - result.pruned
    _, patient = run(dataset, tmp_path / "other", trials=8, epochs=5, prune=False)
    assert "pruned" not in patient.states


def test_a_timeout_starts_no_new_trial(dataset, tmp_path):
    result, log = run(dataset, tmp_path, trials=50, timeout=0.0)
    assert (log.states, result.finished, result.best) == ([], 0, None)


def test_an_unusable_storage_is_one_error_that_keeps_the_password(dataset, tmp_path):
    with pytest.raises(StorageError) as caught:
        run(dataset, tmp_path, storage="nosuchdialect://user:secret@nowhere/db")
    assert "secret" not in str(caught.value)
    assert "--storage" in str(caught.value)


def test_a_damaged_studies_db_is_named(dataset, tmp_path):
    (tmp_path / "studies.db").write_bytes(b"not a database" * 100)
    with pytest.raises(StorageError, match=r"studies\.db"):
        run(dataset, tmp_path)


def test_any_optuna_storage_url_can_hold_the_study(dataset, tmp_path):
    url = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    _, log = run(dataset, tmp_path / "studies", trials=1, storage=url)
    assert not (tmp_path / "studies" / "studies.db").exists()
    with sqlite3.connect(tmp_path / "elsewhere.db") as connection:
        assert connection.execute("select study_name from studies").fetchall() == [(log.name,)]
    connection.close()


def test_a_family_that_cannot_take_the_size_is_refused_at_once(dataset, tmp_path):
    with pytest.raises(UsageError, match="multiples of 32"):
        run(dataset, tmp_path, family="resnet", size=48)
    assert not (tmp_path / "studies.db").exists()


def test_too_few_images_are_refused_before_a_study_exists(dataset, tmp_path):
    with pytest.raises(UsageError, match="--subset must be 20 or more"):
        run(dataset, tmp_path, subset=5)
    assert not (tmp_path / "studies.db").exists()


def test_a_storage_that_fails_leaves_no_trial_running(dataset, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise StorageError("cannot write studies/members: no space is left; free some space")

    monkeypatch.setattr(worker, "fit_member", full)
    with pytest.raises(StorageError, match="no space is left"):
        run(dataset, tmp_path)
    storage = f"sqlite:///{tmp_path / 'studies.db'}"
    (name,) = optuna.get_all_study_names(storage)
    (trial,) = optuna.load_study(study_name=name, storage=storage).trials[:1]
    assert trial.state == optuna.trial.TrialState.FAIL
    assert "no space" in trial.user_attrs["stopped"]
    monkeypatch.undo()
    result, _ = run(dataset, tmp_path)
    trials = optuna.load_study(study_name=name, storage=storage).trials
    assert (result.finished, result.failed) == (2, 0)
    assert trials[1].params == trial.params


@pytest.mark.parametrize(
    ("values", "noise"), [((0.70, 0.695, 0.69), True), ((0.70, 0.68, 0.6), False), ((0.70,), False)], ids=str
)
def test_a_spread_within_the_standard_error_is_noise(dataset, tmp_path, values, noise):
    result, _ = run(dataset, tmp_path, trials=1)
    objective = replace(result.best.info.objective, value=values[0], standard_error=0.01)
    best = replace(result.best, info=replace(result.best.info, objective=objective))
    assert replace(result, best=best, values=values).is_noise == noise


def test_a_small_reference_is_told(dataset, tmp_path):
    result, _ = run(dataset, tmp_path, trials=1)
    assert result.reference_rows == 100


def studies_of(folder):
    url = f"sqlite:///{folder / 'studies.db'}"
    return {name: optuna.load_study(study_name=name, storage=url) for name in optuna.get_all_study_names(url)}


def test_auto_judges_all_trials_by_the_auc_that_is_believed(dataset, tmp_path):
    result, _ = run(dataset, tmp_path, objective="auto", trials=3)
    (only,) = studies_of(tmp_path).values()
    members = {member.key: member for member in list_members(tmp_path)[0]}
    assert [trial.values for trial in only.trials] == [[members[t.user_attrs["member"]].value] for t in only.trials]
    assert {member.info.objective.name for member in members.values()} == {result.objective} == {"auto"}
    (believed,) = {member.info.objectives.believed for member in members.values()}
    assert believed.share > 0
    assert 0 < believed.weight < 1
    again, idle = run(dataset, tmp_path, objective="auto", trials=3)
    assert (idle.states, again.best.key) == ([], result.best.key)


def test_another_share_of_anomalies_is_another_study_and_other_members(dataset, tmp_path):
    few, _ = run(dataset, tmp_path, objective="auto", trials=1, anomaly_share=0.01)
    many, _ = run(dataset, tmp_path, objective="auto", trials=1, anomaly_share=0.5)
    assert few.study != many.study
    assert few.best.key != many.best.key
    weights = [each.best.info.objectives.believed.weight for each in (few, many)]
    assert weights[0] < 0.05 < weights[1]


def test_without_test_images_auto_is_in_the_order_of_synthetic(dataset, tmp_path):
    alone = replace(dataset, test=replace(dataset.test, images=dataset.test.images[:0], ids=()))
    result, _ = run(alone, tmp_path, objective="auto", trials=3, prune=False)
    members = list_members(tmp_path)[0]
    assert result.best.info.objectives.believed.weight == 0
    assert result.best.key == max(members, key=lambda member: member.info.objectives.synthetic.value).key


@pytest.mark.parametrize("objective", ["synthetic", "auto", "consensus"])
def test_every_objective_runs_a_study_and_can_be_resumed(dataset, tmp_path, objective):
    run(dataset, tmp_path, objective=objective, trials=2)
    result, log = run(dataset, tmp_path, objective=objective, trials=3)
    assert (len(log.states), result.finished, result.objective) == (1, 3, objective)
    assert result.best.info.objective.name == objective


def test_a_transductive_family_has_to_be_allowed(dataset, tmp_path):
    with pytest.raises(UsageError, match="--transductive"):
        run(dataset, tmp_path, family="contrast", max_width=8)
    assert not (tmp_path / "studies.db").exists()
    result, _ = run(dataset, tmp_path, family="contrast", max_width=8, transductive=True, objective="auto", trials=1)
    assert result.objective == "separation"
    assert result.best.info.transductive is True


def test_an_objective_that_does_not_suit_the_family_is_refused_at_once(dataset, tmp_path):
    with pytest.raises(UsageError, match="synthetic says nothing of contrast"):
        run(dataset, tmp_path, family="contrast", max_width=8, transductive=True, objective="synthetic")
    assert not (tmp_path / "studies.db").exists()


def test_a_study_of_the_same_name_that_another_program_made_is_refused(dataset, tmp_path):
    _, log = run(dataset, tmp_path / "one", trials=1)
    backend = open_storage(tmp_path / "two", None).backend
    optuna.create_study(study_name=log.name, storage=backend, directions=["minimize", "minimize"])
    with pytest.raises(StorageError, match="another program has made it"):
        run(dataset, tmp_path / "two", trials=1)


def test_a_stray_file_among_the_workers_leases_stops_nothing(dataset, tmp_path):
    stray = tmp_path / "workers" / f"{lease._host()}.not a worker.lock"
    stray.parent.mkdir()
    stray.touch()
    os.utime(stray, (0, 0))
    run(dataset, tmp_path, trials=1)
    assert list(stray.parent.iterdir()) == [stray]
