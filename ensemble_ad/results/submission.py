"""The CSV that is handed in, and the checks that it has to pass."""

import csv
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from ensemble_ad.errors import DataError, StorageError
from ensemble_ad.files.id_table import check_cells
from ensemble_ad.files.sample import read_sample, without_sample
from ensemble_ad.files.whole import whole_file
from ensemble_ad.statistics.arrays import Floats64


def write_submission(
    folder: Path,
    name: str,
    scores: Floats64,
    ids: Sequence[str],
    *,
    sample: Path | None,
    now: datetime,
    column: str | None = None,
) -> Path:
    """Write `folder/<time>-<name>.csv`; never overwrites.

    The sample submission decides the columns, their names and order, and the rows' order; whatever else stands in it is
    kept. Without one the columns are `ID,score`.

    Args:
        folder: the submissions' folder.
        name: the blend's name.
        scores: float (k,), higher = more anomalous.
        ids: k ids of the test images, in the scores' order.
        sample: a sample submission; None gives `ids` in their order.
        now: the time in the file's name.
        column: the name of the score's column, where the sample does not make it clear or there is none.

    Raises:
        DataError: for NaN or infinite scores, a count that differs, unknown ids, cells that a spreadsheet would run,
            scores that are all equal, or a sample whose columns are not clear.
        UsageError: for a column that the sample does not have.
        StorageError: if the file cannot be written.
    """
    _check_scores(scores, ids)
    asked = without_sample(ids, column) if sample is None else read_sample(sample, ids, column)
    check_cells(asked.ids, "the test set")
    by_id = dict(zip(ids, map(repr, scores.tolist()), strict=True))
    at = asked.score_at
    stem = f"{now:%Y%m%d-%H%M%S}-{name}"
    for attempt in range(1, 1000):
        path = folder / (f"{stem}.csv" if attempt == 1 else f"{stem}-{attempt}.csv")
        try:
            with (
                whole_file(path, overwrite=False) as part,
                part.open("w", newline="", encoding="utf-8") as file,
            ):
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(asked.header)
                for row, image in zip(asked.rows, asked.ids, strict=True):
                    writer.writerow((*row[:at], by_id[image], *row[at + 1 :]))
        except FileExistsError:
            continue
        return path
    raise StorageError(f"{folder} holds 999 submissions of this second already; wait a second")


def _check_scores(scores: Floats64, ids: Sequence[str]) -> None:
    if len(scores) != len(ids):
        raise DataError(f"a submission needs one score an image: {len(ids)}, not {len(scores)}")
    if not np.isfinite(scores).all():
        raise DataError(
            f"every score must be a finite number, but {int((~np.isfinite(scores)).sum())} are not; blend again"
        )
    if len(scores) > 1 and scores.min() == scores.max():
        raise DataError(f"every score is {scores[0]}, which ranks nothing (AUC 0.5); blend other members")
