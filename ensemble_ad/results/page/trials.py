"""What a report says of an Optuna study: its trials and what its hyperparameters are worth."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ensemble_ad.statistics.arrays import Floats64


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One trial.

    Attributes:
        number: the trial's number in its study.
        state: "complete", "pruned" or "failed".
        values: one for each direction; of a trial that did not complete the last one, if it has any.
        parameters: the hyperparameters by name.
    """

    number: int
    state: str
    values: tuple[float, ...]
    parameters: Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class Slice:
    """One hyperparameter beside the objective.

    Attributes:
        parameter: the hyperparameter's name.
        values: its values in the completed trials that have it, numbers or words.
        objective: the values of these trials' first objective.
        log: whether the hyperparameter was drawn on a log scale.
        choice: whether it was chosen from a list.
    """

    parameter: str
    values: tuple[object, ...]
    objective: Floats64
    log: bool
    choice: bool = False

    @property
    def numeric(self) -> bool:
        """Whether the values are numbers of a range, so that they have an axis."""
        return not self.choice and all(
            isinstance(value, int | float) and not isinstance(value, bool) for value in self.values
        )


@dataclass(frozen=True, kw_only=True)
class Search:
    """An Optuna study.

    Attributes:
        family: the family that was searched.
        study: the study's name.
        objectives: the names of its directions.
        maximize: for each direction, whether more is better.
        trials: the trials in their order.
        importance: each hyperparameter's share of the first objective's variance (fANOVA); empty where too few trials
            tell.
        slices: the slices, that of the most important hyperparameter first.
        epochs: the most epochs that a trial could train; None where that is not known.
        widest: the widest layer that a trial could have; None where that is not known.
        sized: whether trials chose the side that crops are resized to.
        note: what a reader must know; mostly "".
    """

    family: str
    study: str
    objectives: tuple[str, ...]
    maximize: tuple[bool, ...]
    trials: tuple[Trial, ...]
    importance: Mapping[str, float]
    slices: tuple[Slice, ...]
    epochs: int | None = None
    widest: int | None = None
    sized: bool = False
    note: str = ""

    @property
    def finished(self) -> int:
        """The number of completed and pruned trials."""
        return sum(trial.state != "failed" for trial in self.trials)

    def best_so_far(self, direction: int = 0) -> Floats64:
        """The best value of the completed trials up to each trial, float64 (n,); NaN before the first."""
        values = np.array([t.values[direction] if t.state == "complete" else np.nan for t in self.trials])
        return np.fmax.accumulate(values) if self.maximize[direction] else np.fmin.accumulate(values)
