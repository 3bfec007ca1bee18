"""Scores of new images, written as they come into a file or pipe: CSV or one JSON document."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, TextIO

from ensemble_ad.files.id_table import check_cells
from ensemble_ad.statistics.arrays import Bools, Floats64


class Write(Protocol):
    """Writes some images that were scored."""

    def __call__(
        self, ids: Sequence[str], scores: Floats64, alarms: Bools, unlike: Sequence[str | None] | None = None
    ) -> None:
        """Write n images.

        Args:
            ids: their ids.
            scores: float64 (n,), higher = more anomalous.
            alarms: bool (n,), whether a score is above the threshold.
            unlike: by what each image is unlike all training images, as in `data.seen.MEANINGS`; None if by nothing.
        """


@contextmanager
def stream_csv(file: TextIO, about: Mapping[str, Any]) -> Iterator[Write]:
    """The columns ID,score,alarm with a row for each image; `about` and `unlike` are left out.

    Raises:
        DataError: for an id that a spreadsheet would take for a formula; JSON takes it.
    """
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("ID", "score", "alarm"))

    def write(ids: Sequence[str], scores: Floats64, alarms: Bools, unlike: Sequence[str | None] | None = None) -> None:
        check_cells(ids, "a picture, whose scores --format json would take,")
        writer.writerows(zip(ids, map(repr, scores.tolist()), map(int, alarms.tolist()), strict=True))

    yield write


@contextmanager
def stream_json(file: TextIO, about: Mapping[str, Any]) -> Iterator[Write]:
    """An object of `about` and `images`, a list of what `by_rows` gives; it is closed only when all went well."""
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
    """A `Write` that passes each image to `write_row` as {"ID", "score", "alarm"}, and "unlike" where there is such."""

    def write(ids: Sequence[str], scores: Floats64, alarms: Bools, unlike: Sequence[str | None] | None = None) -> None:
        kinds = unlike or [None] * len(ids)
        for name, score, alarm, kind in zip(ids, scores.tolist(), alarms.tolist(), kinds, strict=True):
            write_row({"ID": name, "score": score, "alarm": alarm} | ({} if kind is None else {"unlike": kind}))

    return write


WRITERS: dict[str, Callable[[TextIO, Mapping[str, Any]], AbstractContextManager[Write]]] = {
    "csv": stream_csv,
    "json": stream_json,
}
