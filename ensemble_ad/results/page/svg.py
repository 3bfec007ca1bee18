"""Charts as inline SVG whose colours are CSS variables of the page, so that they follow its light and dark theme."""

from dataclasses import dataclass
from math import ceil, floor, log10

import numpy as np
from markupsafe import Markup, escape

from ensemble_ad.statistics.arrays import Floats64

MINUS, DASH = "\N{MINUS SIGN}", "\N{EN DASH}"
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 12, 12, 40
_LABEL, _CHARACTER = 20, 6.8  # pixels of an upright label and of a tick's character, at most
_MOST_POINTS = 400


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis: from data to a place in pixels.

    Attributes:
        low, high: the axis's ends, in the data's unit; above 0 on a logarithmic axis.
        label: the text at the axis.
        log: whether the axis is logarithmic.
        whole: whether only whole numbers mean something.
        words: names of the whole numbers from 0 on, where the axis has categories; empty where it has numbers.
    """

    low: float
    high: float
    label: str
    log: bool = False
    whole: bool = False
    words: tuple[str, ...] = ()

    def share(self, value: float) -> float:
        """Where `value` lies between the ends, 0 to 1."""
        if self.high == self.low:
            return 0.5
        if self.log:
            return (log10(value) - log10(self.low)) / (log10(self.high) - log10(self.low))
        return (value - self.low) / (self.high - self.low)

    def ticks(self, most: int = 5) -> list[tuple[float, str]]:
        """Values at which there is a tick, and their text."""
        if self.words:
            return list(enumerate(self.words))
        if self.log:
            powers = range(floor(log10(self.low)), ceil(log10(self.high)) + 1)
            for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
                found = [k * 10.0**p for p in powers for k in steps if self.low <= k * 10.0**p <= self.high]
                if len(found) >= 2:
                    return [(value, _plain(value)) for value in found[:: ceil(len(found) / most)]]
            # Less than a factor of two: the logarithm is straight enough for even steps.
        step = _step(self.high - self.low, most)
        if self.whole:
            step = float(max(1, ceil(step)))
        first = ceil(self.low / step - 1e-9)
        last = floor(self.high / step + 1e-9)
        decimals = max(0, -floor(log10(step) + 1e-9)) if step < 1 else 0
        if round(step * 10**decimals, 6) != round(step * 10**decimals):
            decimals += 1
        return [(i * step, f"{i * step:,.{decimals}f}") for i in range(first, last + 1)]


def _step(span: float, most: int) -> float:
    """The smallest step, 1, 2, 2.5 or 5 times a power of ten, of which `most` steps cover the span."""
    if span <= 0:
        return 1.0
    power = 10.0 ** floor(log10(span / most))
    return float(next(power * k for k in (1, 2, 2.5, 5, 10) if power * k * most >= span * (1 - 1e-9)))


def _plain(value: float) -> str:
    if 1e-3 <= abs(value) < 1e5:
        return f"{value:.6g}"
    return f"{value:.2g}" if 1e-4 <= abs(value) < 1e5 else f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")


def axis(values: Floats64, label: str, *, log: bool = False) -> Axis:
    """An axis that holds all finite `values` with some room."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    if log and low > 0:
        return Axis(low=low / 1.15, high=high * 1.15, label=label, log=True)
    room = (high - low) * 0.06 or max(abs(high), 1.0) * 0.05
    return Axis(low=low - room, high=high + room, label=label)


