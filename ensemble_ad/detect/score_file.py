"""Scores of new images, written as they come into a file or pipe: CSV or one JSON document."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TextIO

from ensemble_ad.files.id_table import check_cells
from ensemble_ad.statistics.arrays import Bools, Floats64

Write = Callable[[Sequence[str], Floats64, Bools], None]
"""Takes ids, float64 (n,) scores and bool (n,) alarms."""


@contextmanager
def write_csv(file: TextIO, about: Mapping[str, Any]) -> Iterator[Write]:
    """The columns ID,score,alarm with a row for each image; `about` is left out.

    Raises:
        DataError: for an id that a spreadsheet would take for a formula; JSON takes it.
    """
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("ID", "score", "alarm"))

    def write(ids: Sequence[str], scores: Floats64, alarms: Bools) -> None:
        check_cells(ids, "a picture, whose scores --format json would take,")
        writer.writerows(zip(ids, map(repr, scores.tolist()), map(int, alarms.tolist()), strict=True))

    yield write


@contextmanager
def write_json(file: TextIO, about: Mapping[str, Any]) -> Iterator[Write]:
    """An object of `about` and `images`, a list of {"ID", "score", "alarm"}; it is closed only when all went well."""
    head = json.dumps(dict(about), allow_nan=False)
    file.write(head[:-1] + (", " if about else "") + '"images": [')
    separator = "\n"

    def write(row: Mapping[str, Any]) -> None:
        nonlocal separator
        file.write(separator + json.dumps(dict(row), allow_nan=False))
        separator = ",\n"

    yield by_rows(write)
    file.write("\n]}\n")


def by_rows(write_row: Callable[[Mapping[str, Any]], None]) -> Write:
    """A `Write` that passes each image to `write_row` as {"ID", "score", "alarm"}."""

    def write(ids: Sequence[str], scores: Floats64, alarms: Bools) -> None:
        for name, score, alarm in zip(ids, scores.tolist(), alarms.tolist(), strict=True):
            write_row({"ID": name, "score": score, "alarm": alarm})

    return write


WRITERS: dict[str, Callable[[TextIO, Mapping[str, Any]], AbstractContextManager[Write]]] = {
    "csv": write_csv,
    "json": write_json,
}
