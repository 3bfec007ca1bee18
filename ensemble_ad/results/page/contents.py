"""What a report says: numbers, names and pixels, collected before anything is drawn.

Every number on the page comes from here, so that a test can hold it against an independent computation. What could not
be collected is None or empty, and `Contents.notes` says why.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from ensemble_ad.results.page.figures import Correlations, Curves, Histogram, KindSeen, Weight
from ensemble_ad.results.page.shots import Gallery, LatentSheet
from ensemble_ad.results.page.trials import Search
from ensemble_ad.statistics.arrays import Labels


@dataclass(frozen=True, kw_only=True)
class Judged:
    """How good one score is.

    Attributes:
        role: "blend", "chosen" (the best member without labels, by `Headline.criterion`), "hindsight" (the best by
            AUC) or "equal" (the members' equal mean).
        name: the blend's or member's name.
        value: the AUC of the score, measured or estimated; None where only the interval is known.
        low, high: ends of the 95% interval; None where nothing is known.
        measured: whether the AUC was measured with labels; else it was estimated.
        difference: the blend's AUC minus this one: value, low, high and p of DeLong's paired test; None where it cannot
            be computed.
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
        blend: the blend's name.
        method: the method that weighted it.
        families: the families of its members.
        members: the number of its members.
        judged: the scores to compare, the blend's first.
        separation, separation_error: the blend's separation and its standard error, out of fold; None without test
            images.
        estimate: the estimated AUC in words, or why there is none.
        transductive: whether a member was trained on the unlabelled test images too.
    """

    blend: str
    method: str
    families: tuple[str, ...]
    members: int
    judged: tuple[Judged, ...]
    separation: float | None
    separation_error: float | None
    estimate: str
    transductive: bool

    @property
    def criterion(self) -> str:
        """By what members compare without labels."""
        return "separation" if self.separation is not None else "pseudo-anomalies"


@dataclass(frozen=True, kw_only=True)
class KindJudged:
    """How well the blend sees one kind of anomaly, as `ensad evaluate` stored it: images, AUC and its 95% interval."""

    kind: str
    images: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class LabelUse:
    """Which labels the report read.

    Attributes:
        said: a sentence about them.
        label: int8 (k,) of 0 and 1 of the test images; None where none were read.
        evaluated: AUC, low and high of each name, as `ensad evaluate` stored them; empty where it was not run.
        kinds: the kinds of anomaly, the one that the blend sees least first; empty where folders gave none.
    """

    said: str
    label: Labels | None = None
    evaluated: Mapping[str, tuple[float, float, float]]
    kinds: tuple[KindJudged, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Making:
    """How the blend was made.

    Attributes:
        facts: names and values, about the data set, the blend and this report.
        commands: the commands that make the same again, as far as what is stored tells.
        members: a row for each member of the blend: origin, seed, epochs, times, versions, labels.
    """

    facts: Mapping[str, str]
    commands: tuple[str, ...]
    members: pd.DataFrame


@dataclass(frozen=True, kw_only=True)
class Contents:
    """All that a report says.

    Attributes:
        headline: what a reader wants first.
        labels: the labels that the report read.
        table: the comparison table of the blend's data set, as `comparison.comparison` gives it.
        histogram: the distributions of the blend's score.
        seen: how well each kind of pseudo-anomaly is seen, of a blend that was made without test images; else empty.
        curves: ROC and precision-recall curves; None without labels.
        growth: of a blend that `ensad run` has made, pairs of seconds and the blend's value then; else empty.
        weights: the weights of the blend's columns, the largest first.
        explanation: the blend's own explanation of its weights.
        correlations: the members' rank correlations.
        searches: the studies that the members came from.
        gallery: pictures; None where there are none.
        latents: sheets, those of one family together.
        duplicates: names of training images that were kept together, a group each, the largest first; at most
            `MOST_GROUPS`, and empty where no images were opened.
        making: how the blend was made.
        notes: what is missing, a sentence each.
    """

    headline: Headline
    labels: LabelUse
    table: pd.DataFrame
    histogram: Histogram
    seen: tuple[KindSeen, ...]
    curves: Curves | None
    growth: tuple[tuple[float, float], ...]
    weights: tuple[Weight, ...]
    explanation: str
    correlations: Correlations
    searches: tuple[Search, ...]
    gallery: Gallery | None
    latents: tuple[LatentSheet, ...]
    duplicates: tuple[tuple[str, ...], ...] = ()
    making: Making
    notes: tuple[str, ...]
