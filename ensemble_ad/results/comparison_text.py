"""The comparison table as people read it, in the terminal and in Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ensemble_ad.results.comparison import CONSTANT, INVERTED, Row

if TYPE_CHECKING:
    import pandas as pd

WIDTH = 80
_PRINTED = (
    "source", "auc", "auc_low", "auc_high", "ties_best", "estimated_auc", "estimated_auc_low", "estimated_auc_high",
    "estimated_share", "share_source", "separation", "flag", "weight", "labels_used", "column", "correlation", "crop",
    "seconds", "transductive",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Shown:
    """A column of the text table: its header, a cell a row, and where it stands."""

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
        """No wider than `width`; what is longer keeps its beginning and the last `tail` characters."""
        cells = [c if len(c) <= width else f"{c[: width - tail - 2]}..{c[len(c) - tail :]}" for c in self.cells]
        return _Shown(header=self.header, cells=cells, left=self.left)


def render_text(table: "Sequence[Row] | pd.DataFrame", *, markdown: bool = False, width: int = WIDTH) -> str:
    """The table for people: the columns that fit `width` characters, aligned, or more of them as a Markdown table.

    Before any evaluation the estimated AUC takes the place of the AUC. Names and origins that are too long for the
    width are shortened; Markdown and the files have them whole. What the text marks and explains below the table
    (transductive, flags, the share of anomalies) has columns of its own in Markdown.

    Args:
        table: as `comparison` or `table_rows` gives it.
        markdown: write a Markdown table, whatever its width.
        width: characters a line, of the text.
    """
    rows = table if isinstance(table, Sequence) else _rows_of(table)
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
    rest = [
        _Shown(header="sep.", cells=[_number(r["separation"]) + m for r, (_, m) in zip(rows, marks, strict=True)]),
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


def _rows_of(table: "pd.DataFrame") -> list[Row]:
    """The rows of a table for people, with None for what pandas marks as missing."""
    cells = table[list(_PRINTED)].astype(object)
    known = cells.where(cells.notna(), None)
    columns = {"name": table.index.tolist(), **{column: known[column].tolist() for column in _PRINTED}}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _fitting(shown: list[_Shown], wider: list[list[_Shown]], width: int) -> list[_Shown]:
    """`shown` cut to the width, the origin first and then the name, and what there is room for of `wider`."""
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


def _notes(rows: Sequence[Mapping[str, Any]], headers: set[str]) -> list[str]:
    notes = []
    if "AUC" in headers and any(row["ties_best"] for row in rows):
        notes.append("* cannot be told from the best (DeLong's paired test, Holm-corrected, 5%)")
    if any(row["transductive"] for row in rows):
        notes.append("^ transductive: trained on the unlabelled test images too")
    flags = sorted({str(row["flag"]) for row in rows if row["flag"]})
    if flags:
        means = {CONSTANT: "one score for all images", INVERTED: "test images score below normal ones"}
        notes.append("! " + "; ".join(f"{flag}: {means[flag]}" for flag in flags))
    if "est. AUC" in headers:
        shares = {(row["estimated_share"], row["share_source"]) for row in rows if row["estimated_share"] is not None}
        said = " and ".join(f"{_article(source)} {share:.1%} anomalies" for share, source in sorted(shares))
        notes.append(f"est. AUC: estimated, no labels, from sep. with {said}")
    # The line that every reader needs stands last.
    return notes[1:] + notes[:1] if notes and notes[0].startswith("*") else notes


def _article(source: str) -> str:
    return f"{'an' if source == 'estimated' else 'a'} {source}"


def _word(value: Any) -> str:
    return "" if value is None else str(value)


def _interval(low: Any, high: Any) -> str:
    return "-" if low is None else f"{low:.3f}-{high:.3f}"


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:.3f}"
