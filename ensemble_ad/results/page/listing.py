"""The comparison table as the page has it: columns that say something, cells of text and of numbers to sort by."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

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
class Row:
    """A member or blend; `used` where it counts in the blend of the report."""

    name: str
    kind: str
    used: bool
    cells: tuple[Cell, ...]


_Shown = tuple[str, str, bool, Callable[[Any], Cell]]


def _number(column: str, digits: int) -> Callable[[Any], Cell]:
    def cell(row: Any) -> Cell:
        value = row[column]
        known = not pd.isna(value)
        return Cell(text=f"{value:,.{digits}f}" if known else DASH, value=float(value) if known else None, numeric=True)

    return cell


def _interval(low: str, high: str) -> Callable[[Any], Cell]:
    def cell(row: Any) -> Cell:
        known = not pd.isna(row[low])
        text = f"{row[low]:.3f}{DASH}{row[high]:.3f}" if known else DASH
        return Cell(text=text, value=float(row[low]) if known else None, numeric=True)

    return cell


def _word(column: str) -> Callable[[Any], Cell]:
    return lambda row: Cell(text="" if pd.isna(row[column]) else str(row[column]))


def _auc(row: Any) -> Cell:
    cell = _number("auc", 3)(row)
    tied = not pd.isna(row["ties_best"]) and bool(row["ties_best"])
    return Cell(text=cell.text + ("*" if tied else ""), value=cell.value, numeric=True)


def _remarks(row: Any) -> Cell:
    words = [] if pd.isna(row["flag"]) else [str(row["flag"])]
    if not pd.isna(row["transductive"]) and row["transductive"]:
        words.append("transductive")
    return Cell(text=", ".join(words))


# Title, the table's column that says whether there is anything to show, whether it holds numbers, and the cell.
_COLUMNS: tuple[_Shown, ...] = (
    ("Family", "family", False, _word("family")),
    ("From", "source", False, _word("source")),
    ("AUC", "auc", True, _auc),
    ("95% interval", "auc", True, _interval("auc_low", "auc_high")),
    ("Estimated AUC", "estimated_auc_low", True, _number("estimated_auc", 3)),
    ("Estimated 95%", "estimated_auc_low", True, _interval("estimated_auc_low", "estimated_auc_high")),
    ("Separation", "separation", True, _number("separation", 3)),
    ("Weight", "weight", True, _number("weight", 3)),
    ("Correlation", "correlation", True, _number("correlation", 2)),
    ("Error kind", "column", False, _word("column")),
    ("Crop", "crop", True, _number("crop", 2)),
    ("Size", "size", True, _number("size", 0)),
    ("Epochs", "epochs", True, _number("epochs", 0)),
    ("Parameters", "parameters", True, _number("parameters", 0)),
    ("Seconds", "seconds", True, _number("seconds", 1)),
    ("Labels used", "labels_used", False, _word("labels_used")),
    ("Remarks", "flag", False, _remarks),
)


def listing(table: pd.DataFrame) -> tuple[tuple[Heading, ...], tuple[Row, ...]]:
    """Headings and rows of the comparison table, in its order.

    Args:
        table: as `tables.comparison` gives it.
    """
    remarked = bool(table["flag"].notna().any() or table["transductive"].fillna(False).any())
    shown = [c for c in _COLUMNS if (remarked if c[0] == "Remarks" else bool(table[c[1]].notna().any()))]
    first = "AUC" if table["auc"].notna().any() else "Separation"
    headings = [Heading(title="Name", numeric=False)]
    headings += [Heading(title=title, numeric=numeric, sorted=title == first) for title, _, numeric, _ in shown]
    rows = []
    for name, row in table.iterrows():
        used = not pd.isna(row["weight"]) and float(row["weight"]) > 0
        cells = (Cell(text=str(name)), *(make(row) for _, _, _, make in shown))
        rows.append(Row(name=str(name), kind=str(row["kind"]), used=used, cells=cells))
    return tuple(headings), tuple(rows)


def notes(table: pd.DataFrame, shown: Sequence[Heading]) -> str:
    """What a reader of the table must know."""
    words = []
    if any(heading.title == "AUC" for heading in shown):
        words.append("* cannot be told from the best (DeLong's paired test, Holm-corrected, 5%).")
    known = table.dropna(subset=["estimated_share"])
    if any(heading.title == "Estimated AUC" for heading in shown) and len(known):
        share, source = float(known["estimated_share"].iloc[0]), str(known["share_source"].iloc[0])
        words.append(f"Estimated AUCs need no labels: they follow from separation at {share:.1%} anomalies ({source}).")
    if table["transductive"].fillna(False).any():
        words.append("Transductive: trained on the unlabelled test images too.")
    flags = set(table["flag"].dropna())
    if "constant" in flags:
        words.append("Constant: one score for all images.")
    if "inverted" in flags:
        words.append("Inverted: test images score below normal ones.")
    return " ".join(words)
