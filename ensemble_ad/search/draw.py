"""The next trial of a study: its place in the order of the draws, and the sampler that draws its parameters."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from ensemble_ad.search.notes import TrialNotes
from ensemble_ad.search.storage import StudyStorage

STARTUP_TRIALS = 5
"""How many finished trials the sampler and the pruner wait for before they judge by them."""


def start_trial(
    study: optuna.Study,
    storage: StudyStorage,
    trials: Sequence[FrozenTrial],
    *,
    first: Sequence[Mapping[str, Any]],
    seed: int,
    worker: str,
) -> optuna.Trial:
    """Start the first of a study's trials that waits, or a new one.

    What a trial draws depends on the seed, on its place and on the trials before it. A kill, or the number of workers,
    changes none of these.

    Args:
        study: the study.
        storage: where it is kept; it is this worker's turn.
        trials: all trials of the study.
        first: parameters of the first trials, by place.
        seed: the study's.
        worker: who starts the trial.
    """
    waiting = next((trial for trial in trials if trial.state == TrialState.WAITING), None)
    place = None if waiting is None else TrialNotes.of(waiting).place
    if place is None:
        places = [TrialNotes.of(trial).place for trial in trials]
        place = 1 + max((each for each in places if each is not None), default=-1)
    if waiting is None and place < len(first):
        study.enqueue_trial(dict(first[place]), user_attrs=TrialNotes(place=place).to_attrs())
    others = any(trial.state == TrialState.RUNNING for trial in trials)
    with warnings.catch_warnings():
        # Multivariate TPE needs `group` for parameters that only some architectures have. `ask` reminds its caller of
        # the heartbeat, which `SharedStudy` and `Worker` keep.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings("ignore", message="Heartbeat of storage")
        study.sampler = optuna.samplers.TPESampler(
            seed=int(np.random.SeedSequence([seed, place]).generate_state(1)[0]),
            multivariate=True,
            group=True,
            n_startup_trials=STARTUP_TRIALS,
            constant_liar=others,
        )
        trial = study.ask()
    storage.backend.record_heartbeat(trial._trial_id)
    TrialNotes(place=place, worker=worker).write(trial)
    return trial
