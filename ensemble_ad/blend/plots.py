"""Figures of matplotlib's, an extra: they open no window, show themselves in notebooks, and `savefig` writes them."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from ensemble_ad.errors import UsageError
from ensemble_ad.extras import how_to_install
from ensemble_ad.statistics.arrays import Floats64

try:
    from matplotlib.figure import Figure
except ImportError:
    raise UsageError(f"plots need matplotlib: {how_to_install('plots')}") from None

REFERENCE, TEST = "#27597e", "#b3431b"  # the report's colours of held-out normal images and of what is judged


class ShownFigure(Figure):
    """A figure that a notebook shows without pyplot, which would open windows elsewhere."""

    def _repr_png_(self) -> bytes:
        written = io.BytesIO()
        self.savefig(written, format="png", bbox_inches="tight")
        return written.getvalue()


def weights_and_scores(weights: Mapping[str, float], scores: Mapping[str, Floats64]) -> ShownFigure:
    """Two panels: each member's weight as a bar, the heaviest on top, and how the blend's scores are spread."""
    heaviest = sorted(weights.items(), key=lambda pair: pair[1])[-15:]
    figure = ShownFigure(figsize=(9, max(2.6, 0.3 * len(heaviest) + 1)), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.barh([name for name, _ in heaviest], [weight for _, weight in heaviest], color=TEST)
    left.set_xlabel("weight")
    histogram(right, scores)
    return figure


def histogram(axes: Any, scores: Mapping[str, Floats64], threshold: float | None = None) -> None:
    """Histograms of several sets of scores, each of area 1, by their names, and the alarm's threshold."""
    colours: Sequence[str] = (TEST,) if len(scores) == 1 else (REFERENCE, TEST)
    for (name, values), colour in zip(scores.items(), colours, strict=True):
        axes.hist(values, bins=40, density=True, alpha=0.55, color=colour, label=f"{len(values)} {name}")
    if threshold is not None:
        axes.axvline(threshold, color="black", linestyle="--", linewidth=1, label="alarm")
    axes.set_xlabel("anomaly score")
    axes.set_ylabel("density")
    axes.legend(frameon=False)
