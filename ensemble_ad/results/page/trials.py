"""What a report says of an Optuna study: its trials and what its hyperparameters are worth."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One trial: its number, "complete", "pruned" or "failed", its values a direction (of a pruned one the last)."""

    number: int
    state: str
    values: tuple[float, ...]
    parameters: Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class Slice:
    """One hyperparameter beside the objective.

    Attributes:
        parameter: its name.
        values: of the completed trials that have it, numbers or words.
        objective: their first objective's values.
        log: whether it was drawn on a log scale.
        choice: whether it was chosen from a list.
    """

    parameter: str
    values: tuple[object, ...]
    objective: Floats
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
        family: that it searched.
        study: its name.
        objectives: the directions' names.
        maximize: whether more is better, a direction each.
        trials: in their order.
        importance: a share a parameter, of the first objective (fANOVA); empty where there is too little to tell.
        slices: the most important parameter first.
        epochs: the most that a trial could train; None where that is not known.
        widest: the widest layer that a trial could have; None likewise.
        note: what a reader must know; "" mostly.
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
    note: str = ""

    @property
    def finished(self) -> int:
        """Completed and pruned trials."""
        return sum(trial.state != "failed" for trial in self.trials)

    def best_so_far(self, direction: int = 0) -> Floats:
        """The best value of the completed trials up to each trial, float64 (n,); NaN before the first."""
        values = np.array([t.values[direction] if t.state == "complete" else np.nan for t in self.trials])
        return np.fmax.accumulate(values) if self.maximize[direction] else np.fmin.accumulate(values)
