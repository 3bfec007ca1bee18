"""How often a trial was done again because its process was killed or interrupted, as Optuna's own notes have it."""

from collections.abc import Iterable, Sequence

from optuna.trial import FrozenTrial

MOST_KILLS = 10
"""After so many kills of its process a trial is given up, since it may be what kills the process, as by its memory."""


def kills(trial: FrozenTrial) -> int:
    """How many times the trial had been started before."""
    return len(_history(trial))


def is_given_up(trial: FrozenTrial) -> bool:
    """Whether the trial, once it has failed, is not done again."""
    return kills(trial) >= MOST_KILLS


def done_again(trials: Iterable[FrozenTrial]) -> set[int]:
    """The numbers of the trials that one of `trials` does again."""
    return {number for trial in trials for number in _history(trial)}


def _history(trial: FrozenTrial) -> Sequence[int]:
    history = trial.system_attrs.get("retry_history", ())
    return [number for number in history if isinstance(number, int)] if isinstance(history, list | tuple) else ()
