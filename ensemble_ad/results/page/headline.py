"""How good the blend is, beside its best member and the members' equal mean; with labels or by estimate."""

from collections.abc import Mapping, Sequence

from ensemble_ad.blend.saved import SavedBlend
from ensemble_ad.members.measured import Measured
from ensemble_ad.members.store import Member
from ensemble_ad.results.page.contents import Headline, Judged, LabelUse
from ensemble_ad.results.page.pictures import worth_of
from ensemble_ad.statistics import Estimate, auc, compare_auc
from ensemble_ad.statistics.arrays import Floats64


def headline(
    blend: SavedBlend,
    members: Sequence[Member],
    labels: LabelUse,
    scores: Mapping[str, Floats64],
    equal: Estimate | None,
) -> Headline:
    """What a reader wants first.

    Args:
        blend: the blend that the report is about.
        members: the blend's members.
        labels: the labels that may be read.
        scores: float64 (k,) scores of the test images: "blend", "equal", and each member's main column by its key.
        equal: the separation of the equal mean; None without test images.
    """
    separation = blend.info.separation
    chosen = max(members, key=worth_of)
    judged = [
        _judge("blend", blend.name, blend, labels, scores["blend"], _pair(separation)),
        _judge("chosen", chosen.key, blend, labels, scores[chosen.key], _pair(chosen.info.separation)),
    ]
    hindsight = _hindsight(members, labels, scores)
    if hindsight not in (None, chosen.key):
        judged.append(_judge("hindsight", str(hindsight), blend, labels, scores[str(hindsight)], None))
    judged.append(_judge("equal", "equal weights", blend, labels, scores["equal"], _pair(equal)))
    if labels.label is not None:
        judged = [
            judged[0],
            *(_with_difference(each, labels, scores["blend"], scores[_column(each)]) for each in judged[1:]),
        ]
    return Headline(
        blend=blend.name,
        method=blend.info.method,
        families=blend.info.families,
        members=len(members),
        judged=tuple(judged),
        separation=None if separation is None else separation.value,
        separation_error=None if separation is None else separation.standard_error,
        estimate=blend.estimate_in_words(),
        transductive=blend.info.transductive,
    )


def _column(judged: Judged) -> str:
    return "equal" if judged.role == "equal" else judged.name


def _pair(separation: Measured | Estimate | None) -> tuple[float, float] | None:
    return None if separation is None else (separation.value, separation.standard_error)


def _hindsight(members: Sequence[Member], labels: LabelUse, scores: Mapping[str, Floats64]) -> str | None:
    """The key of the member with the best AUC, where AUCs are known."""
    if labels.label is not None:
        known = {member.key: auc(labels.label, scores[member.key]).value for member in members}
    else:
        known = {m.key: labels.evaluated[m.key][0] for m in members if m.key in labels.evaluated}
    return max(known, key=known.__getitem__) if known else None


def _judge(
    role: str,
    name: str,
    blend: SavedBlend,
    labels: LabelUse,
    score: Floats64,
    separation: tuple[float, float] | None,
) -> Judged:
    if labels.label is not None:
        measured = auc(labels.label, score)
        return Judged(role=role, name=name, value=measured.value, low=measured.low, high=measured.high, measured=True)
    if role != "equal" and name in labels.evaluated:
        value, low, high = labels.evaluated[name]
        return Judged(role=role, name=name, value=value, low=low, high=high, measured=True)
    implied = (
        None
        if blend.share is None or separation is None
        else blend.share.implied_auc(*separation, own_shift=role == "blend" and blend.info.is_auto)
    )
    if implied is None:
        return Judged(role=role, name=name, value=None, low=None, high=None, measured=False)
    return Judged(role=role, name=name, value=implied.value, low=implied.low, high=implied.high, measured=False)


def _with_difference(judged: Judged, labels: LabelUse, blend: Floats64, other: Floats64) -> Judged:
    from dataclasses import replace

    found = compare_auc(labels.label, blend, other)  # type: ignore[arg-type]
    return replace(judged, difference=(found.difference, found.low, found.high, found.p_value))
