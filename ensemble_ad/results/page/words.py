"""What a report says in sentences: its lede, its claims, and the captions of its charts."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from ensemble_ad.members.defect_aucs import pooled
from ensemble_ad.results.page.contents import Contents
from ensemble_ad.results.page.figures import Curve, Histogram, KindSeen
from ensemble_ad.results.page.svg import MINUS
from ensemble_ad.statistics.arrays import Floats64

_CLAIMED = {
    "chosen": "its best member by {criterion}, <code>{}</code>",
    "hindsight": "the member that these labels say is best, <code>{}</code>",
    "equal": "equal weights",
}


def lede(contents: Contents) -> str:
    """The sentence below the title: what the blend is made of."""
    headline = contents.headline
    families = [*headline.families[:-2], " and ".join(headline.families[-2:])]
    several = f"{headline.members} members of {', '.join(families)}"
    one = f"one member of {headline.families[0]}"
    gives = (
        f"one anomaly score for each of {contents.histogram.count['test']:,} test images"
        if headline.separation is not None
        else "made without test images, it scores new ones by its frozen rule"
    )
    return f"A blend of {several if headline.members > 1 else one}, weighted by the method {headline.method}: {gives}."


def claims(contents: Contents) -> list[Markup]:
    """The blend against its best member and equal weights, a sentence each."""
    first, *others = contents.headline.judged
    found = []
    untested = False
    for other in others:
        name = Markup(_CLAIMED[other.role]).format(other.name, criterion=contents.headline.criterion)
        if other.difference is not None:
            found.append(_difference(name, other.difference))
        elif first.value is not None and other.value is not None and first.measured == other.measured:
            more = "above" if first.value >= other.value else "below"
            apart = f"{abs(first.value - other.value):.3f}"
            found.append(Markup("{}{} {} {}.").format("" if first.measured else "By estimate ", apart, more, name))
            untested = True
    if untested:
        seen_later = contents.headline.separation is None
        how = "ensad evaluate has a paired test" if seen_later else "a paired test needs the labels (--labels)"
        found.append(Markup("These differences carry no interval: {}.").format(how))
    if first.low is None:
        words = contents.headline.estimate
        found.append(Markup("{}.").format(words[0].upper() + words[1:]))
    if contents.seen:
        found.append(_about_damaged(contents.seen))
    return found


def _about_damaged(seen: Sequence[KindSeen]) -> Markup:
    blend, chosen, equal = (pooled(getattr(each, role) for each in seen) for role in ("blend", "chosen", "equal"))
    ways = f"{len(seen)} ways" if len(seen) > 1 else "one way"
    return Markup(
        "Normal images damaged in {} score above whole ones with an AUC of {:.3f}; by its best member {:.3f}, "
        "by equal weights {:.3f}. The blend was chosen by these, and real anomalies may be easier or harder."
    ).format(ways, blend, chosen, equal)


def _difference(name: Markup, difference: tuple[float, float, float, float]) -> Markup:
    value, low, high, p = difference
    if low <= 0 <= high:
        return Markup("Cannot be told from {}: {} [{}, {}].").format(name, *map(signed, (value, low, high)))
    more = "better" if value > 0 else "worse"
    chance = (
        "p\N{NO-BREAK SPACE}<\N{NO-BREAK SPACE}0.001" if p < 0.001 else f"p\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{p:.3f}"
    )
    near, far = sorted((abs(low), abs(high)))
    return Markup("{:.3f} {} than {}: {:.3f} to {:.3f} with 95% confidence ({}).").format(
        abs(value), more, name, near, far, chance
    )


def signed(value: float) -> str:
    """A number with its sign, as in +0.012."""
    return f"{value:+.3f}".replace("-", MINUS)


def captions(contents: Contents) -> dict[str, str]:
    """The text below each chart, by the chart's name."""
    histogram, curves = contents.histogram, contents.curves
    found = {"distribution": _distributed(histogram), "correlation": _correlated(contents)}
    if len(contents.growth) > 1:
        (_, first), (seconds, last) = contents.growth[0], contents.growth[-1]
        found["growth"] = (
            f"The blend of ensad run after each new member, from {first:.3f} to {last:.3f} in {seconds:,.0f} s of wall "
            "time, over all commands of the run."
        )
    if curves:
        # By the labels, so there is none without them.
        missed = _beyond(histogram.edges, histogram.shares["normal"], histogram.shares["anomaly"], "anomalies")
        found["classes"] = f"The same scores of the test images by their labels. {missed}"
        rate, low, high = at_rate(curves.roc["blend"], 0.05)
        found["roc"] = (
            f"At a false positive rate of 5% the blend finds {percent(rate)} of the anomalies (band {percent(low)} "
            f"to {percent(high)}); to find 95% of them it flags {percent(curves.fpr95)} of the normal images. Band: "
            f"pointwise 95%, {curves.resamples} stratified bootstrap resamples."
        )
        found["precision_recall"] = (
            f"Average precision {curves.average_precision:.3f}; guessing gives {curves.anomaly_share:.3f}, the share "
            "of anomalies. Band likewise."
        )
    return found


