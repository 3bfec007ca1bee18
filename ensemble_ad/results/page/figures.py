"""What the charts of a report show of scores: distributions, curves, weights and correlations."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


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
