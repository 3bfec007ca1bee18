"""The comparison table as the page has it: columns that say something, cells of text and of numbers to sort by."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ensemble_ad.results.comparison import Row
from ensemble_ad.results.footnotes import footnotes
from ensemble_ad.results.page.svg import DASH


@dataclass(frozen=True, kw_only=True)
class Heading:
    """A column: its title, whether it holds numbers, whether the rows come sorted by it."""

    title: str
    numeric: bool
    sorted: bool = False


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What a cell shows, and the number that it is sorted by, None of words and of what is missing."""

    text: str
    value: float | None = None
    numeric: bool = False


@dataclass(frozen=True, kw_only=True)
class Line:
    """A member's or blend's line of the table; `used` where it counts in the blend of the report."""

    name: str
    kind: str
    used: bool
    cells: tuple[Cell, ...]


_AUC, _ESTIMATED, _OBJECTIVE, _REMARKS = "AUC", "Estimated AUC", "Objective", "Remarks"
_Shown = tuple[str, str, bool, Callable[[Row], Cell]]


def _number(column: str, digits: int) -> Callable[[Row], Cell]:
    def cell(row: Row) -> Cell:
        value = row[column]
        if value is None:
            return Cell(text=DASH, numeric=True)
        return Cell(text=f"{value:,.{digits}f}", value=float(value), numeric=True)

    return cell


def _interval(low: str, high: str) -> Callable[[Row], Cell]:
    def cell(row: Row) -> Cell:
        if row[low] is None:
            return Cell(text=DASH, numeric=True)
        return Cell(text=f"{row[low]:.3f}{DASH}{row[high]:.3f}", value=float(row[low]), numeric=True)

    return cell


def _word(column: str) -> Callable[[Row], Cell]:
    return lambda row: Cell(text="" if row[column] is None else str(row[column]))


def _auc(row: Row) -> Cell:
    cell = _number("auc", 3)(row)
    return Cell(text=cell.text + ("*" if row["ties_best"] else ""), value=cell.value, numeric=True)


def _remarks(row: Row) -> Cell:
    words = [str(row["flag"])] if row["flag"] else []
    return Cell(text=", ".join([*words, *(["transductive"] if row["transductive"] else [])]))


# How good it is comes first, beside the name, where a phone shows it.
# Title, the table's column that says whether there is anything to show, whether it holds numbers, and the cell.
_COLUMNS: tuple[_Shown, ...] = (
    (_AUC, "auc", True, _auc),
    ("95% interval", "auc", True, _interval("auc_low", "auc_high")),
    (_ESTIMATED, "estimated_auc_low", True, _number("estimated_auc", 3)),
    ("Estimated 95%", "estimated_auc_low", True, _interval("estimated_auc_low", "estimated_auc_high")),
    ("Separation", "separation", True, _number("separation", 3)),
    (_OBJECTIVE, "value", True, _number("value", 3)),
    ("Weight", "weight", True, _number("weight", 3)),
    ("Family", "family", False, _word("family")),
    ("From", "source", False, _word("source")),
    ("Correlation", "correlation", True, _number("correlation", 2)),
    ("Error kind", "column", False, _word("column")),
    ("Crop", "crop", True, _number("crop", 2)),
    ("Size", "size", True, _number("size", 0)),
    ("Epochs", "epochs", True, _number("epochs", 0)),
    ("Parameters", "parameters", True, _number("parameters", 0)),
    ("Seconds", "seconds", True, _number("seconds", 1)),
    ("Labels used", "labels_used", False, _word("labels_used")),
    (_REMARKS, "flag", False, _remarks),
)


def listing(rows: Sequence[Row]) -> tuple[tuple[Heading, ...], tuple[Line, ...]]:
    """Headings and lines of the comparison table, in its order.

    Args:
        rows: as `comparison.table_rows` gives them.
    """
    remarked = any(row["flag"] or row["transductive"] for row in rows)
    there = {column for _, column, _, _ in _COLUMNS if any(row[column] is not None for row in rows)}
    if "separation" in there:  # by which rows compare, and objectives' values do not
        there.remove("value")
    shown = [c for c in _COLUMNS if (remarked if c[0] == _REMARKS else c[1] in there)]
    first = _AUC if "auc" in there else "Separation"
    headings = [Heading(title="Name", numeric=False)]
    headings += [Heading(title=title, numeric=numeric, sorted=title == first) for title, _, numeric, _ in shown]
    lines = []
    for row in rows:
        cells = (Cell(text=row["name"]), *(make(row) for _, _, _, make in shown))
        lines.append(Line(name=row["name"], kind=row["kind"], used=(row["weight"] or 0) > 0, cells=cells))
    return tuple(headings), tuple(lines)


def notes(rows: Sequence[Row], shown: Sequence[Heading]) -> str:
    """What a reader of the table must know."""
    titles = {heading.title for heading in shown}
    found = footnotes(rows, measured=_AUC in titles, estimated=_ESTIMATED in titles)
    words = []
    if found.tied:
        words.append(f"* {found.tied}.")
    if found.shares:
        words.append(f"Estimated AUCs need no labels: they follow from separation with {found.shares}.")
    if found.transductive:
        words.append(f"Transductive: {found.transductive}.")
    words += [f"{flag.capitalize()}: {meaning}." for flag, meaning in found.flags.items()]
    return " ".join(words)
