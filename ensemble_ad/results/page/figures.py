"""What the charts of a report show of scores: distributions, curves, weights and correlations."""

from collections.abc import Mapping
from dataclasses import dataclass

from ensemble_ad.statistics.arrays import Floats64


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Shares of images by blend score.

    Attributes:
        edges: float64 (bins + 1,) edges of the bins; the outer bins hold what lies beyond them too.
        shares: float64 (bins,) shares that sum to 1, by group: "reference" and "test", with labels also "normal" and
            "anomaly"; of a blend that was made without test images "reference" and, where it is known, "pseudo".
        count: number of images in each group.
        quantiles: the 5, 25, 50, 75 and 95% quantiles of each group.
    """

    edges: Floats64
    shares: Mapping[str, Floats64]
    count: Mapping[str, int]
    quantiles: Mapping[str, Floats64]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A ROC or precision-recall curve of one score.

    Attributes:
        x, y: its points: false and true positive rate, or recall and precision.
        grid: the x at which the band is known.
        low, high: ends of the band, pointwise 95%; empty where there is none.
    """

    x: Floats64
    y: Floats64
    grid: Floats64
    low: Floats64
    high: Floats64


@dataclass(frozen=True, kw_only=True)
class Curves:
    """What labels say of the blend and of what it has to beat.

    Attributes:
        roc, precision_recall: curves by role, as in `Judged`; the blend's have bands.
        anomaly_share: share of anomalies, which is the precision of guessing.
        average_precision, fpr95: the blend's average precision and its false positive rate at 95% true positive rate.
        resamples: number of the bootstrap's resamples that the bands come from.
    """

    roc: Mapping[str, Curve]
    precision_recall: Mapping[str, Curve]
    anomaly_share: float
    average_precision: float
    fpr95: float
    resamples: int


@dataclass(frozen=True, kw_only=True)
class Weight:
    """How much a column counts in the blend.

    Attributes:
        key, family, kind: the member, its family, and the kind of error.
        weight: the column's weight; all weights sum to 1.
        separation: the column's separation, in-sample; None without test images.
        pseudo: the AUC of pseudo-anomalies against held-out images, `pooled` over their kinds; None with test images,
            and where the member has none.
        auc: the column's AUC; None without labels.
    """

    key: str
    family: str
    kind: str
    weight: float
    separation: float | None
    pseudo: float | None
    auc: float | None


@dataclass(frozen=True, kw_only=True)
class KindSeen:
    """How well one kind of pseudo-anomaly is told from held-out normal images.

    Attributes:
        kind: the kind's name.
        blend, chosen, equal: the AUC by the blend, by its best member, and by equal weights.
    """

    kind: str
    blend: float
    chosen: float
    equal: float


@dataclass(frozen=True, kw_only=True)
class Correlations:
    """Spearman's rank correlations of members' main columns and the blend, over the test images.

    Of a blend that was made without test images, over the held-out normal ones.

    Attributes:
        names: the members' keys, and the blend's name last.
        families: the members' families, and "blend".
        matrix: float64 (n, n) correlations; NaN beside a constant column.
    """

    names: tuple[str, ...]
    families: tuple[str, ...]
    matrix: Floats64
