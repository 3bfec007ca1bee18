"""A square of correlations as inline SVG."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup, escape

from ensemble_ad.results.page.svg import MINUS
from ensemble_ad.statistics.arrays import Floats64

_TOP = 22
_NUMBERED = 26  # pixels a cell, from which a number has room in it


def heat_map(matrix: Floats64, names: Sequence[str], families: Sequence[str], title: str) -> Markup:
    """A square of rank correlations; numbers in the cells where there is room, and hatching where they are negative."""
    n = len(names)
    cell = max(11, min(34, 400 // n))
    left = min(7 * max(len(name) for name in names) + 30, 260)
    size = left + n * cell + 2
    parts = [
        f'<svg class="chart heat" viewBox="0 0 {size} {_TOP + n * cell + 2}" role="img" aria-label="{escape(title)}" '
        f'style="max-width:{max(420, size)}px">'
    ]
    for i in range(n):
        parts.append(_heading(names[i], i, left, cell))
        for j in range(n):
            words = f"{escape(names[i])} and {escape(names[j])}: "
            parts.append(_cell(float(matrix[i, j]), words, left + j * cell, _TOP + i * cell, cell))
    for i in range(1, n):
        if families[i] != families[i - 1]:
            at = i * cell - 0.5
            parts.append(
                f'<path class="split" d="M{left + at} {_TOP}V{_TOP + n * cell}M{left} {_TOP + at}H{left + n * cell}"/>'
            )
    return Markup("".join(parts) + "</svg>")


def _heading(name: str, i: int, left: int, cell: int) -> str:
    """The name and number of row `i`, and the number of its column."""
    middle = _TOP + i * cell + cell / 2 + 4
    return (
        f'<text class="tick" x="{left - 6}" y="{middle:.1f}" text-anchor="end">{escape(name)} '
        f'<tspan class="faint">{i + 1}</tspan></text>'
        f'<text class="tick faint" x="{left + i * cell + cell / 2:.1f}" y="{_TOP - 7}" text-anchor="middle">'
        f"{i + 1}</text>"
    )


def _cell(value: float, words: str, x: int, y: int, cell: int) -> str:
    """One cell with its tooltip."""
    unknown = np.isnan(value)
    kind = "none" if unknown else "minus" if value < 0 else "plus"
    opacity = 0.0 if unknown else 0.06 + 0.94 * abs(value) ** 1.5
    drawn = (
        f'<rect class="cell {kind}" x="{x}" y="{y}" width="{cell - 1}" height="{cell - 1}" '
        f'fill-opacity="{opacity:.2f}"><title>{words}{"none" if unknown else f"{value:.2f}"}</title></rect>'
    )
    if cell >= _NUMBERED and not unknown:
        tone = "on" if abs(value) > 0.72 else "off"
        text = f"{value:.2f}".replace("0.", ".").replace("-", MINUS)
        return drawn + (
            f'<text class="value {tone}" x="{x + cell / 2 - 0.5:.1f}" y="{y + cell / 2 + 4:.1f}" '
            f'text-anchor="middle">{"1" if text == "1.00" else text}</text>'
        )
    return drawn + (
        f'<path class="hatch" d="M{x + 2} {y + cell - 3}L{x + cell - 3} {y + 2}"/>' if kind == "minus" else ""
    )
