"""What can be seen to be wrong with a blend without labels. Each guard gives a line, or none."""

from dataclasses import dataclass

from ensemble_ad.statistics import MOST_ANOMALIES, AucColumns, Estimate
from ensemble_ad.statistics.arrays import Bools

ENOUGH_REFERENCE = 150  # below it a separation's standard error alone is 0.03 or more


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What is known of a blend; the guards and the explanation look at it.

    Attributes:
        reference_rows: number of reference images.
        names: (m,) names of the members.
        member: separation of each member; None without test images, as is the blend's.
        varies: (m,) False for a constant member.
        separation: the blend's separation, out of fold where `out_of_fold`.
        out_of_fold: False where there were too few images to leave some out.
        share: estimated share of anomalies, or None.
        given_share: share of anomalies that the user gave, or None.
        left_out: names of the members that speak of more anomalies than are plausible, or of far more than the prior.
        differs: whether what `auto` learnt from the others did so too, so that nothing learnt counts.
        disagrees: whether it speaks of far more anomalies than the prior, so that it counts for less.
        pseudo_kinds: the kinds of pseudo-anomaly that some members have scores of.
    """

    reference_rows: int
    names: tuple[str, ...]
    member: AucColumns | None
    varies: Bools
    separation: Estimate | None
    out_of_fold: bool
    share: Estimate | None
    given_share: float | None
    left_out: tuple[str, ...]
    differs: bool
    disagrees: bool = False
    pseudo_kinds: tuple[str, ...] = ()


def guards(findings: Findings) -> tuple[str, ...]:
    """One line for each thing that a user should know before trusting the blend."""
    return tuple(line for guard in _GUARDS if (line := guard(findings)))


def _few_images(findings: Findings) -> str:
    if findings.reference_rows >= ENOUGH_REFERENCE:
        return ""
    return (
        f"few reference images: {findings.reference_rows}, at least {ENOUGH_REFERENCE} are advised; "
        "weights and separation are noisy"
    )


def _no_separation(findings: Findings) -> str:
    if findings.separation is None or findings.separation.low > 0.5:
        return ""
    return (
        f"no separation: test cannot be told from reference ({findings.separation}); "
        "anomalies are few, or invisible to these members"
    )


def _more_than_share(findings: Findings) -> str:
    if findings.given_share is None or findings.separation is None:
        return ""
    most = 0.5 + findings.given_share / 2
    if findings.separation.low <= most:
        return ""
    return (
        f"more separation than {findings.given_share:.1%} anomalies allow: {findings.separation}, "
        f"at most {most:.3f}; the test's normal images differ from the reference, or the share is larger"
    )


def _shares_disagree(findings: Findings) -> str:
    if findings.given_share is None or findings.share is None or findings.share.low <= findings.given_share:
        return ""
    return (
        f"the scores speak of at least {findings.share.low:.1%} anomalies, "
        f"the given share is {findings.given_share:.1%}: "
        "the test's normal images differ from the reference, or the share is larger"
    )


def _left_out(findings: Findings) -> str:
    return _listed(
        f"left out, since they speak of more than {MOST_ANOMALIES:.0%} anomalies, or of far more than the others, and "
        "so see how the test's normal images differ from the reference: ",
        findings.left_out,
    )


def _differs(findings: Findings) -> str:
    if not findings.differs:
        return ""
    return (
        f"learnt weights speak of more than {MOST_ANOMALIES:.0%} anomalies, so the prior stands alone: "
        "the test's normal images seem to differ from the reference"
    )


def _disagrees(findings: Findings) -> str:
    if not findings.disagrees or findings.share is None:
        return ""
    return (
        f"learnt weights speak of {findings.share.value:.0%} anomalies, and the members' scores by themselves of far "
        "fewer, so that learnt weights count for less: the test's normal images may differ from the reference"
    )


def _constant(findings: Findings) -> str:
    return _listed("constant, so of no use: ", _chosen(findings.names, ~findings.varies))


def _inverted(findings: Findings) -> str:
    if findings.member is None:
        return ""
    upside_down = _chosen(findings.names, surely_inverted(findings.member))
    return _listed("inverted (test scores below reference): ", upside_down)


def surely_inverted(member: AucColumns) -> Bools:
    """(m,) True for members that score test below reference by three standard errors, on 20 images or more."""
    surely: Bools = member.value + 3 * member.standard_error < 0.5
    return surely & (min(member.negatives, member.positives) >= 20)


def _not_out_of_fold(findings: Findings) -> str:
    if findings.out_of_fold:
        return ""
    return "too few images to judge out of fold: the separation is in-sample, so optimistic"


_GUARDS = (
    _few_images,
    _no_separation,
    _more_than_share,
    _shares_disagree,
    _left_out,
    _differs,
    _disagrees,
    _constant,
    _inverted,
    _not_out_of_fold,
)


def _chosen(names: tuple[str, ...], which: Bools) -> tuple[str, ...]:
    return tuple(name for name, chosen in zip(names, which, strict=True) if chosen)


def _listed(text: str, names: tuple[str, ...]) -> str:
    """The text with at most eight of the names; "" where there is none."""
    if not names:
        return ""
    return text + ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
