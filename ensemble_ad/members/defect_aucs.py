"""What pseudo-anomalies say of models: the AUC of each kind, and of all of them."""

from collections.abc import Iterable, Mapping
from statistics import NormalDist, fmean

import numpy.typing as npt

from ensemble_ad import statistics
from ensemble_ad.errors import DataError
from ensemble_ad.statistics import Estimate

_NORMAL = NormalDist()
_LEAST = 0.01


def synthetic_aucs(normal: npt.ArrayLike, pseudo: Mapping[str, npt.ArrayLike]) -> dict[str, Estimate]:
    """AUC of each kind: P(a pseudo-anomaly scores above a normal image), ties one half, with DeLong's error.

    That is `statistics.separation` of the two sets, the same Mann-Whitney statistic as an AUC with labels. The standard
    error takes the defects for independent of the normal images, which they are: they are made of other images.

    Args:
        normal: (n,) scores of normal images, higher = more anomalous.
        pseudo: (k,) scores of the defects, by kind.

    Raises:
        DataError: for no kinds, NaN, no scores or wrong dimensions.
    """
    if not pseudo:
        raise DataError("at least one kind of pseudo-anomaly has to be scored, got none")
    return {name: statistics.separation(normal, scores) for name, scores in pseudo.items()}


def pooled(aucs: Iterable[float]) -> float:
    """One number for the AUCs of several kinds: the AUC at their mean distance between normal and damaged images.

    Of two normal distributions d standard deviations apart the AUC is Phi(d / sqrt 2) (Green and Swets 1966). So kinds
    are averaged as Phi^-1(AUC): from 0.97 to 0.99 is as far as from 0.60 to 0.76, and counts as much.

    Args:
        aucs: at least one, in [0, 1]; beyond 0.01 and 0.99, which 100 images do not tell from 0 and 1, these count.
    """
    return _NORMAL.cdf(fmean(_NORMAL.inv_cdf(min(max(auc, _LEAST), 1 - _LEAST)) for auc in aucs))