def _distributed(histogram: Histogram) -> str:
    normal = "Normal images are scored by rules fitted without them."
    for group, name, why in (
        ("test", "test images", "The further the test images reach to the right of the normal ones, the larger the "
         "separation."),
        ("pseudo", "pseudo-anomalies", "The latter are some of the held-out images, damaged on purpose in "
         "all ways."),
    ):  # fmt: skip
        if group in histogram.shares:
            beyond = _beyond(histogram.edges, histogram.shares["reference"], histogram.shares[group], name)
            return f"{normal} {beyond} {why}"
    return normal


def _beyond(edges: Floats64, normal: Floats64, other: Floats64, others: str) -> str:
    """How much of the other group lies above where 95% of the normal images end."""
    cut = min(int(np.searchsorted(np.cumsum(normal), 0.95)) + 1, len(edges) - 1)
    share, rest = float(other[cut:].sum()), float(normal[cut:].sum())
    return f"Above {edges[cut]:.2f} lie {percent(rest)} of the normal images and {percent(share)} of the {others}."


def _correlated(contents: Contents) -> str:
    found = contents.correlations
    members = found.matrix[:-1, :-1]
    n = len(members)
    over = "test" if contents.headline.separation is not None else "held-out normal"
    text = f"Spearman's rank correlation of members' scores over the {over} images; the blend stands last."
    if n < contents.headline.members:
        text += f" Only the {n} members that count most are shown."
    if n > 1:
        apart = np.where(np.eye(n, dtype=bool), np.nan, members)
        if np.isfinite(apart).any():
            i, j = np.unravel_index(int(np.nanargmin(apart)), apart.shape)
            text += (
                f" Least alike are {found.names[i]} and {found.names[j]} ({apart[i, j]:.2f}); the mean over pairs is "
                f"{np.nanmean(apart):.2f}. Members that differ, and are good, are what a blend gains from."
            )
    return text + " Negative ones are hatched or carry a minus sign."


def percent(share: float) -> str:
    """A share in percent, with a decimal near 0 and 1, where it counts."""
    if 0 < share < 0.001 or 0.999 < share < 1:
        return "below 0.1%" if share < 0.5 else "above 99.9%"
    shown = f"{100 * share:.1f}" if share > 0.98 or share < 0.02 else f"{100 * share:.0f}"
    return f"{shown}%"


def listed(words: list[str]) -> str:
    """Words with commas and an "or" before the last."""
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + f" or {words[-1]}" if words else ""


def at_rate(curve: Curve, rate: float) -> tuple[float, float, float]:
    """True positive rate at a false positive rate, and the band there."""
    value = float(np.interp(rate, curve.x, curve.y))
    return value, float(np.interp(rate, curve.grid, curve.low)), float(np.interp(rate, curve.grid, curve.high))
