"""Trials that a worker has left unfinished: ended, and queued again under their own parameters."""

import copy
import warnings
from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from ensemble_ad.layout import checkpoint_file
from ensemble_ad.search import lease
from ensemble_ad.search.notes import TrialNotes
from ensemble_ad.search.retries import done_again, is_given_up
from ensemble_ad.search.storage import StudyStorage
from ensemble_ad.training import checkpoint

_OF_THE_SAMPLER = "tpe:"


def take_over(study: optuna.Study, storage: StudyStorage, studies: Path) -> list[FrozenTrial]:
    """End the trials of dead workers and queue what they, or interrupted workers, have left unfinished.

    Args:
        study: the study.
        storage: where it is kept; it is this worker's turn.
        studies: the studies' folder.

    Returns:
        All trials of the study as they are then.
    """
    trials = study.get_trials(deepcopy=False)
    if _end_dead(study, trials, storage, studies):
        trials = study.get_trials(deepcopy=False)
    if _queue_again(study, trials, studies):
        trials = study.get_trials(deepcopy=False)
    return trials


def _end_dead(study: optuna.Study, trials: Sequence[FrozenTrial], storage: StudyStorage, studies: Path) -> bool:
    """Fail the trials of dead workers, and those without a heartbeat, as Optuna's `fail_stale_trials` does.

    A worker on this machine that is known to live keeps its trial: where a clock was set forward, every heartbeat looks
    old.

    Returns:
        Whether anything has changed.
    """
    stale = _stale(study, trials, storage)
    alive = living(study, trials, storage, studies)
    for trial in alive:
        if trial._trial_id in stale:
            storage.backend.record_heartbeat(trial._trial_id)
    numbers = {trial.number for trial in alive}
    dead = [trial for trial in trials if trial.state == TrialState.RUNNING and trial.number not in numbers]
    for trial in dead:
        study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
        worker = TrialNotes.of(trial).worker
        if worker is not None and lease.is_over(studies, worker):
            lease.forget(studies, worker)
    return bool(dead)


def living(
    study: optuna.Study, trials: Sequence[FrozenTrial], storage: StudyStorage, studies: Path
) -> list[FrozenTrial]:
    """Those of a study's trials that a worker trains which lives, as far as is known here."""
    stale = _stale(study, trials, storage)
    found = []
    for trial in trials:
        if trial.state != TrialState.RUNNING:
            continue
        worker = TrialNotes.of(trial).worker
        # A worker notes its name in the turn in which it starts a trial; without a name it has died in that turn.
        if worker is None or lease.is_over(studies, worker):
            continue
        if trial._trial_id not in stale or lease.is_alive(studies, worker):
            found.append(trial)
    return found


def _stale(study: optuna.Study, trials: Sequence[FrozenTrial], storage: StudyStorage) -> set[int]:
    """The ids of the running trials whose heartbeat was not heard for long."""
    if all(trial.state != TrialState.RUNNING for trial in trials):
        return set()
    return set(storage.backend._get_stale_trial_ids(study._study_id))


def _queue_again(study: optuna.Study, trials: Sequence[FrozenTrial], studies: Path) -> bool:
    """Queue the trials that failed without a reason of their own and are not queued yet; whether there were any."""
    queued, changed = done_again(trials), False
    for trial in trials:
        notes = TrialNotes.of(trial)
        if trial.state != TrialState.FAIL or notes.reason is not None or trial.number in queued:
            continue
        given_up = is_given_up(trial)
        if notes.key is not None and given_up:
            checkpoint.remove(checkpoint_file(studies, notes.key))
        if given_up or notes.place is None:
            continue
        again = copy.deepcopy(trial)
        if notes.key is None:
            # Its process was killed while it drew. Were only the rest drawn, the sampler would draw it otherwise.
            again.params, again.distributions = {}, {}
            kept = {name: value for name, value in trial.system_attrs.items() if not name.startswith(_OF_THE_SAMPLER)}
            again.system_attrs = kept
        again.user_attrs = TrialNotes(place=notes.place, share=notes.share).to_attrs()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            optuna.storages.RetryHeartbeatStaleTrialCallback()(study, again)
        changed = True
    return changed
