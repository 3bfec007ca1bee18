"""From what a report says to one HTML file that loads nothing."""

from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from ensemble_ad.detect.overlays import BRIGHTEST, FAINTEST, OUTLINED
from ensemble_ad.results.comparison import rows_of
from ensemble_ad.results.footnotes import without_the_best
from ensemble_ad.results.page import charts
from ensemble_ad.results.page.contents import Contents
from ensemble_ad.results.page.listing import listing, notes
from ensemble_ad.results.page.shots import Gallery, LatentSheet, View
from ensemble_ad.results.page.svg import DASH, MINUS
from ensemble_ad.results.page.tiles import FINENESS, Fineness, data_uri, error_pixels
from ensemble_ad.results.page.trials import Search
from ensemble_ad.results.page.words import at_rate, captions, claims, lede, listed, percent, signed

MOST_BYTES = 4_900_000
MOST_WEIGHTS = 12
MOST_IMPORTANT = 8
_RATES = (0.01, 0.05, 0.1, 0.2, 0.5)
_ROLES = {
    "blend": "This blend",
    "chosen": "Best member by {}",
    "hindsight": "Best member by AUC, in hindsight",
    "equal": "Equal weights of the same columns",
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
    "pseudo": "pseudo-anomalies",
    "normal": "test, normal by the labels",
    "anomaly": "test, anomalies by the labels",
}


def render(contents: Contents, most: int = MOST_BYTES) -> str:
    """The page as HTML; pictures become smaller where it would take more than `most` bytes of UTF-8."""
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
    table = without_the_best(rows_of(contents.table))
    headings, lines = listing(table)
    scales = {} if contents.gallery is None else contents.gallery.error_scale
    return {
        "contents": contents,
        "headline": headline,
        "first": headline.judged[0],
        "lede": lede(contents),
        "claims": claims(contents),
        "roles": {role: name.format(headline.criterion) for role, name in _ROLES.items()},
        "ends": ends,
        "differences": any(judged.difference for judged in headline.judged),
        "interval": charts.interval,
        "columns": headings,
        "rows": lines,
        "measured_table": any(heading.title == "AUC" for heading in headings),
        "table_note": notes(table, headings),
        "hist": contents.histogram,
        "others": next((group for group in ("test", "pseudo") if group in contents.histogram.shares), None),
        "group_names": _QUANTILE_NAMES,
        "charts": _charts(contents),
        "captions": captions(contents),
        "curve_names": [(role, _CURVES[role]) for role in contents.curves.roc] if contents.curves else [],
        "rates": [(rate, *at_rate(contents.curves.roc["blend"], rate)) for rate in _RATES] if contents.curves else [],
        "heaviest": max((w.weight for w in contents.weights), default=1.0) or 1.0,
        "most_weights": MOST_WEIGHTS,
        "searches": [_search(search) for search in contents.searches],
        "gallery": _gallery(contents.gallery),
        "families": list(dict.fromkeys(view.family for view in _views(contents.gallery))),
        "scales": listed([f"{scale:.0f} ({family})" for family, scale in scales.items()]),
        "latents": _latents(contents.latents),
        "made": contents.making.members,
        "sections": _sections(contents),
        "uri": lambda pixels, large=False: data_uri(pixels, fineness, large=large),
        "usual": (FAINTEST, OUTLINED, BRIGHTEST) if _has_maps(contents.gallery) else None,
        "errors": lambda view: error_pixels(view.error, scales[view.family]),
        "f3": lambda value: DASH if value is None else f"{value:.3f}".replace("-", MINUS),
        "signed": signed,
        "percent": percent,
        "place": lambda rank: f"place {round((1 - rank) * contents.histogram.count['test'] + 0.5):,}",
        "n": lambda value: f"{value:,}",
        "style": Markup(_text("style.css")),  # ours, and holds no "</style"
        "script": Markup(_text("page.js")),
    }


def _sections(contents: Contents) -> list[tuple[str, str]]:
    found = [("result", "Result"), ("table", "Everything tried"), ("scores", "Scores"), ("members", "Members")]
    if contents.searches:
        found.append(("search", "Searches"))
    if contents.gallery:
        found.append(("pictures", "Pictures"))
    if contents.latents:
        found.append(("latents", "Latents"))
    return [*found, ("made", "How it was made")]


def _charts(contents: Contents) -> dict[str, Markup | None]:
    histogram, curves = contents.histogram, contents.curves
    with_labels = "anomaly" in histogram.shares
    shown = [group for group in ("reference", "test", "pseudo") if group in histogram.shares]
    return {
        "distribution": charts.distribution(
            histogram,
            shown,
            f"Histograms of the blend score: {' and '.join(_QUANTILE_NAMES[name] for name in shown)} images",
        ),
        "classes": charts.distribution(
            histogram, ("normal", "anomaly"), "Histograms of the blend score of normal test images and of anomalies"
        )
        if with_labels
        else None,
        "growth": charts.growth(contents.growth, _value_name(contents), "The blend's value against the run's seconds")
        if len(contents.growth) > 1
        else None,
        "roc": charts.roc(curves, "ROC curves with a 95% band of the blend's") if curves else None,
        "precision_recall": charts.precision_recall(curves, "Precision-recall curves with a 95% band of the blend's")
        if curves
        else None,
        "correlation": charts.correlation(contents.correlations, "Heat map of the members' rank correlations"),
    }


def _value_name(contents: Contents) -> str:
    return "separation" if contents.headline.separation is not None else "AUC on pseudo-anomalies"


def _search(search: Search) -> dict[str, Any]:
    states = [trial.state for trial in search.trials]
    counts = [f"{len(states)} trial{'s' * (len(states) > 1)}"]
    counts += [f"{states.count(state)} {state}" for state in ("pruned", "failed") if state in states]
    best = [float(search.best_so_far(i)[-1]) for i in range(len(search.objectives))]
    firsts, histories = [], []
    for i, name in enumerate(search.objectives):
        histories.append(charts.history(search, i, f"Values of {search.family}'s trials by {name}"))
        done = search.best_so_far(i)
        first = next(t.number for t, value in zip(search.trials, done, strict=True) if value == done[-1])
        firsts.append(f"Best {name} {best[i]:.4f}, first reached by trial {first}.")
    important = [*search.importance.items()][:MOST_IMPORTANT]
    rest = [*search.importance.values()][MOST_IMPORTANT:]
    return {
        "of": search,
        "summary": f"{search.study}: {', '.join(counts)}; best {search.objectives[0]} {best[0]:.3f}",
        "histories": histories,
        "importance": important,
        "others": f" {len(rest)} others together have {percent(sum(rest))}." if rest else "",
        "captions": firsts,
        "slices": [(part.parameter, charts.slice_chart(search, part)) for part in search.slices],
    }


def _views(gallery: Gallery | None) -> list[View]:
    if gallery is None:
        return []
    return [view for shots in gallery.groups.values() for shot in shots for view in shot.views]


def _has_maps(gallery: Gallery | None) -> bool:
    return gallery is not None and any(shot.where is not None for some in gallery.groups.values() for shot in some)


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
