"""Which AUC a separation implies, without labels, where a share of the test images are anomalies."""

from dataclasses import dataclass
from math import sqrt

from ensemble_ad.errors import UsageError
from ensemble_ad.statistics.estimate import logit_interval, two_sided_quantile

LEVEL = 0.95
_QUANTILE = two_sided_quantile(LEVEL)


@dataclass(frozen=True, kw_only=True)
class ImpliedAuc:
    """An AUC that was estimated without labels.

    Attributes:
        value: None where the formula leaves [0, 1] by no more than its error: only the interval says something then.
        low, high: ends of its 95% interval, cut to [0, 1].
    """

    value: float | None
    low: float
    high: float

    def __str__(self) -> str:
        interval = f"[{self.low:.3f}, {self.high:.3f}]"
        return f"in {interval}" if self.value is None else f"{self.value:.3f} {interval}"


@dataclass(frozen=True, kw_only=True)
class Share:
    """The share of anomalies among the test images of a data set.

    Attributes:
        value: in [0, 1].
        standard_error: 0 where it is given.
        given: whether the user gave it; else it was estimated without labels.
    """

    value: float
    standard_error: float = 0.0
    given: bool = True

    def __post_init__(self) -> None:
        if not (0 <= self.value <= 1 and self.standard_error >= 0) or (self.given and self.value == 0):
            raise UsageError(f"the anomaly share lies in (0, 1], got {self.value}: pass for example 0.5")

    @property
    def source(self) -> str:
        return "given" if self.given else "estimated"

    @property
    def usable(self) -> bool:
        """Whether it is surely (95%) above 0; else no interval of an AUC that it implies has ends."""
        return self.value > _QUANTILE * self.standard_error

    def implied_auc(self, separation: float, standard_error: float) -> ImpliedAuc | None:
        """The AUC that a separation A implies, 0.5 + (A - 0.5) / p (Menon et al. 2015).

        Where p is given, the ends are those of A's logit interval, put through the same formula. Where p is
        estimated, they are Fieller's (1954) for the ratio of two uncertain numbers, (A - 0.5) / p, so they cover the
        errors of both; A and p come from the same images, their errors go the same way, and taking them for
        independent errs towards the wider. Neither covers anomalies that no member sees (p is then too small and
        the AUC too large), nor test normals that score otherwise than the reference.

        Args:
            separation: in [0, 1].
            standard_error: of it.

        Returns:
            None where the share is not usable, where no AUC explains the separation (all of the interval lies outside
            [0, 1]), and where every AUC does.
        """
        if not self.usable:
            return None
        beyond, p = separation - 0.5, self.value
        if self.standard_error == 0:
            ends = [(end - 0.5) / p for end in logit_interval(separation, standard_error, _QUANTILE)]
        else:
            room = p**2 - (_QUANTILE * self.standard_error) ** 2
            root = sqrt(max(0.0, (beyond * p) ** 2 - room * (beyond**2 - (_QUANTILE * standard_error) ** 2)))
            ends = [(beyond * p - root) / room, (beyond * p + root) / room]
        low, value, high = (round(0.5 + end, 12) for end in (ends[0], beyond / p, ends[1]))
        if low > 1 or high < 0 or (low <= 0 and high >= 1):
            return None
        return ImpliedAuc(value=value if 0 <= value <= 1 else None, low=max(0.0, low), high=min(1.0, high))
