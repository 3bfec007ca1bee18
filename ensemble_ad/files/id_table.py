"""CSV files with an id column: labels, sample submissions, submissions."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ensemble_ad.errors import DataError
from ensemble_ad.files.text import is_formula, is_text
from ensemble_ad.files.whole import open_regular

ID = "ID"
_SHOWN = 80


class IdTable(NamedTuple):
    """Two columns of a CSV file, as text, in its order."""

    ids: list[str]
    values: list[str]


class CsvTable(NamedTuple):
    """A CSV file's cells as text, as they stand there.

    Attributes:
        header: the names of the columns.
        rows: one list for each row, as long as the header; at least one.
        lines: the line on which each row stands, for messages.
    """

    header: list[str]
    rows: list[list[str]]
    lines: list[int]


def read_csv_table(path: Path, needs: str) -> CsvTable:
    """Read a CSV file with a header.

    Args:
        path: the file.
        needs: which columns it must have, for messages.

    Raises:
        DataError: if the file is missing, is not CSV, is empty, or has a row of another length than its header.
    """
    try:
        # A pipe cannot be read again, for the hash by which results of the same labels are known.
        with open_regular(path) as raw, io.TextIOWrapper(raw, newline="", encoding="utf-8-sig") as file:
            every = list(csv.reader(file, strict=True))
    except FileNotFoundError:
        raise DataError(f"the file {path} does not exist; name another") from None
    except UnicodeDecodeError as error:  # PowerShell's `>` writes UTF-16, and Excel what Windows is set to
        raise DataError(f"{path} must be a CSV file in UTF-8, and is in another encoding; save it as UTF-8") from error
    except (OSError, csv.Error) as error:
        raise DataError(f"{path} must be a CSV file with the columns {needs}: {error}") from error
    if not every:
        raise DataError(f"{path} must have the columns {needs}, but is empty")
    header = every[0]
    if not header:
        raise DataError(f"{path} must have the columns {needs}, but starts with ''")
    rows, lines = [], []
    for number, row in enumerate(every[1:], start=2):
        if row and len(row) != len(header):
            raise DataError(f"{path} line {number} must have {len(header)} cells, but has {len(row)}")
        if row:
            rows.append(row)
            lines.append(number)
    if not rows:
        raise DataError(f"{path} must have a row an image, but has none")
    return CsvTable(header, rows, lines)


def column_of_ids(path: Path, table: CsvTable, at: int) -> list[str]:
    """The ids in a column of a table, without spaces around them.

    Raises:
        DataError: if an id comes again.
    """
    ids, seen = [], set[str]()
    for row, number in zip(table.rows, table.lines, strict=True):
        name = row[at].strip()
        if name in seen:
            raise DataError(f"{path} must name each id once, but {shown(name)} comes again on line {number}")
        seen.add(name)
        ids.append(name)
    return ids


def read_id_table(path: Path, value: str) -> IdTable:
    """Read the columns `ID` and `value` (in any case) of a CSV file.

    Raises:
        DataError: if the file is missing, is not CSV, lacks one of the columns, has one of them twice, is empty or
            repeats an id.
    """
    needs = f"{ID},{value}"
    table = read_csv_table(path, needs)
    header = [name.strip().lower() for name in table.header]
    places = []
    for name in (ID, value):
        if name.lower() not in header:
            raise DataError(f"{path} must have the columns {needs}, but starts with {','.join(table.header)[:80]!r}")
        if header.count(name.lower()) > 1:
            raise DataError(
                f"{path} must have the columns {needs} once each, but has {name} {header.count(name.lower())} times; "
                "remove or rename the others"
            )
        places.append(header.index(name.lower()))
    ids = column_of_ids(path, table, places[0])
    return IdTable(ids, [row[places[1]].strip() for row in table.rows])


def shown(cell: str) -> str:
    """A cell in a message: quoted, and cut where it is long."""
    return repr(cell) if len(cell) <= _SHOWN else f"{cell[:_SHOWN]!r}..."


def check_cells(cells: Iterable[str], what: str) -> None:
    """Refuse ids that cannot be written into a CSV file: no text, or what a spreadsheet may take for a formula.

    Args:
        cells: the ids.
        what: whose ids they are, for the message.

    Raises:
        DataError: naming the first, and how many others there are.
    """
    bad = [cell for cell in cells if is_formula(cell) or not is_text(cell)]
    if not bad:
        return
    first, others = bad[0], len(bad) - 1
    rename = "rename it" + (f", and {others} more that cannot be ids" if others else "")
    if not is_text(first):
        raise DataError(f"an id must be text without control characters, but {what} has {first[:80]!a}; {rename}")
    raise DataError(
        f"an id must not begin as a spreadsheet's formula, with = + - or @, but {what} has {first[:80]!r}; {rename}"
    )


def check_same_ids(path: Path, ids: Sequence[str], expected: Sequence[str]) -> None:
    """Raise unless `ids` holds exactly the `expected` ones, in any order.

    Raises:
        DataError: naming how many are missing or extra, and the first of them.
    """
    have, want = set(ids), set(expected)
    missing = [name for name in expected if name not in have]
    extra = [name for name in ids if name not in want]
    problems = [
        f"{len(some)} {what} ({', '.join(map(shown, some[:3]))}{', ...' if len(some) > 3 else ''})"
        for what, some in (("missing", missing), ("unknown", extra))
        if some
    ]
    if problems:
        raise DataError(f"{path} must have the ids of the {len(expected)} test images: {' and '.join(problems)}")


def read_labels(path: Path, ids: Sequence[str]) -> npt.NDArray[np.int8]:
    """Read `ID,label`, 1 = anomaly, into the order of `ids`.

    Returns:
        int8 (k,) of 0 and 1.

    Raises:
        DataError: for missing, repeated or unknown ids, another value than 0 or 1, or labels of one class.
    """
    table = read_id_table(path, "label")
    check_same_ids(path, table.ids, ids)
    by_id = dict(zip(table.ids, table.values, strict=True))
    bad = next((name for name in ids if by_id[name] not in ("0", "1", "0.0", "1.0")), None)
    if bad is not None:
        raise DataError(
            f"{path}: a label must be 0 (normal) or 1 (anomaly), but the one of {shown(bad)} is {shown(by_id[bad])}"
        )
    label = np.array([float(by_id[name]) for name in ids]).astype(np.int8)
    if label.min() == label.max():
        raise DataError(f"{path} must hold both classes, but every label is {label[0]}; an AUC needs both")
    return label
