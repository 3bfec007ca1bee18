"""How good a blend is that has seen no test image: its AUC on kinds of pseudo-anomaly that it was not weighted by."""

import numpy as np

from ensemble_ad.blend.blending import blend_scores
from ensemble_ad.blend.columns import Columns
from ensemble_ad.blend.methods import PRIOR
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
    pseudo = {kind: scores[:, known] for kind, scores in columns.pseudo.items()}
    aucs = []
    for kind, scores in pseudo.items():
        others = {name: each for name, each in pseudo.items() if name != kind}
        made = blend_scores(reference, reference[:0], PRIOR, pseudo=others)
        aucs.append(separation(made.score(reference), made.score(scores)).value)
    return pooled(aucs)
