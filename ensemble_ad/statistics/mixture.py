"""The share of anomalies among test scores, by a mixture of normal images, which may have shifted, and anomalies."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import sqrt
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from ensemble_ad.statistics.arrays import Floats, Floats64
from ensemble_ad.statistics.implied import PRIOR_SHIFT

_BINS = 20
_SHARES = np.concatenate([np.geomspace(0.005, 0.1, 16)[:-1], np.arange(0.1, 0.901, 0.02)])
_SHIFTS = np.linspace(-1.0, 1.4, 41)
_MEANS, _SPREADS = np.linspace(0.4, 6.0, 29), np.array([0.7, 1.0, 1.5, 2.2])
_APART = 0.3  # by which anomalies lie above normal images at least


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """What a mixture that was fitted to test scores says.

    Attributes:
        share, share_error: mean and standard deviation of the share of anomalies, a posteriori.
        shift, shift_error: of how far the test's normal images are shifted. 1 is a standard deviation of the reference
            on the scale on which that is normal.
        misfit: twice the log-likelihood that is lost by the best mixture against the counts themselves.
    """

    share: float
    share_error: float
    shift: float
    shift_error: float
    misfit: float


def fit_mixture(sides: Sequence[tuple[Floats, Floats]], share: float | None = None) -> Mixture:
    """Fit test = (1 - p) normal images + p anomalies, on the scale on which the reference is standard normal.

    Test images are counted in 20 bins between the reference's quantiles. Normal images have N(d, 1) there, with d the
    shift, a priori N(0, 0.15^2); anomalies N(m, s^2) above them. Weak anomalies, which score as normal images do, and a
    shift of the normal images both bend the curve of the share of test images against that of the reference; what
    cannot be told apart is in the posterior. p is a priori uniform on a logarithmic scale from 0.005 to 0.9, m uniform
    to 6, s one of four. The binormal model of an ROC curve is Dorfman and Alf's (1969); the mixture of unlabelled with
    known scores is the problem of Blanchard, Lee and Scott (2010).

    Args:
        sides: pairs of reference and test scores, each pair on a scale of its own; the counts of all are added up.
        share: p where it is known.
    """
    counts, n = np.zeros(_BINS), 0
    for reference, test in sides:
        edges = np.quantile(reference, np.arange(1, _BINS) / _BINS)
        counts += np.bincount(np.searchsorted(edges, test, side="left"), minlength=_BINS)
        n += len(reference)
    # The quantiles of a finite reference err as well, which a count is worth the less for.
    worth = counts / (1 + counts.sum() / n)
    normal, odd, allowed = _components()
    shares = _SHARES if share is None else np.array([share])
    found = np.empty((len(shares), *allowed.shape))
    for i, p in enumerate(shares):
        found[i] = np.log((1 - p) * normal[:, None, :] + p * odd + 1e-9) @ worth
    positive = counts > 0
    misfit = 2 * float(worth[positive] @ np.log(counts[positive] / counts.sum()) - found.max())
    found -= (_SHIFTS[:, None] / PRIOR_SHIFT) ** 2 / 2
    found[:, ~allowed] = -np.inf
    weights = np.exp(found - found.max())
    if share is None:
        weights *= (np.gradient(shares) / shares)[:, None, None]
    weights /= weights.sum()
    p, p_error = _moments(shares, weights.sum(axis=(1, 2)))
    shift, shift_error = _moments(_SHIFTS, weights.sum(axis=(0, 2)))
    return Mixture(share=p, share_error=p_error, shift=shift, shift_error=shift_error, misfit=misfit)


def _moments(values: Floats64, weights: Floats64) -> tuple[float, float]:
    mean = float(weights @ values)
    return mean, sqrt(max(0.0, float(weights @ (values - mean) ** 2)))


@cache
def _components() -> tuple[Floats64, Floats64, npt.NDArray[np.bool_]]:
    """Chances of the bins: (shifts, 20) of normal images, (a, 20) of anomalies; (shifts, a) whether a pair may be."""
    cuts = np.array([NormalDist().inv_cdf(i / _BINS) for i in range(1, _BINS)])
    means, spreads = np.repeat(_MEANS, len(_SPREADS)), np.tile(_SPREADS, len(_MEANS))
    normal = _chances(cuts - _SHIFTS[:, None])
    odd = _chances((cuts - means[:, None]) / spreads[:, None])
    return normal, odd, means - _SHIFTS[:, None] > _APART


def _chances(cuts: Floats64) -> Floats64:
    below = np.vectorize(NormalDist().cdf)(cuts)
    ends = np.zeros((len(cuts), 1))
    return np.diff(np.concatenate([ends, below, ends + 1], axis=1), axis=1)
