"""The CSV that is handed in, and the checks that it has to pass."""

import csv
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from ensemble_ad.errors import DataError, StorageError
from ensemble_ad.files.id_table import ID, check_cells, check_same_ids, read_id_table
from ensemble_ad.files.whole import whole_file
from ensemble_ad.statistics.arrays import Floats64

SCORE = "score"


def write_submission(
    folder: Path,
    name: str,
    scores: Floats64,
    ids: Sequence[str],
    *,
    sample: Path | None,
    now: datetime,
) -> Path:
    """Write `folder/<time>-<name>.csv` with the columns `ID,score`; never overwrites.

    Args:
        folder: the submissions' folder.
        name: the blend's name.
        scores: float (k,), higher = more anomalous.
        ids: k ids of the test images, in the scores' order.
        sample: a sample submission, whose ids and order are kept; None gives `ids` in their order.
        now: the time in the file's name.

    Raises:
        DataError: for NaN or infinite scores, a count that differs, unknown ids, ids that a spreadsheet would run, or
            scores that are all equal.
        StorageError: if the file cannot be written.
    """
    if len(scores) != len(ids):
        raise DataError(f"a submission needs one score an image: {len(ids)}, not {len(scores)}")
    if not np.isfinite(scores).all():
        raise DataError(
            f"every score must be a finite number, but {int((~np.isfinite(scores)).sum())} are not; blend again"
        )
    if scores.min() == scores.max():
        raise DataError(f"every score is {scores[0]}, which ranks nothing (AUC 0.5); blend other members")
    order = list(ids)
    if sample is not None:
        order = read_id_table(sample, SCORE).ids
        if len(order) != len(ids):
            raise DataError(
                f"{sample} asks for {len(order)} ids, but there are scores for {len(ids)} test images; "
                "use the test set that belongs to it"
            )
        check_same_ids(sample, order, ids)
    check_cells(order, "the test set")
    by_id = dict(zip(ids, scores.tolist(), strict=True))
    stem = f"{now:%Y%m%d-%H%M%S}-{name}"
    for attempt in range(1, 1000):
        path = folder / (f"{stem}.csv" if attempt == 1 else f"{stem}-{attempt}.csv")
        try:
            with (
                whole_file(path, overwrite=False) as part,
                part.open("w", newline="", encoding="utf-8") as file,
            ):
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow((ID, SCORE))
                writer.writerows((name, repr(by_id[name])) for name in order)
        except FileExistsError:
            continue
        return path
    raise StorageError(f"{folder} holds 999 submissions of this second already; wait a second")
