"""What a report says: numbers, names and pixels, collected before anything is drawn.

Every number on the page comes from here, so that a test can hold it against an independent computation. What could not
be collected is None or empty, and `Contents.notes` says why.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """How good one score is.

    Attributes:
        role: "blend", "chosen" (the best member by separation, without labels), "hindsight" (the best by AUC) or
            "equal" (the members' equal mean).
        name: of the blend or member.
        value: its AUC, measured or estimated; None where only the interval is known.
        low, high: ends of the 95% interval; None where nothing is known.
        measured: with labels; else it was estimated.
        difference: the blend's AUC minus this one's: value, low, high and p of DeLong's paired test; None where it
            cannot be computed.
    """

    role: str
    name: str
    value: float | None
    low: float | None
    high: float | None
    measured: bool
    difference: tuple[float, float, float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Headline:
    """What a reader wants first.

    Attributes:
        blend: its name.
        method: how it was weighted.
        families: of its members.
        members: how many.
        judged: the blend first.
        separation, separation_error: out of fold.
        estimate: the estimated AUC in words, or why there is none.
        transductive: whether a member was trained on the unlabelled test images too.
    """

    blend: str
    method: str
    families: tuple[str, ...]
    members: int
    judged: tuple[Judged, ...]
    separation: float
    separation_error: float
    estimate: str
    transductive: bool


@dataclass(frozen=True, kw_only=True)
class LabelUse:
    """Which labels the report read.

    Attributes:
        said: a sentence.
        label: int8 (k,) of 0 and 1 of the test images; None where none were read.
        evaluated: AUC, low and high a name, as `ensad evaluate` stored them; empty where it was not run.
    """

    said: str
    label: npt.NDArray[np.int8] | None = None
    evaluated: Mapping[str, tuple[float, float, float]]


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Shares of images by blend score.

    Attributes:
        edges: float64 (bins + 1,); the outer bins hold what lies beyond them too.
        shares: a share a bin, float64 (bins,) summing to 1, of each group: "reference" and "test", with labels also
            "normal" and "anomaly".
        count: images in each group.
        quantiles: the 5, 25, 50, 75 and 95% quantiles of each group.
    """

    edges: Floats
    shares: Mapping[str, Floats]
    count: Mapping[str, int]
    quantiles: Mapping[str, Floats]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A ROC or precision-recall curve of one score.

    Attributes:
        x, y: its points: false and true positive rate, or recall and precision.
        grid: where the band is known, in x.
        low, high: ends of the band, pointwise 95%; empty where there is none.
    """

    x: Floats
    y: Floats
    grid: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, kw_only=True)
class Curves:
    """With labels.

    Attributes:
        roc, precision_recall: curves by role, as in `Judged`; the blend's have bands.
        anomaly_share: what chance gives as precision.
        average_precision, fpr95: of the blend.
        resamples: of the bootstrap that the bands come from.
    """

    roc: Mapping[str, Curve]
    precision_recall: Mapping[str, Curve]
    anomaly_share: float
    average_precision: float
    fpr95: float
    resamples: int


@dataclass(frozen=True, kw_only=True)
class Weight:
    """What a column counts in the blend.

    Attributes:
        key, family, kind: the member, its family, the error kind.
        weight: of all weights' sum of 1.
        separation: of that column, in-sample.
        auc: with labels.
    """

    key: str
    family: str
    kind: str
    weight: float
    separation: float
    auc: float | None


@dataclass(frozen=True, kw_only=True)
class Correlations:
    """Spearman's rank correlations over the test images, of members' main columns and the blend.

    Attributes:
        names: members, and the blend last.
        families: of the members, and "blend".
        matrix: float64 (n, n); NaN beside a constant column.
    """

    names: tuple[str, ...]
    families: tuple[str, ...]
    matrix: Floats


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


@dataclass(frozen=True, kw_only=True)
class View:
    """What one family does to one image.

    Attributes:
        family, key: the family, and the best member of it that is in the blend.
        rank: the share of test images that score lower by that member's main column.
        reconstruction: uint8 (h, w, c); None of a family that makes none.
        error: float64 (h, w), the mean absolute error over the channels in grey levels.
    """

    family: str
    key: str
    rank: float
    reconstruction: Pixels | None
    error: Floats | None


@dataclass(frozen=True, kw_only=True)
class Shot:
    """A test image.

    Attributes:
        name: its id.
        image: uint8 (side, side, C).
        score: of the blend.
        rank: the share of test images with a lower score.
        disagreement: the standard deviation of its rank share over the blend's members.
        label: 0 or 1; None without labels.
        views: a family each.
    """

    name: str
    image: Pixels
    score: float
    rank: float
    disagreement: float
    label: int | None
    views: tuple[View, ...]


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Pictures, by what they were chosen for: "most", "least", "disputed", "false_positives", "false_negatives"."""

    groups: Mapping[str, tuple[Shot, ...]]
    error_scale: Mapping[str, float]
    """Of each family, the error in grey levels that is drawn as the brightest colour."""


@dataclass(frozen=True, kw_only=True)
class LatentSheet:
    """One image through one member's bottleneck.

    Attributes:
        family, key: whose.
        name: id of the test image.
        elements: how many the bottleneck has.
        seen: what the member sees of the image, uint8 (h, w, c).
        reconstruction: of the same shape, as all that follow.
        scaled: by (element, factor).
        noise: by share.
    """

    family: str
    key: str
    name: str
    elements: int
    seen: Pixels
    reconstruction: Pixels
    scaled: Mapping[tuple[int, float], Pixels]
    noise: Mapping[float, Pixels]


@dataclass(frozen=True, kw_only=True)
class Making:
    """How it was made.

    Attributes:
        facts: what and its value, of the data set, the blend and this report.
        commands: that make the same again, as far as what is stored tells.
        members: a row a member of the blend: origin, seed, epochs, times, versions, labels.
    """

    facts: Mapping[str, str]
    commands: tuple[str, ...]
    members: pd.DataFrame


@dataclass(frozen=True, kw_only=True)
class Contents:
    """All of a report.

    Attributes:
        table: as `tables.comparison` gives it, of the blend's data set.
        explanation: the blend's own words.
        latents: sheets, families one after the other.
        notes: what is missing, a sentence each.
    """

    headline: Headline
    labels: LabelUse
    table: pd.DataFrame
    histogram: Histogram
    curves: Curves | None
    weights: tuple[Weight, ...]
    explanation: str
    correlations: Correlations
    searches: tuple[Search, ...]
    gallery: Gallery | None
    latents: tuple[LatentSheet, ...]
    making: Making
    notes: tuple[str, ...]
