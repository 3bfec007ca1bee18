"""A study that `auto` moves from `separation` to `both`: two directions are another study of Optuna's.

The finished trials are taken along, since the objectives of both studies are known of every member.
"""

from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from ensemble_ad.errors import StorageError
from ensemble_ad.members.measured import Objectives
from ensemble_ad.members.store import load_member
from ensemble_ad.search.notes import NOT_OURS, TrialNotes

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
"""The states of a trial that counts as done."""


def take_along(before: optuna.Study, after: optuna.Study, studies: Path) -> bool:
    """Copy the finished and the queued trials of `before` that `after` does not have yet; whether there were any."""
    taken = {TrialNotes.of(trial).taken_from for trial in after.get_trials(deepcopy=False)}
    changed = False
    for trial in before.get_trials(deepcopy=False):
        if trial.number in taken or trial.state not in (*FINISHED, TrialState.WAITING):
            continue
        complete, waits = trial.state == TrialState.COMPLETE, trial.state == TrialState.WAITING
        after.add_trial(
            optuna.trial.create_trial(
                state=trial.state,
                values=both_values(objectives_of(trial, studies)) if complete else None,
                params=trial.params,
                distributions=trial.distributions,
                user_attrs={**trial.user_attrs, **TrialNotes(taken_from=trial.number).to_attrs()},
                # Optuna's other notes on a trial that waits are numbers of trials in `before`.
                system_attrs={n: v for n, v in trial.system_attrs.items() if waits and n == "fixed_params"},
            )
        )
        changed = True
    return changed


def objectives_of(trial: FrozenTrial, studies: Path) -> Objectives:
    """What the objectives say of a completed trial of `auto`, which are all known then.

    Studies of older versions leave that to the member.

    Raises:
        StorageError: if one is not known, or there is no such member.
    """
    notes = TrialNotes.of(trial)
    known = notes.objectives or load_member(studies, notes.made_by(trial)).info.objectives
    if None in (known.separation, known.synthetic, known.share, known.implausible):
        raise StorageError(
            f"trial {trial.number} of a study with --objective auto must note separation, synthetic, share and "
            f"implausible kinds, and does not; {NOT_OURS}"
        )
    return known


def both_values(known: Objectives) -> list[float]:
    """A member's values in the two directions of `both`."""
    assert known.separation
    assert known.synthetic
    return [float(known.separation.value), float(known.synthetic.value)]
