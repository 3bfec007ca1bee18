"""What is believed of a model's AUC without labels: what pseudo-anomalies promise, moved by what a test batch shows.

A model i has an unknown AUC a_i. Pseudo-anomalies promise it up to a spread t, and a batch with a share p of anomalies
shows p of it (Menon et al. 2015), up to the error s of its separation A_i:

    a_i = m_i + t e_i,   m_i = 0.5 + b (S_i - 0.5);      A_i = 0.5 + p (a_i - 0.5) + s e'_i.

With normal errors the posterior mean is 0.5 + (1 - w) (m_i - 0.5) + w (A_i - 0.5) / p, where
w = p^2 t^2 / (p^2 t^2 + s^2): the promise alone where nothing can be seen (p small, few images), what the separation
implies where much can. p is not known either. A few detectors that are known beforehand show it: the largest of their
separations beyond 0.5, less two errors since it is the largest, is p times what that detector promises. The posterior
of p, with all orders of magnitude alike before, weighs the sum over p, so that the value stays linear in S_i and A_i,
with the same two factors for every model: values compare.

b, t and the range of p were found on image sets, with the tables of benchmarks/pseudo.md in view, which also judge each
set by the constants that the others give.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Self

import numpy as np

from ensemble_ad.errors import UsageError
from ensemble_ad.statistics.implied import MOST_ANOMALIES

SLOPE = 0.7
"""b: how much of what pseudo-anomalies promise comes true."""
SPREAD = 0.04
"""t: the standard deviation of true AUCs about what is promised."""
_LEAST_SHARE = 0.004
_SHARES = np.geomspace(_LEAST_SHARE, MOST_ANOMALIES, 60)
_LEAST_PROMISE = 0.05
_CHARGED = 2.0


@dataclass(frozen=True, kw_only=True)
class Belief:
    """How much a data set's test batch says of models, beside pseudo-anomalies.

    Attributes:
        share: the share of anomalies that is believed, in [0, 1]; 0 where there is no batch.
        promised: factor of what pseudo-anomalies promise beyond 0.5, in [0, 1].
        shown: factor of a separation beyond 0.5.
        standard_error: of an AUC that is believed, beside those of the same data set's other models.
    """

    share: float = 0.0
    promised: float = 1.0
    shown: float = 0.0
    standard_error: float = SPREAD

    @property
    def weight(self) -> float:
        """How much of what is believed the test batch decides, from 0 to 1."""
        return 1 - self.promised

    def auc(self, synthetic: float, separation: float) -> float:
        """The AUC that is believed, in [0, 1].

        Args:
            synthetic: what pseudo-anomalies say.
            separation: of the test batch; 0.5 where there is none, or where it is not believed.
        """
        beyond = self.promised * SLOPE * (synthetic - 0.5) + self.shown * (separation - 0.5)
        return min(1.0, max(0.0, 0.5 + beyond))

    @classmethod
    def of_share(cls, share: float, reference_rows: int, test_rows: int) -> Self:
        """Where the share of anomalies is known.

        Raises:
            UsageError: unless it lies between 0 and 1.
        """
        if not 0 < share < 1:
            raise UsageError(f"the share of anomalies must lie between 0 and 1, not {share}")
        return cls._over(np.array([share]), np.ones(1), _error(reference_rows, test_rows))

    @classmethod
    def of_detectors(
        cls, synthetic: Sequence[float], separation: Sequence[float], reference_rows: int, test_rows: int
    ) -> Self:
        """Where detectors that are known beforehand show the share.

        Args:
            synthetic: what pseudo-anomalies say of each.
            separation: each one's.
            reference_rows: number of held-out normal images.
            test_rows: number of test images.
        """
        error = _error(reference_rows, test_rows)
        best = int(np.argmax(separation))
        promise = max(_LEAST_PROMISE, SLOPE * (synthetic[best] - 0.5))
        apart = (separation[best] - 0.5 - _CHARGED * error - _SHARES * promise) / error
        likely = np.exp(-0.5 * (apart**2 - (apart**2).min()))
        return cls._over(_SHARES, likely / likely.sum(), error)

    @classmethod
    def _over(cls, shares: np.ndarray, likely: np.ndarray, error: float) -> Self:
        """The sum over shares of anomalies by how likely they are."""
        seen = (shares * SPREAD) ** 2
        weight = seen / (seen + error**2)
        left = float(likely @ (1 - weight))
        return cls(
            share=float(likely @ shares),
            promised=left,
            shown=float(likely @ (weight / shares)),
            standard_error=SPREAD * sqrt(left),
        )


def _error(reference_rows: int, test_rows: int) -> float:
    """The standard error of a separation where there is none (Mann and Whitney 1947), without ties."""
    return sqrt((1 / reference_rows + 1 / test_rows) / 12)
