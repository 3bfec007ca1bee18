"""From anomaly scores to alarms: a threshold that a chosen share of normal images exceeds."""

from collections.abc import Mapping
from functools import partial
from math import ceil, floor, log10, sqrt
from types import MappingProxyType

import numpy as np

from ensemble_ad.blend import blend_scores
from ensemble_ad.blend.auto import fit_auto
from ensemble_ad.blend.rule import total_score
from ensemble_ad.blend.seen import SeenDefects
from ensemble_ad.errors import UsageError
from ensemble_ad.statistics import Estimate
from ensemble_ad.statistics.arrays import Bools, Floats, Floats64

_FOLDS = 5
_ROWS = 5_000  # of each side: as precise as a threshold need be, and seconds at most


def crossfit_reference(
    reference: Floats,
    test: Floats,
    *,
    method: str,
    weights: Floats64 | None = None,
    anomaly_share: float | None = None,
    pseudo: Mapping[str, Floats] = MappingProxyType({}),
    transductive: Bools | None = None,
) -> Floats64:
    """Scores of the reference images by rules that were fitted without them: what new normal images will score.

    A blend that was learnt from test against reference has been shown which images are normal, and scores those very
    images too low: of 150 reference images and 10 members, their 99% quantile is exceeded by 9.5% of new normal images,
    that of the cross-fitted scores by 1.5%; of 5,000, by 1.8% and 1.4% (simulated normal scores, 30% anomalies). The
    rules of the five folds and the whole blend's are on one scale, as in cross-conformal prediction (Vovk 2015, Ann.
    Math. Artif. Intell. 74; Barber et al. 2021, Ann. Statist. 49(1), for its theory): close, not exact.

    Args:
        reference: (n, m) scores of held-out normal images, finite; higher = more anomalous.
        test: (k, m) of the unlabelled test images.
        method: method of `blend_scores`.
        weights: (m,) the weights, where the method is `given`.
        anomaly_share: share of anomalies among the test images, where it is known.
        pseudo: (d, m) of pseudo-anomalies by kind, as for `blend_scores`.
        transductive: (m,), as for `blend_scores`.

    Returns:
        float64 (n,), or the scores of 5,000 images drawn with a fixed seed where there are more. Fewer than 10 images
        are too few for folds; they get the whole blend's scores.
    """
    whole = partial(
        blend_scores,
        method=method,
        weights=weights,
        anomaly_share=anomaly_share,
        pseudo=pseudo,
        transductive=transductive,
    )
    if len(reference) < 2 * _FOLDS:
        return total_score(whole(reference, test).parts, reference)
    rng = np.random.default_rng(0)
    rows = rng.permutation(len(reference))[:_ROWS]
    low, high = reference[rows], test[np.sort(rng.permutation(len(test))[:_ROWS])]
    fold = np.arange(len(low)) % _FOLDS
    scores = np.empty(len(low))
    seen = SeenDefects.of(low, pseudo)
    for number in range(_FOLDS):
        inside, outside = low[fold != number], low[fold == number]
        if method == "auto" and len(high):
            parts = fit_auto(inside, high, anomaly_share=anomaly_share, seen=seen, transductive=transductive).parts
        else:
            parts = whole(inside, high).parts
        scores[fold == number] = total_score(parts, outside)
    return scores


def threshold(reference: Floats64, alarm_rate: float) -> float:
    """The score that a share `alarm_rate` of new normal images exceeds, at most.

    The k-th smallest of n reference scores with k = ceil((n + 1) (1 - rate)), so that the chance of a new normal image
    to exceed it is at most the rate where it and the reference are exchangeable (split conformal prediction: Vovk et
    al. 2005; Laxhammar and Falkman 2010 for anomalies).

    >>> threshold(np.arange(1.0, 100.0), 0.05)
    95.0

    Raises:
        UsageError: for a rate outside (0, 1), or one below 1 / (n + 1), which n images cannot tell.
    """
    n = len(reference)
    if not 0 < alarm_rate < 1:
        raise UsageError(f"--alarm-rate must lie between 0 and 1, not {alarm_rate}; as in 0.01")
    position = position_of_threshold(n, alarm_rate)
    if position > n:
        raise UsageError(
            f"--alarm-rate must be {_rounded_up(lowest_rate(n))} or more, not {alarm_rate}: there are {n} held-out "
            "normal images, too few to tell a rarer alarm"
        )
    return float(np.partition(reference, position - 1)[position - 1])


