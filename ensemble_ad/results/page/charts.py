"""The charts of a report."""

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup

from ensemble_ad.results.page.contents import Headline
from ensemble_ad.results.page.figures import Correlations, Curve, Curves, Histogram
from ensemble_ad.results.page.heat_map import heat_map
from ensemble_ad.results.page.svg import Axis, Chart, axis, interval_mark
from ensemble_ad.results.page.trials import Search, Slice
from ensemble_ad.statistics.arrays import Floats64

_UNIT = (0.0, 1.0)


def scale_of(headline: Headline) -> tuple[float, float]:
    """Common ends for the intervals of the headline, to the next twentieth."""
    ends = [end for judged in headline.judged for end in (judged.low, judged.high) if end is not None]
    if not ends:
        return _UNIT
    low, high = np.floor(min(ends) * 20 - 1e-9) / 20, np.ceil(max(ends) * 20 + 1e-9) / 20
    return float(max(0.0, low)), float(min(1.0, high))


def interval(
    value: float | None, low: float | None, high: float | None, ends: tuple[float, float], kind: str
) -> Markup:
    """The strip of one row of the headline; empty where nothing is known."""
    return Markup("") if low is None or high is None else interval_mark(value, low, high, ends, kind)


def distribution(histogram: Histogram, groups: Sequence[str], title: str) -> Markup:
    """One group's histogram, or two groups' on one another."""
    shares = [histogram.shares[name] for name in groups]
    high = float(max(share.max() for share in shares))
    edges = histogram.edges
    chart = Chart(
        Axis(low=float(edges[0]), high=float(edges[-1]), label="blend score, higher = more anomalous"),
        Axis(low=0.0, high=100 * high * 1.06, label="% of images"),
        title,
    )
    for share, kind in zip(shares, ("reference", "test"), strict=False):
        x, y = np.repeat(edges, 2)[1:-1], np.repeat(100 * share, 2)
        chart.area(x, np.zeros(len(x)), y, kind)
        chart.line(np.concatenate([edges[:1], x, edges[-1:]]), np.concatenate([[0.0], y, [0.0]]), kind)
    return chart.markup()


def growth(curve: Sequence[tuple[float, float]], value: str, title: str) -> Markup:
    """How the blend of a run has grown with its time; each dot is a blend."""
    seconds, values = (np.array(each) for each in zip(*curve, strict=True))
    log = bool(seconds.min() > 0 and seconds.max() > 10 * seconds.min())
    chart = Chart(axis(seconds, "seconds", log=log), axis(values, value), title)
    chart.line(np.repeat(seconds, 2)[1:], np.repeat(values, 2)[:-1], "best")
    for second, at in curve:
        chart.dot(second, at, "complete", f"{second:.0f} s: {at:.4f}")
    return chart.markup()


def roc(curves: Curves, title: str) -> Markup:
    """The ROC curves with the blend's band."""
    chart = Chart(
        Axis(low=0.0, high=1.0, label="false positive rate"), Axis(low=0.0, high=1.0, label="true positive rate"),
        title, height=330,
    )  # fmt: skip
    chart.line(np.array(_UNIT), np.array(_UNIT), "chance")
    _draw(chart, curves.roc)
    return chart.markup()


def precision_recall(curves: Curves, title: str) -> Markup:
    """The precision-recall curves with the blend's band."""
    low = min(curves.anomaly_share, float(curves.precision_recall["blend"].y.min()))
    chart = Chart(
        Axis(low=0.0, high=1.0, label="recall"), Axis(low=np.floor(low * 10) / 10, high=1.0, label="precision"),
        title, height=330,
    )  # fmt: skip
    chart.level(curves.anomaly_share, "chance")
    floor = chart.y.low
    _draw(chart, {role: _above(curve, floor) for role, curve in curves.precision_recall.items()})
    return chart.markup()


def _above(curve: Curve, floor: float) -> Curve:
    """A curve cut off at the axis, below which single images at the very left may lie."""
    y, low, high = (np.maximum(values, floor) for values in (curve.y, curve.low, curve.high))
    return Curve(x=curve.x, y=y, grid=curve.grid, low=low, high=high)


def _draw(chart: Chart, curves: Mapping[str, Curve]) -> None:
    if len(curves["blend"].grid):
        chart.area(curves["blend"].grid, curves["blend"].low, curves["blend"].high, "blend")
    for role, curve in reversed([*curves.items()]):
        chart.line(curve.x, curve.y, role)


def correlation(found: Correlations, title: str) -> Markup:
    """The heat map."""
    return heat_map(found.matrix, found.names, found.families, title)


def history(search: Search, direction: int, title: str) -> Markup:
    """Trials in their order, and the best value so far."""
    best = search.best_so_far(direction)
    seen = [
        (trial.number, trial.values[min(direction, len(trial.values) - 1)], trial.state)
        for trial in search.trials
        if trial.values and (trial.state == "complete" or direction == 0)
    ]
    numbers = np.array([float(trial.number) for trial in search.trials])
    chart = Chart(
        Axis(low=float(numbers.min()) - 0.5, high=float(numbers.max()) + 0.5, label="trial", whole=True),
        axis(np.array([value for _, value, _ in seen]), search.objectives[direction]),
        title,
    )
    known = np.isfinite(best)
    x, y = numbers[known], best[known]
    if len(x):
        chart.line(np.repeat(x, 2)[1:], np.repeat(y, 2)[:-1], "best")
    for number, value, state in seen:
        chart.dot(number, value, state, f"trial {number}, {state}: {value:.4f}")
    return chart.markup()


def _numbers_first(value: object) -> tuple[bool, float, str]:
    return (False, value, "") if isinstance(value, int | float) else (True, 0.0, str(value))


def slice_chart(search: Search, part: Slice) -> Markup:
    """A hyperparameter beside the objective."""
    title = f"{part.parameter} beside {search.objectives[0]}, {len(part.values)} trials"
    if part.numeric:
        values = np.array([float(value) for value in part.values])  # type: ignore[arg-type]
        across = axis(values, part.parameter, log=part.log)
        places: Floats64 = values
    else:
        words = tuple(map(str, sorted(set(part.values), key=_numbers_first)))
        across = Axis(low=-0.5, high=len(words) - 0.5, label=part.parameter, words=words)
        places = np.array([float(words.index(str(value))) for value in part.values])
    chart = Chart(across, axis(part.objective, ""), title, width=300, height=200, ticks=4)
    for place, words_of, value in zip(places.tolist(), part.values, part.objective.tolist(), strict=True):
        shown = f"{words_of:g}" if isinstance(words_of, float) else str(words_of)
        chart.dot(place, value, "complete", f"{part.parameter} {shown}: {value:.4f}")
    return chart.markup()
