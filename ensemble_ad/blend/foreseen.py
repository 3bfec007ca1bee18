"""How good a blend is that has seen no test image: its AUC on kinds of pseudo-anomaly that it was not weighted by."""

import numpy as np

from ensemble_ad.blend.columns import Columns
from ensemble_ad.blend.distinct import Distinct
from ensemble_ad.blend.methods import METHODS, PRIOR
from ensemble_ad.blend.normalise import normalise
from ensemble_ad.blend.prior import prior_weights
from ensemble_ad.blend.rule import Part
from ensemble_ad.blend.seen import SeenDefects
from ensemble_ad.members.defect_aucs import pooled
from ensemble_ad.statistics import separation


def foreseen_auc(columns: Columns) -> float:
    """The AUC of `prior` blends, each on the kind that it was fitted without, pooled over the kinds.

    Args:
        columns: the blend's columns; those without scores of pseudo-anomalies play no part.

    Returns:
        0.5 where there are fewer than two kinds.
    """
    if len(columns.pseudo) < 2:
        return 0.5
    known = np.all([np.isfinite(scores).all(axis=0) for scores in columns.pseudo.values()], axis=0)
    if not known.any():
        return 0.5
    reference = columns.reference[:, known]
    seen = SeenDefects.of(reference, {kind: scores[:, known] for kind, scores in columns.pseudo.items()})
    assert seen is not None
    method, damaged = METHODS[PRIOR], [*seen.pseudo.values()]
    frozen, low, high = normalise(method.normaliser, reference, np.concatenate(damaged))
    votes = Distinct.of(low, high[:0], np.zeros(low.shape[1], dtype=bool)).every_vote
    ends = np.cumsum([len(scores) for scores in damaged])[:-1]
    aucs = []
    for kind, scores in zip(seen.pseudo, np.split(high, ends), strict=True):
        weights = prior_weights(seen.without(kind), votes)
        part = Part(name=PRIOR, normaliser=frozen, combiner=method.combiner, weights=weights)
        aucs.append(separation(part.of_normalised(low), part.of_normalised(scores)).value)
    return pooled(aucs)
