"""Which AUC a separation implies, without labels, where a share of the test images are anomalies."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import exp, hypot, log, pi, sqrt
from statistics import NormalDist

from ensemble_ad.errors import UsageError
from ensemble_ad.statistics.estimate import two_sided_quantile

LEVEL = 0.95
WIDEST = 0.4
"""No interval is given that is wider: it would say little, and covers the truth less often."""
MOST_ANOMALIES = 0.6
"""A larger share of anomalies is less likely than normal test images that differ from the reference."""
LEAST_AUC = 0.7
"""Below it, a shift of normal images is taken for many anomalies that look normal."""
PRIOR_SHIFT = 0.15
"""A priori standard deviation of how far the test's normal images are shifted, on the reference's normal scale."""
_MOST_ERROR = 0.8  # of an estimated share, in parts of itself
_QUANTILE = two_sided_quantile(LEVEL)
_NODES = 15  # values of the share that the interval is a mixture over
_OTHER_SHIFT = 0.08  # by so much, at least, another score's shift differs from the blend's
_LEAST_CHANCE = 0.02


@dataclass(frozen=True, kw_only=True)
class ImpliedAuc:
    """An AUC that was estimated without labels.

    Attributes:
        value: the estimate.
        low, high: ends of its 95% interval, cut to [0, 1].
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True, kw_only=True)
class Share:
    """The share of anomalies among the test images of a data set.

    Attributes:
        value: in [0, 1].
        standard_error: 0 where it is given.
        given: whether the user gave it; else it was estimated without labels.
        shift, shift_error: how far the test's normal images are shifted against the reference, on the scale on which
            that is standard normal.
        withheld: what is known to be wrong with the test images, so that no AUC can be told; mostly "".
    """

    value: float
    standard_error: float = 0.0
    given: bool = True
    shift: float = 0.0
    shift_error: float = PRIOR_SHIFT
    withheld: str = ""

    def __post_init__(self) -> None:
        if not (0 <= self.value <= 1 and self.standard_error >= 0) or (self.given and self.value == 0):
            raise UsageError(f"the anomaly share lies in (0, 1], got {self.value}: pass for example 0.5")

    @property
    def source(self) -> str:
        return "given" if self.given else "estimated"

    @property
    def why_none(self) -> str:
        """Why no AUC can be told by it, in words; "" where one can."""
        if self.withheld or self.given:
            return self.withheld
        if self.value > MOST_ANOMALIES:
            return (
                f"the scores speak of {self.in_words}, and more than {MOST_ANOMALIES:.0%} are less likely than normal "
                "test images that differ from the held-out ones"
            )
        if self.standard_error >= _MOST_ERROR * self.value:
            return f"{self.in_words} cannot be told from none; give --anomaly-share"
        return ""

    @property
    def in_words(self) -> str:
        """The share and where it comes from."""
        error = "" if self.given else f", standard error {self.standard_error:.1%}"
        return f"{self.value:.1%} anomalies ({self.source}{error})"

    @property
    def usable(self) -> bool:
        """Whether an AUC can be told by it."""
        return not self.why_none

    def implied_auc(self, separation: float, standard_error: float, *, own_shift: bool = False) -> ImpliedAuc | None:
        """The AUC that a separation A implies, 0.5 + (A - 0.5 - (1 - p) a) / p (after Menon et al. 2015).

        a is by how much the test's normal images score above the reference more often than below it. The interval
        covers the errors of A, p (log-normal) and a (normal), taken for independent, which errs towards the wider; its
        lower end and the value are of what they leave within [0, 1]. It does not cover anomalies that no member sees.

        Args:
            separation: in [0, 1].
            standard_error: of it.
            own_shift: whether it is of the score by which the shift was estimated, `auto`'s; others have other shifts.

        Returns:
            None where the share is not usable, where test images score surely below the reference, where no AUC
            explains the separation, and where the interval would be wider than `WIDEST`.
        """
        if not self.usable or separation + _QUANTILE * standard_error < 0.5:
            return None
        shift, error = self.shift, self.shift_error
        if not own_shift and error > 0:
            shift, error = shift / 2, sqrt(error**2 + (shift / 2) ** 2 + _OTHER_SHIFT**2)
        a, a_error = NormalDist().cdf(shift / sqrt(2)) - 0.5, error / (2 * sqrt(pi))
        likely = [
            NormalDist(
                0.5 + (separation - 0.5 - (1 - p) * a) / p, max(hypot(standard_error, (1 - p) * a_error) / p, 1e-9)
            )
            for p in self._shares()
        ]
        at_0, at_1 = (_below(likely, end) for end in (0.0, 1.0))
        if at_1 - at_0 < _LEAST_CHANCE:
            return None
        tail = (1 - LEVEL) / 2
        low, value = (_quantile(likely, at_0 + part * (at_1 - at_0)) for part in (tail, 0.5))
        high = max(value, _quantile(likely, 1 - tail))
        return None if high - low > WIDEST else ImpliedAuc(value=value, low=low, high=high)

    def _shares(self) -> list[float]:
        """Equally likely values of the share."""
        if self.standard_error == 0:
            return [self.value]
        spread = log(1 + (self.standard_error / self.value) ** 2)
        centre = log(self.value) - spread / 2
        return [min(1.0, exp(centre + sqrt(spread) * z)) for z in _nodes()]


@cache
def _nodes() -> tuple[float, ...]:
    return tuple(NormalDist().inv_cdf((i + 0.5) / _NODES) for i in range(_NODES))


def _below(likely: Sequence[NormalDist], x: float) -> float:
    """The chance of less than `x` where each of `likely` is as likely as the others."""
    return sum(each.cdf(x) for each in likely) / len(likely)


def _quantile(likely: Sequence[NormalDist], chance: float) -> float:
    """The number in [0, 1] below which lies that chance, to 1e-4."""
    low, high = 0.0, 1.0
    for _ in range(14):
        middle = (low + high) / 2
        low, high = (middle, high) if _below(likely, middle) < chance else (low, middle)
    return 1.0 if high == 1.0 else (low + high) / 2
