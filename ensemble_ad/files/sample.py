"""The sample submission: which columns a submission has, in which order, and the ids in their order."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ensemble_ad.errors import DataError, UsageError
from ensemble_ad.files.id_table import ID, CsvTable, check_same_ids, column_of_ids, read_csv_table, shown
from ensemble_ad.files.text import is_formula, is_text

SCORE = "score"
_SCORES = (SCORE, "predicted", "prediction")
"""Names, in any case, by which the column of the scores is known among several."""
_NEEDS = "of the ids and of the score"


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What a submission has to look like.

    Attributes:
        header: the names of its columns.
        rows: its rows, of which every cell is kept but those of the score.
        ids: the test image of each row, in the file's order.
        score_at: the place of the score's column.
    """

    header: list[str]
    rows: list[list[str]]
    ids: list[str]
    score_at: int

    @property
    def score(self) -> str:
        """The name of the score's column."""
        return self.header[self.score_at]


def without_sample(ids: Sequence[str], column: str | None) -> Sample:
    """What a submission looks like where no sample is given: the columns `ID` and `column`, else `score`.

    Raises:
        UsageError: for a `column` that cannot stand beside `ID`.
    """
    name = SCORE if column is None else column
    if name.strip().lower() in ("", ID.lower()) or _is_unsafe(name):
        raise UsageError(
            f"--column must be a name other than {ID} that no spreadsheet takes for a formula, not {name!r}"
        )
    return Sample(header=[ID, name], rows=[[image, ""] for image in ids], ids=list(ids), score_at=1)


def read_sample(path: Path, ids: Sequence[str], column: str | None) -> Sample:
    """Read a sample submission.

    The ids' column is the one that holds the test images' ids; where none does, the one called `ID`, or the first. The
    score's column is `column`; where that is None, the only other one, or the one called score.

    Args:
        path: a CSV file with a header.
        ids: the ids of the test images.
        column: the name of the score's column, in any case; None where it is clear.

    Raises:
        DataError: if it is not such a file, has other ids than `ids` or one of them twice, or if it is not clear which
            column is the score's.
        UsageError: for a `column` that it does not have, or that holds the ids.
    """
    table, id_at, found = _read(path, ids)
    if len(found) != len(ids):
        raise DataError(
            f"{path} asks for {len(found)} ids, but there are scores for {len(ids)} test images; "
            "use the test set that belongs to it"
        )
    check_same_ids(path, found, ids)
    score_at = _place_of_score(path, table, id_at, column)
    sample = Sample(header=table.header, rows=table.rows, ids=found, score_at=score_at)
    _check_cells(path, sample)
    return sample


def sample_ids(path: Path, ids: Sequence[str]) -> list[str]:
    """The ids of a sample submission, in its order, whichever column is the score's.

    Raises:
        DataError: as `read_sample`, for its ids.
    """
    found = _read(path, ids)[2]
    check_same_ids(path, found, ids)
    return found


def _read(path: Path, ids: Sequence[str]) -> tuple[CsvTable, int, list[str]]:
    """A sample submission, the place of its ids' column, and its ids."""
    table = read_csv_table(path, _NEEDS)
    if len(table.header) == 1:
        raise DataError(
            f"{path} must have the columns {_NEEDS} with commas between, but has one, {shown(table.header[0])}"
        )
    id_at = _place_of_ids(table, ids)
    return table, id_at, column_of_ids(path, table, id_at)


def _place_of_ids(table: CsvTable, ids: Sequence[str]) -> int:
    wanted = set(ids)
    named = [name.strip().lower() for name in table.header]
    holding = [at for at in range(len(named)) if {row[at].strip() for row in table.rows} == wanted]
    likely = [at for at, name in enumerate(named) if name == ID.lower()]
    return next((at for at in likely if at in holding), (holding or likely or [0])[0])


def _place_of_score(path: Path, table: CsvTable, id_at: int, column: str | None) -> int:
    names = [name.strip() for name in table.header]
    others = [at for at in range(len(names)) if at != id_at]
    listed = ", ".join(names[at] for at in others)[:200]
    if column is not None:
        exact = [at for at in others if names[at] == column.strip()]
        same = exact or [at for at in others if names[at].lower() == column.strip().lower()]
        if len(same) != 1:
            what = "is there more than once" if same else "is not among them"
            raise UsageError(
                f"--column must be one of {listed}, the columns of {path} without the ids': {column!r} {what}"
            )
        return same[0]
    if len(others) == 1:
        return others[0]
    for known in _SCORES:
        same = [at for at in others if names[at].lower() == known]
        if len(same) == 1:
            return same[0]
    raise DataError(f"it is not clear which column of {path} is the score's ({listed}); name it with --column")


def _check_cells(path: Path, sample: Sample) -> None:
    """Refuse what would go into the submission as it stands, and that a spreadsheet may run."""
    kept = (cell for row in sample.rows for at, cell in enumerate(row) if at != sample.score_at)
    for cell in (*sample.header, *kept):
        if _is_unsafe(cell):
            raise DataError(
                f"a sample submission must hold text that no spreadsheet takes for a formula, but {path} has "
                f"{cell[:80]!a}; rename it"
            )


def _is_unsafe(cell: str) -> bool:
    return is_formula(cell) or not is_text(cell)
