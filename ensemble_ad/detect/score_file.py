"""Scores of new images, written as they come into a file or pipe: CSV or one JSON document."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol, TextIO

import numpy as np

from ensemble_ad.blend.alarm import discoveries
from ensemble_ad.files.id_table import check_cells
from ensemble_ad.statistics.arrays import Bools, Floats64


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Some images that were scored, n of them.

    Attributes:
        ids: their ids.
        scores: float64 (n,), higher = more anomalous.
        alarms: bool (n,), whether a score is above the threshold.
        unlike: by what each image is unlike all training images, as in `data.seen.MEANINGS`; None if by nothing.
        p_values: float64 (n,), as `blend.alarm.p_values` has them; None where they are not wanted.
        discoveries: bool (n,), as `blend.alarm.discoveries` has them; None likewise.
    """

    ids: Sequence[str]
    scores: Floats64
    alarms: Bools
    unlike: Sequence[str | None]
    p_values: Floats64 | None = None
    discoveries: Bools | None = None

    def columns(self) -> dict[str, list[Any]]:
        """The columns that a file gets, but for `unlike`."""
        found: dict[str, list[Any]] = {"ID": [*self.ids], "score": self.scores.tolist(), "alarm": self.alarms.tolist()}
        found |= {} if self.p_values is None else {"p_value": self.p_values.tolist()}
        return found | ({} if self.discoveries is None else {"discovery": self.discoveries.tolist()})


class Write(Protocol):
    """Writes some images that were scored."""

    def __call__(self, scored: Scored) -> None:
        """Write them."""


@contextmanager
def stream_csv(file: TextIO, about: Mapping[str, Any]) -> Iterator[Write]:
    """A row for each image, with the names of `Scored.columns` above; `about` and `unlike` are left out.

    Raises:
        DataError: for an id that a spreadsheet would take for a formula; JSON takes it.
    """
    writer = csv.writer(file, lineterminator="\n")
    begun = False

    def write(scored: Scored) -> None:
        nonlocal begun
        check_cells(scored.ids, "a picture, whose scores --format json would take,")
        columns = scored.columns()
        if not begun:
            writer.writerow(columns)
        begun = True
        writer.writerows(zip(*(map(_cell, column) for column in columns.values()), strict=True))

    yield write


def _cell(value: Any) -> str:
    return str(int(value)) if isinstance(value, bool) else value if isinstance(value, str) else repr(value)


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
    """A `Write` that passes each image to `write_row`: `Scored.columns`, and "unlike" where there is such."""

    def write(scored: Scored) -> None:
        columns = scored.columns()
        for values, kind in zip(zip(*columns.values(), strict=True), scored.unlike, strict=True):
            write_row(dict(zip(columns, values, strict=True)) | ({} if kind is None else {"unlike": kind}))

    return write


@contextmanager
def whole_batch(write: Write, rate: float, tell: Callable[[int], None]) -> Iterator[Write]:
    """A `Write` that keeps what it gets, without the pictures, until all went well, and then writes it at once.

    Args:
        write: what writes in the end.
        rate: the false discovery rate, by which the batch's `discoveries` are found.
        tell: gets their number.
    """
    waiting: list[Scored] = []

    def keep(scored: Scored) -> None:
        waiting.append(scored)

    yield keep
    p_values = [each.p_values for each in waiting if each.p_values is not None]
    found = discoveries(np.concatenate(p_values), rate) if p_values else np.empty(0, dtype=bool)
    tell(int(found.sum()))
    done = 0
    for each in waiting:
        write(replace(each, discoveries=found[done : done + len(each.ids)]))
        done += len(each.ids)


WRITERS: dict[str, Callable[[TextIO, Mapping[str, Any]], AbstractContextManager[Write]]] = {
    "csv": stream_csv,
    "json": stream_json,
}