class Chart:
    """A framed plot; marks are added in order, `markup` closes it."""

    def __init__(self, x: Axis, y: Axis, title: str, *, width: int = 420, height: int = 270, ticks: int = 5) -> None:
        self.x, self.y, self.width, self.height = x, y, width, height
        widest = max((len(text) for _, text in y.ticks()), default=0)
        self._left = max(_LEFT, ceil(_LABEL * bool(y.label) + _CHARACTER * widest) + 8)
        self._parts = [
            f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}" '
            f'preserveAspectRatio="xMidYMid meet">'
        ]
        self._frame(ticks)

    def px(self, value: float) -> float:
        return self._left + self.x.share(value) * (self.width - self._left - _RIGHT)

    def py(self, value: float) -> float:
        return self.height - _BOTTOM - self.y.share(value) * (self.height - _TOP - _BOTTOM)

    def _frame(self, ticks: int) -> None:
        bottom, left, right = self.height - _BOTTOM, self._left, self.width - _RIGHT
        for value, text in self.y.ticks():
            y = self.py(value)
            self._parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
            self._parts.append(f'<text class="tick" x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
        self._parts.append(f'<line class="base" x1="{left}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
        across = self.x.ticks(ticks)
        room = max(2, int((right - left) / max(1, len(across)) / _CHARACTER)) if self.x.words else 11
        for value, text in across:
            x = self.px(value)
            shown = text if len(text) <= room else text[: room - 1] + "…"
            self._parts.append(
                f'<text class="tick" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{escape(shown)}</text>'
            )
        self._parts.append(
            f'<text class="axis" x="{(left + right) / 2}" y="{self.height - 6}" text-anchor="middle">'
            f"{escape(self.x.label)}</text>"
        )
        if self.y.label:
            middle = (bottom + _TOP) / 2
            self._parts.append(
                f'<text class="axis" x="11" y="{middle}" text-anchor="middle" '
                f'transform="rotate(-90 11 {middle})">{escape(self.y.label)}</text>'
            )

    def line(self, x: Floats64, y: Floats64, kind: str) -> None:
        """A line through points, of which 400 are kept."""
        self._parts.append(f'<polyline class="line {kind}" points="{self._points(x, y)}"/>')

    def area(self, x: Floats64, low: Floats64, high: Floats64, kind: str) -> None:
        """What lies between two lines."""
        around = self._points(np.append(x, x[::-1]), np.append(high, low[::-1]), whole=True)
        self._parts.append(f'<polygon class="area {kind}" points="{around}"/>')

    def dot(self, x: float, y: float, kind: str, words: str) -> None:
        """A mark with a tooltip; "pruned" is a cross."""
        left, top = self.px(x), self.py(y)
        if kind == "pruned":
            shape = (
                f'<path class="mark pruned" d="M{left - 3.5:.1f} {top - 3.5:.1f}l7 7m0 -7l-7 7">'
                f"<title>{escape(words)}</title></path>"
            )
        else:
            shape = (
                f'<circle class="mark {kind}" cx="{left:.1f}" cy="{top:.1f}" r="3.6"><title>{escape(words)}</title>'
                "</circle>"
            )
        self._parts.append(shape)

    def level(self, y: float, kind: str) -> None:
        """A level line."""
        self.line(np.array([self.x.low, self.x.high]), np.array([y, y]), kind)

    def markup(self) -> Markup:
        """The closed SVG."""
        return Markup("".join(self._parts) + "</svg>")  # every text in it was escaped

    def _points(self, x: Floats64, y: Floats64, *, whole: bool = False) -> str:
        if len(x) > _MOST_POINTS and not whole:
            # Equal steps along the curve keep its corners.
            length = np.cumsum(np.hypot(np.diff(x, prepend=x[0]), np.diff(y, prepend=y[0])))
            kept = np.unique(np.searchsorted(length, np.linspace(0, length[-1], _MOST_POINTS)).clip(0, len(x) - 1))
            x, y = x[kept], y[kept]
        return " ".join(f"{self.px(a):.1f},{self.py(b):.1f}" for a, b in zip(x.tolist(), y.tolist(), strict=True))


def interval_mark(value: float | None, low: float, high: float, ends: tuple[float, float], kind: str) -> Markup:
    """A point and its interval on a common scale from `ends[0]` to `ends[1]`, a strip for a table's cell."""

    def place(v: float) -> float:
        return 4 + 192 * (min(max(v, ends[0]), ends[1]) - ends[0]) / (ends[1] - ends[0])

    parts = [
        '<svg class="strip" viewBox="0 0 200 20" aria-hidden="true" preserveAspectRatio="none">',
        '<line class="base" x1="0" x2="200" y1="10" y2="10"/>',
        f'<line class="reach {kind}" x1="{place(low):.1f}" x2="{place(high):.1f}" y1="10" y2="10"/>',
    ]
    if value is not None:
        parts.append(f'<line class="point {kind}" x1="{place(value):.1f}" x2="{place(value):.1f}" y1="2" y2="18"/>')
    return Markup("".join(parts) + "</svg>")
