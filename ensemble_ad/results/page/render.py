"""From what a report says to one HTML file that loads nothing."""

from importlib import resources
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from ensemble_ad.results.comparison import rows_of
from ensemble_ad.results.page import charts
from ensemble_ad.results.page.contents import Contents, Curve, Gallery, LatentSheet, Search, View
from ensemble_ad.results.page.listing import listing, notes
from ensemble_ad.results.page.svg import DASH, MINUS
from ensemble_ad.results.page.tiles import FINENESS, Fineness, data_uri, error_pixels

MOST_BYTES = 4_900_000
MOST_WEIGHTS = 12
MOST_IMPORTANT = 8
_RATES = (0.01, 0.05, 0.1, 0.2, 0.5)
_ROLES = {
    "blend": "This blend",
    "chosen": "Best member by separation",
    "hindsight": "Best member by AUC, in hindsight",
    "equal": "Equal weights of the same columns",
}
_CLAIMED = {
    "chosen": "its best member by separation, <code>{}</code>",
    "hindsight": "the member that these labels say is best, <code>{}</code>",
    "equal": "equal weights",
}
_CURVES = {"blend": "this blend", "chosen": "best member", "hindsight": "best member", "equal": "equal weights"}
_GROUPS = {
    "most": ("Most anomalous", "what the blend puts at the top"),
    "least": ("Least anomalous", "what it takes for the most normal"),
    "disputed": ("Most disputed", "where the members' ranks differ most"),
    "false_positives": ("Worst false positives", "normal images, by the labels, that score highest"),
    "false_negatives": ("Worst false negatives", "anomalies, by the labels, that score lowest"),
}
_QUANTILE_NAMES = {
    "reference": "held-out normal",
    "test": "test",
    "normal": "test, normal by the labels",
    "anomaly": "test, anomalies by the labels",
}


