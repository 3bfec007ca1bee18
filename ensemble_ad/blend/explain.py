"""The blend in plain words."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ensemble_ad.blend.auto import mixture
from ensemble_ad.blend.guard import Evidence
from ensemble_ad.blend.methods import AUTO, METHODS
from ensemble_ad.blend.result import Part

_PARTS = {
    "linear": "a non-negative logistic regression of test against reference",
    "forest": "randomised trees of test against reference",
    "flat": "the flat mean of the members' stretched ranks",
}


def explain(
    asked: str,
    method: str,
    parts: tuple[Part, ...],
    weights: NDArray[np.float64],
    evidence: Evidence,
    fired: tuple[str, ...],
) -> str:
    """What was done, why, how well, and what to beware of; a few sentences."""
    sentences = []
    if asked == AUTO:
        sentences.append(_of_auto(parts, evidence))
    else:
        sentences.append(f"Method {method}: {METHODS[method].summary} ({parts[0].normaliser.name}).")
    order = np.argsort(-weights, kind="stable")
    used = [i for i in order[:3] if weights[i] > 0]
    counted = int((weights > 0).sum())
    sentences.append(
        f"{counted} of {len(weights)} members count; most: "
        + ", ".join(f"{evidence.names[i]} {weights[i]:.0%}" for i in used)
        + "."
    )
    best = int(np.argmax(evidence.member.value))
    kind = "Out-of-fold separation" if evidence.out_of_fold else "Separation (in-sample)"
    sentences.append(
        f"{kind} of test from reference: {evidence.separation}; best single member {evidence.names[best]} "
        f"{evidence.member.value[best]:.3f} (in-sample, best of {len(weights)})."
    )
    if fired:
        sentences.append("Guards: " + "; ".join(fired) + ".")
    return " ".join(sentences)


def _of_auto(parts: tuple[Part, ...], evidence: Evidence) -> str:
    kinds = list(dict.fromkeys(part.name for part in parts))
    words = [_PARTS[kind] for kind in kinds]
    text = "Chosen without labels: " + "; ".join(words) + "."
    if evidence.differs:
        return text + " What could be learnt is how the test's normal images differ, so it is not used."
    if evidence.learnt is None or kinds == ["flat"]:
        return text + " Too few images or members to learn weights, so members count by how much they differ."
    share = evidence.given_share
    if share is not None:
        text += f" With the given {share:.0%} anomalies"
    elif evidence.share is not None:
        text += f" With an estimated {evidence.share.value:.0%} (+- {evidence.share.standard_error:.0%}) anomalies"
    if evidence.learnt >= 1:
        return text + " there is enough to learn from, so no flat mean is needed."
    shares = mixture(evidence.learnt)
    flat = shares["flat"] / sum(shares.values())
    return text + f" there is little to learn from, so {flat:.0%} of the blend is the flat mean (the fallback)."
