"""ROC and precision-recall curves with bootstrap bands, and histograms of scores."""

from collections.abc import Mapping

import numpy as np

from ensemble_ad.results.page.figures import Curve, Curves, Histogram
from ensemble_ad.statistics import average_precision, fpr_at_tpr
from ensemble_ad.statistics.arrays import Floats64, Labels

RESAMPLES = 400
BINS = 40
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_GRID = np.linspace(0.0, 1.0, 101)
_EDGES = (0.002, 0.998)


def curves(label: Labels, scores: Mapping[str, Floats64], seed: int) -> Curves:
    """ROC and precision-recall curves of several scores; those of the blend with pointwise 95% bands by a stratified
    bootstrap.

    Args:
        label: int8 (k,) of 0 and 1, both classes present.
        scores: float64 (k,) scores by role, higher = more anomalous.
        seed: the bootstrap's seed.
    """
    roc, precision_recall = {}, {}
    for role, score in scores.items():
        steps = _Steps(label, score)
        ones = np.ones(len(label))
        false, true, precision = steps.rates(ones)
        roc[role] = Curve(x=false, y=true, **_NO_BAND)
        precision_recall[role] = Curve(x=true[1:], y=precision, **_NO_BAND)
        if role == "blend":
            bands = _bands(steps, seed)
            roc[role] = Curve(x=false, y=true, grid=_GRID, low=bands[0], high=bands[1])
            precision_recall[role] = Curve(x=true[1:], y=precision, grid=_GRID, low=bands[2], high=bands[3])
    return Curves(
        roc=roc,
        precision_recall=precision_recall,
        anomaly_share=float(label.mean()),
        average_precision=average_precision(label, scores["blend"]),
        fpr95=fpr_at_tpr(label, scores["blend"], tpr=0.95),
        resamples=RESAMPLES,
    )


_NO_BAND = {"grid": np.empty(0), "low": np.empty(0), "high": np.empty(0)}


class _Steps:
    """Images sorted by falling score, and where groups of equal scores end."""

    def __init__(self, label: Labels, score: Floats64) -> None:
        order = np.argsort(-score, kind="stable")
        self.true = label[order] == 1
        self.ends = np.append(np.diff(score[order]) != 0, True)

    def rates(self, weight: Floats64) -> tuple[Floats64, Floats64, Floats64]:
        """False and true positive rates (t + 1,), from (0, 0), and precision (t,) where each image counts `weight`."""
        true = np.cumsum(weight * self.true)[self.ends]
        false = np.cumsum(weight * ~self.true)[self.ends]
        with np.errstate(invalid="ignore"):
            precision = np.where(true + false > 0, true / (true + false), 1.0)
        return np.append(0.0, false / false[-1]), np.append(0.0, true / true[-1]), precision


def _bands(steps: _Steps, seed: int) -> tuple[Floats64, Floats64, Floats64, Floats64]:
    """Ends of the true positive rate's band at each false positive rate, and of the precision's at each recall."""
    rng = np.random.default_rng(seed)
    at_false, at_recall = np.empty((RESAMPLES, len(_GRID))), np.empty((RESAMPLES, len(_GRID)))
    for number in range(RESAMPLES):
        weight = np.empty(len(steps.true))
        for side in (steps.true, ~steps.true):
            n = int(side.sum())
            weight[side] = rng.multinomial(n, np.full(n, 1 / n))
        false, true, precision = steps.rates(weight)
        at_false[number] = np.interp(_GRID, false, true)
        reached = np.searchsorted(true[1:], _GRID - 1e-12)
        at_recall[number] = precision[np.minimum(reached, len(precision) - 1)]
    ends = [np.quantile(table, [0.025, 0.975], axis=0) for table in (at_false, at_recall)]
    return ends[0][0], ends[0][1], ends[1][0], ends[1][1]


def histogram(groups: Mapping[str, Floats64]) -> Histogram:
    """A histogram of each group's scores on common bins; the extreme 0.2% of all are in the outer ones."""
    together = np.concatenate(list(groups.values()))
    low, high = np.quantile(together, _EDGES)
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, BINS + 1)
    shares = {
        name: np.histogram(np.clip(score, low, high), edges)[0] / max(1, len(score)) for name, score in groups.items()
    }
    return Histogram(
        edges=edges,
        shares=shares,
        count={name: len(score) for name, score in groups.items()},
        quantiles={name: np.quantile(score, _QUANTILES) for name, score in groups.items() if len(score)},
    )
