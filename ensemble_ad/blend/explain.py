"""The blend in plain words."""

import numpy as np

from ensemble_ad.blend.guard import Findings
from ensemble_ad.blend.methods import AUTO, METHODS, PRIOR
from ensemble_ad.blend.rule import Rule
from ensemble_ad.statistics.implied import Share

_PARTS = {
    "linear": "a non-negative logistic regression of test against reference",
    "forest": "randomised trees of test against reference",
    "prior": "the prior, a mean of the members' stretched ranks that looks at no test image",
}


def explain(asked: str, rule: Rule, findings: Findings, guards: tuple[str, ...], share: Share | None) -> str:
    """What was done, why, how well, and what to beware of; a few sentences.

    Args:
        asked: the method that was asked for.
        rule: what was fitted.
        findings: what is known of it.
        guards: lines of the guards that fired.
        share: the share of anomalies, where it is known or could be estimated.
    """
    if asked == AUTO:
        sentences = [_of_auto(rule, findings, share)]
    else:
        sentences = [f"Method {asked}: {METHODS[asked].summary} ({rule.parts[0].normaliser.name})."]
    if asked == PRIOR and not findings.pseudo_kinds:
        sentences.append("There are no pseudo-anomalies, so members count the less the more others repeat them.")
    weights = rule.weights
    most = [i for i in np.argsort(-weights, kind="stable")[:3] if weights[i] > 0]
    sentences.append(
        f"{int((weights > 0).sum())} of {len(weights)} columns count; most: "
        + ", ".join(f"{findings.names[i]} {weights[i]:.0%}" for i in most)
        + "."
    )
    if findings.member is not None:
        best = int(np.argmax(findings.member.value))
        kind = "Out-of-fold separation" if findings.out_of_fold else "Separation (in-sample)"
        sentences.append(
            f"{kind} of test from reference: {findings.separation}; best single column {findings.names[best]} "
            f"{findings.member.value[best]:.3f} (in-sample, best of {len(weights)})."
        )
    else:
        sentences.append("No test image was looked at.")
    if guards:
        sentences.append("Guards: " + "; ".join(guards) + ".")
    return " ".join(sentences)


def _of_auto(rule: Rule, findings: Findings, share: Share | None) -> str:
    kinds = list(dict.fromkeys(part.name for part in rule.parts))
    text = "Chosen without labels: " + "; ".join(_PARTS[kind] for kind in kinds) + "."
    if findings.differs:
        return text + " What could be learnt is how the test's normal images differ, so it is not used."
    if rule.share is None:
        return text + " There are too few images or members to learn from."
    text += " Here" if share is None else f" With {share.in_words}"
    if kinds == ["prior"]:
        return text + " there is nothing to learn from."
    if rule.learnt == 1:
        return text + " there is enough to learn from, so that no prior is needed."
    total = sum(part.portion for part in rule.parts if part.name != "linear") + (rule.learnt or 0.0)
    return text + f" there is little to learn from, so {rule.parts[-1].portion / total:.0%} of the blend is the prior."
