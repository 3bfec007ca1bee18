"""How good is a model? Named objectives, each a pure function of a model's error vectors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from ensemble_ad import statistics
from ensemble_ad.errors import UsageError

Column = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known of a model after an epoch.

    Attributes:
        reference: float32 (n,) a kind of error, of held-out normal images.
        test: float32 (k,) a kind, of the test images.
        pixels: numbers an image has, to make a mean of a sum.
        label: (k,) of 0 and 1, only where the user named labels.
    """

    reference: Mapping[str, Column]
    test: Mapping[str, Column]
    pixels: int
    label: npt.NDArray[np.int8] | None = None


class Judgement(NamedTuple):
    """A model's worth.

    Attributes:
        value: in the objective's direction.
        standard_error: of the value, from the finite sample of images; NaN where it has none.
        column: the kind of error that it holds for.
    """

    value: float
    standard_error: float
    column: str


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A named way to judge.

    Attributes:
        direction: whether more or less of it is better.
        judge: the function.
        needs_labels: whether it reads labels.
    """

    direction: Literal["maximize", "minimize"]
    judge: Callable[[Evidence], Judgement]
    needs_labels: bool = False

    def better(self, a: float, b: float) -> bool:
        """Whether `a` is strictly better than `b`."""
        return a > b if self.direction == "maximize" else a < b


def loss(evidence: Evidence) -> Judgement:
    """Mean squared reconstruction error a pixel on the held-out normal images.

    Here for comparison: it does not know what an anomaly is, and a model that reconstructs everything well, anomalies
    too, has the best of it. Over trials of different crops it compares different images.
    """
    squares = np.square(evidence.reference["rss"], dtype=np.float64) / evidence.pixels
    return Judgement(float(squares.mean()), float(squares.std() / np.sqrt(len(squares))), "rss")


def separation(evidence: Evidence) -> Judgement:
    """A = P(score of a test image > score of a held-out normal image), of the kind of error where it is largest.

    If a share p of the test images are anomalies and its normal images are like the held-out ones,
    A = 0.5 + p (AUC - 0.5), so that A ranks models as the unknown AUC does, whatever p is (Menon et al. 2015, "Learning
    from corrupted binary labels via class-probability estimation"). It fails where the test set's normal images differ
    from the training images (it then rewards seeing that difference) and drowns in noise where p is small.
    """
    return _largest(
        {name: statistics.separation(evidence.reference[name], scores) for name, scores in evidence.test.items()}
    )


def labels(evidence: Evidence) -> Judgement:
    """AUC on labels that the user named, of the kind of error where it is largest."""
    label = evidence.label
    if label is None:
        raise UsageError("the objective 'labels' needs --labels FILE")
    return _largest({name: statistics.auc(label, scores) for name, scores in evidence.test.items()})


def _largest(estimates: Mapping[str, statistics.Estimate]) -> Judgement:
    column = max(estimates, key=lambda name: estimates[name].value)
    return Judgement(estimates[column].value, estimates[column].standard_error, column)


OBJECTIVES: dict[str, Objective] = {
    "separation": Objective(direction="maximize", judge=separation),
    "loss": Objective(direction="minimize", judge=loss),
    "labels": Objective(direction="maximize", judge=labels, needs_labels=True),
}
DEFAULT = "separation"


def objective(name: str) -> Objective:
    """Look an objective up.

    Raises:
        UsageError: if there is none of that name; the message lists those there are.
    """
    if name not in OBJECTIVES:
        raise UsageError(f"unknown objective {name!r}; the objectives are {', '.join(OBJECTIVES)}")
    return OBJECTIVES[name]
