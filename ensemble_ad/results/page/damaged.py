"""How pseudo-anomalies score: all that is known of how good a blend is that was made without test images."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ensemble_ad.blend.columns import reference_scores
from ensemble_ad.blend.result import Blend
from ensemble_ad.blend.saved import SavedBlend
from ensemble_ad.members.store import Member
from ensemble_ad.results.page.crew import Columns, main_column
from ensemble_ad.results.page.figures import KindSeen
from ensemble_ad.statistics import separation
from ensemble_ad.statistics.arrays import Floats64


@dataclass(frozen=True, kw_only=True)
class Damaged:
    """What pseudo-anomalies say of a blend.

    Attributes:
        scores: float64 (d,) the blend's scores of all pseudo-anomalies; empty where they are not known.
        kinds: how well each kind is seen, the worst first.
    """

    scores: Floats64
    kinds: tuple[KindSeen, ...]


def damaged(blend: SavedBlend, chosen: Member, equal: Blend, found: Columns) -> Damaged | None:
    """How the blend, its best member and equal weights see pseudo-anomalies.

    The blend's rule was chosen by these same images, so that its AUCs are flattered; the held-out normal images are
    scored by rules that were fitted without them.

    Args:
        blend: a blend that was made without test images.
        chosen: its best member.
        equal: the equal mean of the same columns.
        found: the columns.

    Returns:
        None where a column has no scores of pseudo-anomalies, so that the blend has none.
    """
    pseudo: Mapping[str, Floats64] = {kind: rows.astype(np.float64) for kind, rows in found.read.pseudo.items()}
    if not pseudo or not all(np.isfinite(rows).all() for rows in pseudo.values()):
        return None
    rule, at = blend.rule(), main_column(chosen, found.names)
    by_blend = {kind: rule.score(rows) for kind, rows in pseudo.items()}
    normal = {
        "blend": reference_scores(blend.info, found.read),
        "chosen": found.reference[:, at],
        "equal": equal.score(found.reference),
    }
    kinds = [
        KindSeen(
            kind=kind,
            blend=separation(normal["blend"], by_blend[kind]).value,
            chosen=separation(normal["chosen"], rows[:, at]).value,
            equal=separation(normal["equal"], equal.score(rows)).value,
        )
        for kind, rows in pseudo.items()
    ]
    ordered = sorted(kinds, key=lambda seen: (seen.blend, seen.kind))
    return Damaged(scores=np.concatenate([*by_blend.values()]), kinds=tuple(ordered))