def position_of_threshold(n: int, alarm_rate: float) -> int:
    """k of `threshold`, from 1; n + 1 where n images are too few."""
    # Rounded, since 100 * (1 - 0.05) must not become 95.00000000000001 and then 96.
    return ceil(round((n + 1) * (1 - alarm_rate), 9))


def false_alarm_rate(n: int, alarm_rate: float, level: float = 0.95) -> Estimate:
    """Which share of new normal images exceeds `threshold`, given that n held-out ones set it.

    The threshold is the k-th smallest of n scores, so that whatever the scores' distribution, if it is continuous, the
    share above it is drawn from Beta(n + 1 - k, k) (Wilks 1941, Ann. Math. Statist. 12(1)): an exact interval, where
    held-out and new images are drawn alike and independently.

    Args:
        n: the number of held-out images.
        alarm_rate: as for `threshold`, which it takes.
        level: of the interval, in (0, 1).

    >>> rate = false_alarm_rate(100, 0.05)
    >>> [round(value, 3) for value in (rate.value, rate.low, rate.high)]
    [0.05, 0.016, 0.099]
    """
    from scipy.special import betaincinv  # a ninth of a second, for which nothing waits that states no rate

    above = n + 1 - position_of_threshold(n, alarm_rate)
    below = n + 1 - above
    low, high = (float(betaincinv(above, below, q)) for q in ((1 - level) / 2, (1 + level) / 2))
    value, variance = above / (n + 1), above * below / ((n + 1) ** 2 * (n + 2))
    return Estimate(value=value, low=low, high=high, standard_error=variance**0.5, level=level, method="Beta")


def most_alarms(n: int, alarm_rate: float, new: int) -> int:
    """How many of so many new normal images exceed `threshold` at most, but for about one time in a hundred.

    Their number is beta-binomial; this is its mean and three of its standard deviations. See `false_alarm_rate`.

    >>> most_alarms(100, 0.05, new=252)
    31
    """
    above = n + 1 - position_of_threshold(n, alarm_rate)
    rate = above / (n + 1)
    variance = new * rate * (1 - rate) * (n + 1 + new) / (n + 2)
    return floor(new * rate + 3 * sqrt(variance))


def p_values(reference: Floats64, scores: Floats64) -> Floats64:
    """Conformal p values: (1 + the number of reference scores that are as high) / (n + 1), float64 (k,).

    Of a new normal image it is p or less with a chance of at most p (Vovk et al. 2005; Laxhammar and Falkman 2010 for
    anomalies). Those of a batch depend on one another through the reference, in a way that Benjamini and Hochberg's
    procedure allows (Bates et al. 2023, Ann. Statist. 51(1)).

    Args:
        reference: float64 (n,) scores of held-out normal images, sorted.
        scores: float64 (k,) scores of new images.

    >>> p_values(np.arange(1.0, 10.0), np.array([0.0, 5.0, 99.0])).tolist()
    [1.0, 0.6, 0.1]
    """
    n = len(reference)
    return np.asarray((1 + n - np.searchsorted(reference, scores, side="left")) / (n + 1), dtype=np.float64)


def discoveries(p: Floats64, rate: float) -> Bools:
    """bool (k,): which of a batch stand out, a share `rate` of them normal at most, on average (Benjamini, Hochberg).

    Raises:
        UsageError: unless 0 < rate < 1.
    """
    from scipy.stats import false_discovery_control

    check_rate(rate)
    return np.asarray(false_discovery_control(p) <= rate if len(p) else np.empty(0, dtype=bool), dtype=bool)


def check_rate(rate: float) -> None:
    """Refuse what is no false discovery rate.

    Raises:
        UsageError: unless 0 < rate < 1.
    """
    if not 0 < rate < 1:
        raise UsageError(f"--fdr must lie between 0 and 1, not {rate}; as in 0.05")


def lowest_rate(n: int) -> float:
    """The lowest alarm rate that `threshold` takes of n reference scores."""
    return 1 / (n + 1)


def _rounded_up(rate: float) -> str:
    """A rate in two digits, never below what it is, so that it is taken as it is printed."""
    unit = 10.0 ** (floor(log10(rate)) - 1)
    return f"{ceil(round(rate / unit, 9)) * unit:.2g}"
