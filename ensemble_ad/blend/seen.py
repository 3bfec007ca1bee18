"""How well members see pseudo-anomalies: all that is known of them before any test image."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from ensemble_ad.members.defect_aucs import pooled
from ensemble_ad.statistics import separation_many
from ensemble_ad.statistics.arrays import Bools, Floats, Floats64


@dataclass(frozen=True, kw_only=True)
class SeenDefects:
    """What members make of pseudo-anomalies.

    Attributes:
        reference: (n, m) scores of held-out normal images.
        pseudo: (d, m) of pseudo-anomalies by their kind, of one at least; a column of NaN where a member has none.
        aucs: float64 (m, K), P(a pseudo-anomaly of a kind scores above a held-out normal image); NaN where a member has
            none.
    """

    reference: Floats
    pseudo: Mapping[str, Floats]
    aucs: Floats64

    @classmethod
    def of(cls, reference: Floats, pseudo: Mapping[str, Floats]) -> Self | None:
        """None where there are no kinds."""
        if not pseudo:
            return None
        aucs = np.full((reference.shape[1], len(pseudo)), np.nan)
        for number, scores in enumerate(pseudo.values()):
            known = np.isfinite(scores).all(axis=0)
            if known.any():
                aucs[known, number] = separation_many(reference[:, known], scores[:, known]).value
        return cls(reference=reference, pseudo=pseudo, aucs=aucs)

    def without(self, kind: str) -> Self:
        """The same without a kind, of several."""
        kinds = [*self.pseudo]
        return replace(
            self,
            pseudo={name: scores for name, scores in self.pseudo.items() if name != kind},
            aucs=np.delete(self.aucs, kinds.index(kind), axis=1),
        )

    @property
    def known(self) -> Bools:
        """(m,) True for members whose scores of pseudo-anomalies are known."""
        return np.asarray(np.isfinite(self.aucs).all(axis=1))


def worth(aucs: Floats64) -> Floats64:
    """(m,) what each member's AUCs (m, K) come to (`defect_aucs.pooled`), without its largest where there are several.

    So a member that only sees turns does not win by turns.
    """
    ascending = np.sort(aucs, axis=1)
    return np.array([pooled(row[:-1] if len(row) > 1 else row) for row in ascending.tolist()])
