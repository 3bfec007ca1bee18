"""Trials that may take so long and no longer: shortened before they begin, or after their first epochs."""

from dataclasses import replace

import pytest
import torch

from ensemble_ad.data.preprocess import Preprocess
from ensemble_ad.errors import Interrupted
from ensemble_ad.families.fcn import FcnArchitecture
from ensemble_ad.members.store import list_members
from ensemble_ad.search.allowance import SHORTEST, Allowance, Pace, Rate, TooLongError, shortened
from ensemble_ad.search.plan import TuneSettings
from ensemble_ad.search.tune import tune
from ensemble_ad.training import checkpoint, threads
from ensemble_ad.training.recipe import Recipe
from ensemble_ad.training.settings import TrainSettings

RECIPE = Recipe(
    data="ab" * 16,
    family="fcn",
    architecture=FcnArchitecture(widths=(64, 8)),
    preprocess=Preprocess(crop=(1.0, 1.0), size=(20, 20), channels=1),
    training=TrainSettings(epochs=20),
    objective="auto",
    labels=None,
    subset=None,
    patience=7,
)
PLENTY = Allowance(seconds=1e6, left=1e6, usual=1.0)
NO_TIME = Allowance(seconds=1e-9, left=0.0, usual=0.0)  # whose first epochs tell that it takes too long
SETTINGS = TuneSettings(family="fcn", trials=1, size=16, max_width=128, device="cpu")


@pytest.mark.parametrize(
    ("usual", "rate", "share"),
    [(10, None, 1), (22, None, 0.9), (1e6, None, SHORTEST), (1, Rate(0.005, 0), 0.5), (1, Rate(0.005, 0.025), 0.25)],
)
def test_what_does_not_fit_is_a_share_of_what_was_drawn(usual, rate, share):
    assert Allowance(seconds=20, left=20, usual=usual, rate=rate).share(RECIPE) == pytest.approx(share)


@pytest.mark.parametrize(
    ("share", "epochs", "subset", "patience"), [(0.5, 10, None, 4), (0.25, 5, None, 3), (0.1, 5, 4000, 3)]
)
def test_epochs_go_first_and_then_images(share, epochs, subset, patience):
    found = shortened(RECIPE, share, 10_000)
    assert (found.training.epochs, found.subset, found.patience) == (epochs, subset, patience)
    assert shortened(RECIPE, SHORTEST, 300).subset == 300


def test_a_trial_that_is_fast_enough_goes_on():
    pace = Pace(PLENTY, 1.0)
    for number in range(1, 20):
        pace.epoch(number, 20)


def test_a_trial_that_is_too_slow_is_begun_again_a_few_times_only():
    pace, shares = Pace(NO_TIME, 1.0), []
    for number in (1, 1, 1):
        try:
            pace.epoch(number, 20)
        except TooLongError as error:
            shares.append(error.share)
            pace.again(error.share)
    assert shares == [SHORTEST]


def test_a_trial_is_trained_on_what_its_time_allows(dataset, tmp_path, log):
    for place, allowance in enumerate((PLENTY, NO_TIME, replace(NO_TIME, usual=1.0))):
        studies = tmp_path / str(place)
        tune(dataset, replace(SETTINGS, allowance=allowance), studies=studies, watcher=log)
        (member,) = list_members(studies)[0]
        drawn = member.info.trial.parameters["epochs"]
        assert member.info.recipe.epochs == (drawn if allowance == PLENTY else round(drawn / 4))


def test_a_shortened_trial_that_is_interrupted_is_gone_on_with(dataset, tmp_path, log, monkeypatch):
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN", 0.0)
    short = replace(SETTINGS, allowance=replace(PLENTY, seconds=1.0, usual=4.0))

    def interrupt(number, epoch, epochs, judgement):
        if epoch.number == 2:
            raise KeyboardInterrupt

    stopped = type(log)()
    stopped.epoch = interrupt
    with pytest.raises(Interrupted):
        tune(dataset, short, studies=tmp_path, watcher=stopped)
    assert len(list((tmp_path / "checkpoints").iterdir())) == 1
    tune(dataset, SETTINGS, studies=tmp_path, watcher=log)  # without an allowance, as by `ensad tune`
    (member,) = list_members(tmp_path)[0]
    assert member.info.recipe.epochs == round(member.info.trial.parameters["epochs"] / 4)
    assert next(what[1].number for what in log.lines if len(what) == 4) == 2


@pytest.mark.parametrize(
    ("changes", "used", "then"),
    [
        ({"allowance": PLENTY}, (1, 2), "by 1 of 2 threads"),
        ({"timeout": 60.0}, (1, 2), "by 1 of 2 threads"),
        ({}, (2, 2), "OMP_NUM_THREADS=1 may be many times as fast"),
    ],
    ids=["in a run", "with a timeout", "repeats"],
)
def test_a_trial_that_has_a_time_trains_by_as_many_threads_as_fit(
    dataset, tmp_path, log, monkeypatch, changes, used, then
):
    before, seen = torch.get_num_threads(), []

    class Others:
        def leave(self, most):
            return most if seen else 1

        def cores(self):
            return 1.3

    def epoch(*what):
        seen.append(torch.get_num_threads())

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "OTHERS", Others())
    monkeypatch.setattr(threads, "_told", False)
    monkeypatch.setattr(log, "epoch", epoch)
    torch.set_num_threads(2)
    try:
        tune(dataset, replace(SETTINGS, epochs=2, **changes), studies=tmp_path, watcher=log)
        assert (seen[0], set(seen[1:])) == (used[0], {used[1]})
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    notes = [line[-1] for line in log.lines if line[1:2] == ("complete",)]
    assert notes == [f"others keep 1.3 cores busy, which torch's threads wait for; {then}"]
