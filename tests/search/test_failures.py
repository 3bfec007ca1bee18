"""Trials that fail: recorded with their reason, listed by `ensad compare --failed`, and no study ends for one."""

import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
import torch

from ensemble_ad.errors import DivergedError, EnsadError, Interrupted, StorageError
from ensemble_ad.search import retries, worker
from ensemble_ad.search.failures import COLUMNS, failures
from ensemble_ad.search.plan import TuneSettings
from ensemble_ad.search.tune import tune
from ensemble_ad.training import make_member

SETTINGS: dict[str, Any] = {
    "family": "fcn",
    "trials": 1,
    "epochs": 1,
    "objective": "separation",
    "device": "cpu",
    "max_width": 128,
}


class Log:
    """Remembers what it is told."""

    def __init__(self):
        self.states, self.notes = [], []

    def study(self, name, finished, wanted):
        self.name = name

    def epoch(self, trial, epoch, epochs, judgement):
        pass

    def trial(self, number, state, value, best, note):
        self.states.append(state)
        self.notes.append(note)


@pytest.fixture
def run(dataset, tmp_path, monkeypatch):
    """Runs a study in which the first trials meet `errors`, one each; gives what the watcher was told."""
    real = make_member.fit_member

    def call(*errors, **changes):
        left, log = list(errors), Log()

        def fit(*args, **kwargs):
            if left:
                raise left.pop(0)
            return real(*args, **kwargs)

        monkeypatch.setattr(worker, "fit_member", fit)
        settings = TuneSettings(**{**SETTINGS, **changes})
        tune(dataset, settings, studies=tmp_path / "studies", watcher=log)
        return log

    return call


ERRORS = {
    # What the real loop raises; test_train shows it raised by a real divergence.
    "NaN loss": DivergedError("the training loss became nan in epoch 1;\nlower the learning rate"),
    "out of GPU memory": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
    "out of memory": MemoryError("Unable to allocate 4.00 TiB"),
    "a key that lacks": KeyError("encoder"),
    "a division": ZeroDivisionError("division by zero"),
    "no words": AssertionError(),
}


def test_a_trial_that_fails_is_recorded_and_listed_and_the_study_goes_on(run, run_ensad):
    log = run(*ERRORS.values())
    assert log.states == ["failed"] * len(ERRORS) + ["complete"]
    table = failures(Path("studies"))
    assert table["trial"].tolist() == list(range(len(ERRORS)))
    assert set(table["what"]) == {"failed"}
    assert set(table["study"]) == {log.name}
    for reason, error in zip(table["reason"], ERRORS.values(), strict=True):
        assert reason == f"{type(error).__name__}: {' '.join(str(error).split())}".strip()
    assert table["parameters"].str.contains("learning_rate=").all()
    result = run_ensad("compare", "--failed")
    assert result.exit_code == 0
    header, *lines = result.stdout.splitlines()
    assert header.split() == ["study", "trial", "what", "reason"]
    assert len(lines) == len(ERRORS)
    assert lines[1].split(maxsplit=3) == [log.name, "1", "failed", table["reason"][1]]
    assert "fcn-" in run_ensad("compare").stdout


@pytest.mark.parametrize("kind", ["csv", "json", "parquet", "markdown"])
def test_the_list_comes_in_every_format(run, run_ensad, tmp_path, kind):
    run(ValueError("=cmd|' /C calc'!A0 | x"))
    assert run_ensad("compare", "--failed", "--format", kind, "-o", "out").exit_code == 0
    text = (tmp_path / "out").read_bytes()
    if kind == "markdown":
        assert text.decode().splitlines()[2].count("|") == 5
        return
    table = {
        "csv": lambda: pd.read_csv(io.BytesIO(text)),
        "json": lambda: pd.DataFrame(json.loads(text)),
        "parquet": lambda: pd.read_parquet(tmp_path / "out").reset_index(),
    }[kind]()
    assert list(table.columns) == list(COLUMNS)
    assert table["reason"].tolist() == ["ValueError: =cmd|' /C calc'!A0 | x"]
    assert pd.to_datetime(table["ended"])[0].year > 2020


def test_a_trial_that_a_full_disk_stopped_is_listed_until_done_again(run, run_ensad):
    for error in (StorageError("cannot write x: no space is left"), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))):
        with pytest.raises((StorageError, OSError)):
            run(error)
        (line,) = run_ensad("compare", "--failed").stdout.splitlines()[1:]
        assert " stopped  " in line
        assert "o space" in line
    run()
    result = run_ensad("compare", "--failed")
    assert (result.stdout.count("\n"), result.stderr.splitlines()[0]) == (1, "no trial has failed")


def test_an_interrupted_trial_has_not_failed_and_one_that_kills_has(run, run_ensad, monkeypatch):
    with pytest.raises(Interrupted):
        run(KeyboardInterrupt())
    assert run_ensad("compare", "--failed").stdout.count("\n") == 1

    class Killed(BaseException):
        """Ends a worker as a kill does."""

    monkeypatch.setattr(retries, "MOST_KILLS", 1)
    with pytest.raises(Killed):
        run(Killed())
    run()
    (line,) = run_ensad("compare", "--failed").stdout.splitlines()[1:]
    assert line.endswith("given up  its process was killed 2 times")


