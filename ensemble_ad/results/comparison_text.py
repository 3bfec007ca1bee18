"""The comparison table as people read it, in the terminal and in Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ensemble_ad.results.comparison import Row, rows_of
from ensemble_ad.results.footnotes import footnotes, without_the_best

if TYPE_CHECKING:
    import pandas as pd

WIDTH = 80


@dataclass(frozen=True, kw_only=True)
class _Shown:
    """A column of the table: its header, one cell for each row, and whether these are aligned to the left."""

    header: str
    cells: list[str]
    left: bool = False

    @cached_property
    def width(self) -> int:
        return max(map(len, (self.header, *self.cells)))

    def aligned(self) -> list[str]:
        """The header and the cells, all as wide as the column."""
        texts = (self.header, *self.cells)
        return [text.ljust(self.width) if self.left else text.rjust(self.width) for text in texts]

    def cut(self, width: int, tail: int = 0) -> "_Shown":
        """The column, no wider than `width`; longer cells keep their beginning and their last `tail` characters."""
        cells = [c if len(c) <= width else f"{c[: width - tail - 2]}..{c[len(c) - tail :]}" for c in self.cells]
        return _Shown(header=self.header, cells=cells, left=self.left)


def render_text(table: "Sequence[Row] | pd.DataFrame", *, markdown: bool = False, width: int = WIDTH) -> str:
    """The table for people: the columns that fit `width` characters, aligned, or more of them as a Markdown table.

    Before any evaluation the estimated AUC takes the place of the AUC. Names and origins that are too long for the
    width are shortened; Markdown and the files have them whole. What the text marks and explains below the table
    (transductive, flags, the share of anomalies) has columns of its own in Markdown.

    Args:
        table: as `comparison` or `table_rows` gives it.
        markdown: write a Markdown table, however wide.
        width: most characters of a line of text.
    """
    rows = without_the_best(table if isinstance(table, Sequence) else rows_of(table))
    evaluated = any(row["auc"] is not None for row in rows)
    estimated = any(row["estimated_auc_low"] is not None for row in rows)
    marks = [("^" if r["transductive"] else "", "!" if r["flag"] else "") for r in rows]
    if markdown:
        marks = [("", "")] * len(rows)
    name = _Shown(header="name", cells=[f"{r['name']}{m}" for r, (m, _) in zip(rows, marks, strict=True)], left=True)
    source = _Shown(header="from", cells=[_word(row["source"]) for row in rows], left=True)
    auc = [
        _Shown(header="AUC", cells=[_number(r["auc"]) + ("*" if r["ties_best"] else "") for r in rows]),
        _Shown(header="95% interval", cells=[_interval(row["auc_low"], row["auc_high"]) for row in rows]),
    ]
    implied = [
        _Shown(header="est. AUC", cells=[_number(row["estimated_auc"]) for row in rows]),
        _Shown(header="est. 95%", cells=[_interval(r["estimated_auc_low"], r["estimated_auc_high"]) for r in rows]),
    ]
    # Where nothing has seen a test image, what else is known of a row.
    blind = bool(rows) and all(row["separation"] is None for row in rows)
    judged = [_number(row["value" if blind else "separation"]) for row in rows]
    rest = [
        _Shown(header="value" if blind else "sep.", cells=[v + m for v, (_, m) in zip(judged, marks, strict=True)]),
        _Shown(header="weight", cells=["" if r["weight"] is None else f"{r['weight']:.3f}" for r in rows]),
        _Shown(header="labels", cells=[_word(row["labels_used"]).partition(":")[0] for row in rows]),
    ]
    more = [
        _Shown(header="column", cells=[_word(row["column"]) for row in rows]),
        _Shown(header="corr.", cells=["" if r["correlation"] is None else f"{r['correlation']:.3f}" for r in rows]),
        _Shown(header="crop", cells=["" if row["crop"] is None else f"{row['crop']:.2f}" for row in rows]),
        _Shown(header="seconds", cells=[f"{row['seconds']:.0f}" for row in rows]),
    ]
    first = auc if evaluated or not estimated else implied
    shown = [name, source, *first, *rest]
    wider = ([implied] if first is auc and estimated else []) + [[column] for column in more]
    if markdown:
        shown += [column for group in wider for column in group]
        shown += [
            _Shown(header="share", cells=[_number(row["estimated_share"]) for row in rows]),
            _Shown(header="flag", cells=[_word(row["flag"]) for row in rows]),
            _Shown(header="transductive", cells=["yes" if row["transductive"] else "" for row in rows]),
        ]
        lines = [f"| {' | '.join(cells)} |" for cells in zip(*((c.header, *c.cells) for c in shown), strict=True)]
        lines.insert(1, f"|{'---|' * len(shown)}")
        return "\n".join(lines) + "\n"
    shown = _fitting(shown, wider, width)
    lines = ["  ".join(cells) for cells in zip(*(column.aligned() for column in shown), strict=True)]
    notes = _notes(rows, {column.header for column in shown})
    return "\n".join(line.rstrip() for line in [*lines, *notes]) + "\n"


def _fitting(shown: list[_Shown], wider: list[list[_Shown]], width: int) -> list[_Shown]:
    """`shown`, with origins and then names cut where that is wider than `width`, and as much of `wider` as has room."""
    # A blend's name ends in the hash that tells it apart.
    for position, least, tail in ((1, 11, 0), (0, 20, 7)):
        beyond = _total(shown) - width
        if beyond > 0:
            shown = [*shown]
            shown[position] = shown[position].cut(max(least, shown[position].width - beyond), tail)
    for group in wider:
        if _total([*shown, *group]) > width:
            break
        shown = [*shown, *group]
    return shown


def _total(shown: Sequence[_Shown]) -> int:
    return sum(column.width for column in shown) + 2 * (len(shown) - 1)


def _notes(rows: Sequence[Row], headers: set[str]) -> list[str]:
    """The lines below the table; the one that every reader needs stands last."""
    notes = footnotes(rows, measured="AUC" in headers, estimated="est. AUC" in headers)
    lines = []
    if notes.transductive:
        lines.append(f"^ transductive: {notes.transductive}")
    if notes.flags:
        lines.append("! " + "; ".join(f"{flag}: {meaning}" for flag, meaning in notes.flags.items()))
    for why, names in notes.slowed.items():
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        lines.append(f"slower than it should be: {', '.join(names[:3])}{more}: {why}")
    if notes.shares:
        lines.append(f"est. AUC: estimated, no labels, from sep. with {notes.shares}")
    if "value" in headers:
        lines.append(
            "value: what a member was chosen by; a blend's AUC on pseudo-anomalies that it was not weighted by"
        )
    if notes.tied:
        lines.append(f"* {notes.tied}")
    return lines


def _word(value: Any) -> str:
    return "" if value is None else str(value)


def _interval(low: Any, high: Any) -> str:
    return "-" if low is None or high is None else f"{low:.3f}-{high:.3f}"


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:.3f}"
