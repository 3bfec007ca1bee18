"""A number with its uncertainty, and the intervals for probabilities such as an AUC."""

from dataclasses import dataclass
from math import exp, log, sqrt
from statistics import NormalDist

from ensemble_ad.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value with its interval.

    Attributes:
        value: the estimate.
        low, high: ends of the interval at `level`; `low <= value <= high`.
        standard_error: one standard error of `value`.
        level: confidence level of the interval, in (0, 1).
        method: how the interval was made, in a few words.
        note: what a reader must know besides the number, such as that it was clipped; mostly "".
    """

    value: float
    low: float
    high: float
    standard_error: float
    level: float = 0.95
    method: str = ""
    note: str = ""

    def __str__(self) -> str:
        text = f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"
        return f"{text} ({self.note})" if self.note else text

    def __float__(self) -> float:
        return float(self.value)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The paired difference of two scores' AUCs.

    Attributes:
        difference: AUC of a minus AUC of b.
        low, high: ends of the difference's interval at `level`.
        standard_error: the difference's standard error, which takes the covariance of the two AUCs into account.
        p_value: two-sided p value of no difference.
        level: confidence level of the interval, in (0, 1).
    """

    difference: float
    low: float
    high: float
    standard_error: float
    p_value: float
    level: float = 0.95

    def __str__(self) -> str:
        return f"{self.difference:+.3f} [{self.low:+.3f}, {self.high:+.3f}], p = {self.p_value:.2g}"


def two_sided_quantile(level: float) -> float:
    """z such that a standard normal number lies within +-z with probability `level`.

    Raises:
        UsageError: unless 0 < level < 1.
    """
    if not 0.0 < level < 1.0:
        raise UsageError(f"a confidence level lies between 0 and 1, got {level}: pass for example 0.95")
    return NormalDist().inv_cdf(0.5 + level / 2)


def probability_estimate(value: float, variance: float, smaller: int, level: float, method: str) -> Estimate:
    """An Estimate of a probability A = P(test > reference) from its variance.

    The interval is symmetric on the logit scale, so it stays within (0, 1) (Pepe 2003, section 5.2.2). The variance
    cannot be estimated from one image on a side, and vanishes where the separation is complete or all scores are tied.
    The data are then at worst worth `smaller` independent trials: Birnbaum and Klose (1957) bound the variance by
    A (1 - A) / smaller, and complete separation bounds A as Clopper and Pearson (1934) do for no failure in `smaller`
    trials.

    Args:
        value: the estimate, in [0, 1].
        variance: the estimate's variance, or nan where it cannot be estimated.
        smaller: images on the smaller side, at least 1.
        level: confidence level.
        method: what the Estimate's `method` says in the usual case.

    Raises:
        UsageError: unless 0 < level < 1.
    """
    z = two_sided_quantile(level)
    if variance > 0 and 0.0 < value < 1.0:
        error = sqrt(variance)
        low, high = logit_interval(value, error, z)
        return Estimate(
            value=value,
            low=min(low, value),
            high=max(high, value),
            standard_error=error,
            level=level,
            method=f"{method}, logit interval",
        )
    # Agresti and Coull's (1998) shifted proportion keeps the standard error above zero at 0 and 1.
    shifted = (value * smaller + z * z / 2) / (smaller + z * z)
    error = sqrt(shifted * (1 - shifted) / (smaller + z * z))
    slack = 1 - ((1 - level) / 2) ** (1 / smaller)
    if value in (0.0, 1.0):
        low, high = max(0.0, value - slack), min(1.0, value + slack)
        method = "complete separation: Clopper-Pearson on the smaller side"
    elif variance == 0:
        low, high = value - slack * value, value + slack * (1 - value)
        error = min(error, (high - low) / (2 * z))
        method = "no spread in the placements: bound from the smaller side"
    else:
        low, high = max(0.0, value - z * error), min(1.0, value + z * error)
        method = "one image on a side: Birnbaum-Klose bound"
    return Estimate(value=value, low=low, high=high, standard_error=error, level=level, method=method)


def logit_interval(value: float, error: float, z: float) -> tuple[float, float]:
    """Ends of the interval of a probability that is symmetric on the logit scale (Pepe 2003, section 5.2.2).

    Where the value is 0 or 1, or the error 0, the ends are the value minus and plus `z` errors, cut to [0, 1].
    """
    if error <= 0 or not 0 < value < 1:
        return max(0.0, value - z * error), min(1.0, value + z * error)
    centre, half = log(value / (1 - value)), z * error / (value * (1 - value))
    return _expit(centre - half), _expit(centre + half)


def _expit(x: float) -> float:
    return 1 / (1 + exp(-x)) if x >= 0 else exp(x) / (1 + exp(x))