def render(contents: Contents, most: int = MOST_BYTES) -> str:
    """The page, as HTML that takes no more than `most` bytes of UTF-8 as far as smaller pictures can see to that."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(_text("page.html"))
    page = ""
    for fineness in FINENESS:
        page = template.render(_context(contents, fineness))
        if len(page.encode()) <= most:
            break
    return page


def _text(name: str) -> str:
    return (resources.files("ensemble_ad.results.page") / "template" / name).read_text(encoding="utf-8")


def _context(contents: Contents, fineness: Fineness) -> dict[str, Any]:
    headline = contents.headline
    ends = charts.scale_of(headline)
    table = rows_of(contents.table)
    headings, lines = listing(table)
    scales = {} if contents.gallery is None else contents.gallery.error_scale
    return {
        "contents": contents,
        "headline": headline,
        "first": headline.judged[0],
        "lede": _lede(contents),
        "claims": claims(contents),
        "roles": _ROLES,
        "ends": ends,
        "differences": any(judged.difference for judged in headline.judged),
        "interval": charts.interval,
        "columns": headings,
        "rows": lines,
        "measured_table": any(heading.title == "AUC" for heading in headings),
        "table_note": notes(table, headings),
        "hist": contents.histogram,
        "group_names": _QUANTILE_NAMES,
        "charts": _charts(contents),
        "captions": _captions(contents),
        "curve_names": [(role, _CURVES[role]) for role in contents.curves.roc] if contents.curves else [],
        "rates": [(rate, *_at(contents.curves.roc["blend"], rate)) for rate in _RATES] if contents.curves else [],
        "heaviest": max((w.weight for w in contents.weights), default=1.0) or 1.0,
        "most_weights": MOST_WEIGHTS,
        "searches": [_search(search) for search in contents.searches],
        "gallery": _gallery(contents.gallery),
        "families": list(dict.fromkeys(view.family for view in _views(contents.gallery))),
        "scales": _listed([f"{scale:.0f} ({family})" for family, scale in scales.items()]),
        "latents": _latents(contents.latents),
        "made": contents.making.members,
        "sections": _sections(contents),
        "uri": lambda pixels: data_uri(pixels, fineness),
        "errors": lambda view: error_pixels(view.error, scales[view.family]),
        "f3": lambda value: DASH if value is None else f"{value:.3f}".replace("-", MINUS),
        "signed": _signed,
        "percent": _percent,
        "place": lambda rank: f"place {round((1 - rank) * contents.histogram.count['test'] + 0.5):,}",
        "n": lambda value: f"{value:,}",
        "style": Markup(_text("style.css")),  # ours, and holds no "</style"
        "script": Markup(_text("page.js")),
    }


def _percent(share: float) -> str:
    if 0 < share < 0.001 or 0.999 < share < 1:
        return "below 0.1%" if share < 0.5 else "above 99.9%"
    shown = f"{100 * share:.1f}" if share > 0.98 or share < 0.02 else f"{100 * share:.0f}"
    return f"{shown}%"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + f" or {words[-1]}" if words else ""


def _sections(contents: Contents) -> list[tuple[str, str]]:
    found = [("result", "Result"), ("table", "Everything tried"), ("scores", "Scores"), ("members", "Members")]
    if contents.searches:
        found.append(("search", "Searches"))
    if contents.gallery:
        found.append(("pictures", "Pictures"))
    if contents.latents:
        found.append(("latents", "Latents"))
    return [*found, ("made", "How it was made")]


def _lede(contents: Contents) -> str:
    headline = contents.headline
    families = [*headline.families[:-2], " and ".join(headline.families[-2:])]
    several = f"{headline.members} members of {', '.join(families)}"
    one = f"one member of {headline.families[0]}"
    return (
        f"A blend of {several if headline.members > 1 else one}, weighted by the method {headline.method}: one anomaly "
        f"score for each of {contents.histogram.count['test']:,} test images."
    )


def claims(contents: Contents) -> list[Markup]:
    """The blend against its best member and equal weights, a sentence each."""
    first, *others = contents.headline.judged
    found = []
    untested = False
    for other in others:
        name = Markup(_CLAIMED[other.role]).format(other.name)
        if other.difference is not None:
            found.append(_difference(name, other.difference))
        elif first.value is not None and other.value is not None and first.measured == other.measured:
            more = "above" if first.value >= other.value else "below"
            apart = f"{abs(first.value - other.value):.3f}"
            found.append(Markup("{}{} {} {}.").format("" if first.measured else "By estimate ", apart, more, name))
            untested = True
    if untested:
        found.append(Markup("These differences carry no interval: a paired test needs the labels (--labels)."))
    if first.low is None:
        words = contents.headline.estimate
        found.append(Markup("{}.").format(words[0].upper() + words[1:]))
    return found


def _difference(name: Markup, difference: tuple[float, float, float, float]) -> Markup:
    value, low, high, p = difference
    if low <= 0 <= high:
        return Markup("Cannot be told from {}: {} [{}, {}].").format(name, *map(_signed, (value, low, high)))
    more = "better" if value > 0 else "worse"
    chance = (
        "p\N{NO-BREAK SPACE}<\N{NO-BREAK SPACE}0.001" if p < 0.001 else f"p\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{p:.3f}"
    )
    near, far = sorted((abs(low), abs(high)))
    return Markup("{:.3f} {} than {}: {:.3f} to {:.3f} with 95% confidence ({}).").format(
        abs(value), more, name, near, far, chance
    )


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", MINUS)


def _charts(contents: Contents) -> dict[str, Markup | None]:
    histogram, curves = contents.histogram, contents.curves
    with_labels = "anomaly" in histogram.shares
    return {
        "distribution": charts.distribution(
            histogram, ("reference", "test"), "Histograms of the blend score of held-out normal and of test images"
        ),
        "classes": charts.distribution(
            histogram, ("normal", "anomaly"), "Histograms of the blend score of normal test images and of anomalies"
        )
        if with_labels
        else None,
        "roc": charts.roc(curves, "ROC curves with a 95% band of the blend's") if curves else None,
        "precision_recall": charts.precision_recall(curves, "Precision-recall curves with a 95% band of the blend's")
        if curves
        else None,
        "correlation": charts.correlation(contents.correlations, "Heat map of the members' rank correlations"),
    }


def _captions(contents: Contents) -> dict[str, str]:
    histogram, curves = contents.histogram, contents.curves
    above = _above(histogram.edges, histogram.shares["reference"], histogram.shares["test"], "test images")
    found = {
        "distribution": f"Normal images are scored by rules fitted without them. {above} The further the test images "
        "reach to the right of the normal ones, the larger the separation.",
        "correlation": _correlated(contents),
    }
    if curves:
        # Of the labels, so it is only there with them.
        missed = _above(histogram.edges, histogram.shares["normal"], histogram.shares["anomaly"], "anomalies")
        found["classes"] = f"The same scores of the test images by their labels. {missed}"
        rate, low, high = _at(curves.roc["blend"], 0.05)
        found["roc"] = (
            f"At a false positive rate of 5% the blend finds {_percent(rate)} of the anomalies (band {_percent(low)} "
            f"to {_percent(high)}); to find 95% of them it flags {_percent(curves.fpr95)} of the normal images. Band: "
            f"pointwise 95%, {curves.resamples} stratified bootstrap resamples."
        )
        found["precision_recall"] = (
            f"Average precision {curves.average_precision:.3f}; guessing gives {curves.anomaly_share:.3f}, the share "
            "of anomalies. Band likewise."
        )
    return found


def _above(edges: np.ndarray[Any, Any], normal: np.ndarray[Any, Any], other: np.ndarray[Any, Any], others: str) -> str:
    """How much of the other group lies above where 95% of the normal images end."""
    cut = min(int(np.searchsorted(np.cumsum(normal), 0.95)) + 1, len(edges) - 1)
    share, rest = float(other[cut:].sum()), float(normal[cut:].sum())
    return f"Above {edges[cut]:.2f} lie {_percent(rest)} of the normal images and {_percent(share)} of the {others}."


def _correlated(contents: Contents) -> str:
    found = contents.correlations
    members = found.matrix[:-1, :-1]
    n = len(members)
    text = "Spearman's rank correlation of members' scores over the test images; the blend stands last."
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


def _at(curve: Curve, rate: float) -> tuple[float, float, float]:
    """True positive rate at a false positive rate, and the band there."""
    value = float(np.interp(rate, curve.x, curve.y))
    return value, float(np.interp(rate, curve.grid, curve.low)), float(np.interp(rate, curve.grid, curve.high))


def _search(search: Search) -> dict[str, Any]:
    states = [trial.state for trial in search.trials]
    counts = [f"{len(states)} trial{'s' * (len(states) > 1)}"]
    counts += [f"{states.count(state)} {state}" for state in ("pruned", "failed") if state in states]
    best = [float(search.best_so_far(i)[-1]) for i in range(len(search.objectives))]
    captions, histories = [], []
    for i, name in enumerate(search.objectives):
        histories.append(charts.history(search, i, f"Values of {search.family}'s trials by {name}"))
        done = search.best_so_far(i)
        first = next(t.number for t, value in zip(search.trials, done, strict=True) if value == done[-1])
        captions.append(f"Best {name} {best[i]:.4f}, first reached by trial {first}.")
    important = [*search.importance.items()][:MOST_IMPORTANT]
    rest = [*search.importance.values()][MOST_IMPORTANT:]
    return {
        "of": search,
        "summary": f"{search.study}: {', '.join(counts)}; best {search.objectives[0]} {best[0]:.3f}",
        "histories": histories,
        "importance": important,
        "others": f" {len(rest)} others together have {_percent(sum(rest))}." if rest else "",
        "captions": captions,
        "slices": [(part.parameter, charts.slice_chart(search, part)) for part in search.slices],
    }


def _views(gallery: Gallery | None) -> list[View]:
    if gallery is None:
        return []
    return [view for shots in gallery.groups.values() for shot in shots for view in shot.views]


def _gallery(gallery: Gallery | None) -> list[dict[str, Any]]:
    if gallery is None:
        return []
    return [
        {"name": name, "title": _GROUPS[name][0], "summary": _GROUPS[name][1], "shots": shots}
        for name, shots in gallery.groups.items()
        if shots
    ]


def _latents(sheets: tuple[LatentSheet, ...]) -> list[dict[str, Any]]:
    families: dict[str, list[LatentSheet]] = {}
    for sheet in sheets:
        families.setdefault(sheet.family, []).append(sheet)
    return [
        {"name": name, "key": some[0].key, "elements": some[0].elements, "sheets": some}
        for name, some in families.items()
    ]
