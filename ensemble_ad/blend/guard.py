"""What can be seen to be wrong without labels. Each guard gives a line, or none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ensemble_ad.statistics import MOST_ANOMALIES, AucColumns, Estimate

ENOUGH_REFERENCE = 150  # below it a separation's standard error alone is 0.03 or more


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the guards and the explanation look at.

    Attributes:
        reference_rows, test_rows: Images on each side.
        names: (m,) members.
        member: Separation of each member.
        varies: (m,) False for a constant member.
        separation: The blend's, out of fold where `out_of_fold`.
        out_of_fold: False where there were too few images to leave some out.
        share: Estimated share of anomalies, or None.
        given_share: The user's, or None.
        learnt: For `auto`, how far the learnt rules count, 0 to 1; else None.
        left_out: Names of members that speak of more anomalies than are plausible.
        differs: Whether what `auto` learnt from the others did too, so that nothing learnt counts.
    """

    reference_rows: int
    test_rows: int
    names: tuple[str, ...]
    member: AucColumns
    varies: NDArray[np.bool_]
    separation: Estimate
    out_of_fold: bool
    share: Estimate | None
    given_share: float | None
    learnt: float | None
    left_out: tuple[str, ...] = ()
    differs: bool = False


def guards(evidence: Evidence) -> tuple[str, ...]:
    """One line for each thing that a user should know before trusting the blend."""
    found = [
        _few_images(evidence),
        _no_separation(evidence),
        _more_than_share(evidence),
        _shares_disagree(evidence),
        _left_out(evidence),
        _differs(evidence),
        _constant(evidence),
        _inverted(evidence),
        _not_out_of_fold(evidence),
    ]
    return tuple(line for line in found if line)


def _few_images(evidence: Evidence) -> str:
    if evidence.reference_rows >= ENOUGH_REFERENCE:
        return ""
    return (
        f"few reference images: {evidence.reference_rows}, at least {ENOUGH_REFERENCE} are advised; "
        "weights and separation are noisy"
    )


def _no_separation(evidence: Evidence) -> str:
    if evidence.separation.low > 0.5:
        return ""
    return (
        f"no separation: test cannot be told from reference ({evidence.separation}); "
        "anomalies are few, or invisible to these members"
    )


def _more_than_share(evidence: Evidence) -> str:
    if evidence.given_share is None:
        return ""
    most = 0.5 + evidence.given_share / 2
    if evidence.separation.low <= most:
        return ""
    return (
        f"more separation than {evidence.given_share:.1%} anomalies allow: {evidence.separation}, "
        f"at most {most:.3f}; the test's normal images differ from the reference, or the share is larger"
    )


def _shares_disagree(evidence: Evidence) -> str:
    if evidence.given_share is None or evidence.share is None or evidence.share.low <= evidence.given_share:
        return ""
    return (
        f"the scores speak of at least {evidence.share.low:.1%} anomalies, "
        f"the given share is {evidence.given_share:.1%}: "
        "the test's normal images differ from the reference, or the share is larger"
    )


def _left_out(evidence: Evidence) -> str:
    return _listed(
        f"left out, since they speak of more than {MOST_ANOMALIES:.0%} anomalies and so see how the test's normal "
        "images differ from the reference: ",
        list(evidence.left_out),
    )


def _differs(evidence: Evidence) -> str:
    if not evidence.differs:
        return ""
    return (
        f"learnt weights speak of more than {MOST_ANOMALIES:.0%} anomalies, so the flat mean stands alone: "
        "the test's normal images seem to differ from the reference"
    )


def _constant(evidence: Evidence) -> str:
    return _listed(
        "constant, so of no use: ", [n for n, v in zip(evidence.names, evidence.varies, strict=True) if not v]
    )


def _inverted(evidence: Evidence) -> str:
    bad = surely_inverted(evidence.member)
    return _listed(
        "inverted (test scores below reference): ", [n for n, x in zip(evidence.names, bad, strict=True) if x]
    )


def surely_inverted(member: AucColumns) -> NDArray[np.bool_]:
    """(m,) True for members that score test below reference by three standard errors, on 20 images or more."""
    surely: NDArray[np.bool_] = member.value + 3 * member.standard_error < 0.5
    return surely & (min(member.negatives, member.positives) >= 20)


def _not_out_of_fold(evidence: Evidence) -> str:
    return (
        ""
        if evidence.out_of_fold
        else "too few images to judge out of fold: the separation is in-sample, so optimistic"
    )


def _listed(text: str, names: list[str]) -> str:
    if not names:
        return ""
    return text + ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