def test_nothing_is_made_or_changed_by_looking(run, run_ensad, tmp_path):
    result = run_ensad("compare", "--failed", "--studies", "none")
    assert (result.exit_code, result.stderr.splitlines()[0]) == (0, "no trial has failed")
    assert not (tmp_path / "none").exists()
    run(ValueError("x"))
    before = (tmp_path / "studies" / "studies.db").stat().st_mtime_ns
    (tmp_path / "studies" / "studies.db").chmod(0o444)
    assert "ValueError: x" in run_ensad("compare", "--failed").stdout
    assert (tmp_path / "studies" / "studies.db").stat().st_mtime_ns == before
    assert [path.name for path in (tmp_path / "studies").glob("studies.db*")] == ["studies.db"]


@pytest.mark.parametrize(
    ("content", "said"), [(b"not a database" * 99, "cannot open studies/studies.db"), (b"", "cannot open studies")]
)
def test_a_storage_that_is_none_is_one_line(run_ensad, tmp_path, content, said):
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "studies.db").write_bytes(content)
    result = run_ensad("compare", "--failed")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (4, "", 1)
    assert said in result.stderr


def test_failed_trials_have_no_blend(run_ensad):
    result = run_ensad("compare", "--failed", "--blend", "x")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "leave --blend and --anomaly-share out" in result.stderr


def test_the_plain_table_does_not_wait_for_optuna(studies, tmp_path):
    script = "import sys; from ensemble_ad.cli import main; main(['compare'], standalone_mode=False); "
    script += "print(sorted({'optuna', 'torch'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


# Ten in a row


def test_ten_failures_in_a_row_stop_a_study_with_the_common_reason(run, run_ensad):
    nan = [DivergedError(f"the training loss became nan in epoch {n}") for n in range(8)]
    with pytest.raises(EnsadError) as stopped:
        run(KeyError("a"), *nan[:5], KeyError("b"), *nan[5:])
    text = str(stopped.value)
    assert text.startswith("stopped: 10 trials in a row failed, 8 of them with DivergedError: the training loss became")
    assert "`ensad compare --failed` lists them" in text
    assert run_ensad("compare", "--failed").stdout.count("DivergedError") == 8


def test_nine_failures_a_success_and_nine_do_not(run):
    log = run(*[ValueError("x")] * 9, trials=1)
    assert log.states == ["failed"] * 9 + ["complete"]
    log = run(*[ValueError("x")] * 9, trials=2)
    assert log.states == ["failed"] * 9 + ["complete"]


def test_a_study_that_was_stopped_goes_on_once_the_reason_is_mended(run):
    with pytest.raises(EnsadError, match="10 trials in a row failed, 10 of them with ValueError: x"):
        run(*[ValueError("x")] * 99)
    assert run().states == ["complete"]


def test_failures_of_other_workers_count(run, dataset, tmp_path, monkeypatch):
    # Another worker's nine failures arrive while this one is at its first trial.
    real = make_member.fit_member

    class Meanwhile(ValueError):
        pass

    def fit(*args, **kwargs):
        (study,) = [
            optuna.load_study(study_name=name, storage=url)
            for url in [f"sqlite:///{tmp_path / 'studies' / 'studies.db'}"]
            for name in optuna.get_all_study_names(url)
        ]
        for _ in range(9):
            trial = study.ask()
            trial.set_user_attr("reason", "Meanwhile: the same")
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        monkeypatch.setattr(worker, "fit_member", real)
        raise Meanwhile("the same")

    monkeypatch.setattr(worker, "fit_member", fit)
    settings = TuneSettings(**SETTINGS)
    with pytest.raises(EnsadError, match="10 trials in a row failed, 10 of them with Meanwhile: the same"):
        tune(dataset, settings, studies=tmp_path / "studies", watcher=Log())


def test_what_others_write_into_the_storage_is_listed_as_plain_text(run, run_ensad, tmp_path):
    log = run(ValueError("ours"))
    study = optuna.create_study(
        study_name="of\nothers\x1b[2J", storage=f"sqlite:///{tmp_path / 'studies' / 'studies.db'}"
    )
    for attrs in ({"reason": "a\x1b[31m\x00b"}, {"reason": ["x"]}, {"key": "../../x"}):
        trial = study.ask()
        for name, value in attrs.items():
            trial.set_user_attr(name, value)
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
    result = run_ensad("compare", "--failed")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()[1:]
    assert len(lines) == 4
    assert [line for line in lines if line.startswith(log.name)]
    assert not any(ord(char) < 32 for line in lines for char in line)
    assert result.stdout.count("that no ensad has written") == 2
    assert run(trials=2).states == ["complete"]
