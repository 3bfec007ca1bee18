"""Scores that another program made, as a member: two CSV files in, and `--members NAME` finds them."""

import csv
import re
from collections.abc import Collection, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from ensemble_ad.data.dataset import Dataset
from ensemble_ad.errors import DataError, UsageError
from ensemble_ad.files.id_table import ID, check_cells, read_id_table, shown
from ensemble_ad.files.json_file import json_hash
from ensemble_ad.files.sample import SCORE
from ensemble_ad.files.whole import whole_file
from ensemble_ad.members.data_record import DataRecord, save_data_record
from ensemble_ad.members.info import ChosenBy, MemberInfo
from ensemble_ad.members.measured import Measured
from ensemble_ad.members.narrowed import Narrowed, narrowed
from ensemble_ad.members.recipe_info import RecipeInfo
from ensemble_ad.members.save import save_member
from ensemble_ad.members.store import Member, discard_damaged
from ensemble_ad.statistics import separation
from ensemble_ad.statistics.arrays import Floats64

ORIGIN = "imported"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_SHOWN = 3
_CHANCE, _SURE = 0.5, 3.0


def is_imported(member: Member) -> bool:
    """Whether a member was imported: it has scores and no model."""
    return member.info.origin == ORIGIN


def reference_ids(dataset: Dataset) -> list[str]:
    """Ids of the training images that every member holds out; a detector must not be trained on them.

    An id is the image's row in trainingset.npy, from 0, or its path inside train/.
    """
    rows = dataset.split().reference
    return [dataset.train.ids[row] for row in rows]


def write_template(path: Path, dataset: Dataset) -> int:
    """Write the ids of the held-out training images as a CSV with an empty column `score`; never overwrites.

    Returns:
        How many there are.

    Raises:
        UsageError: if the file exists.
        DataError: if a spreadsheet would take an id for a formula.
        StorageError: if it cannot be written.
    """
    ids = reference_ids(dataset)
    check_cells(ids, "the training set")
    try:
        with (
            whole_file(path, overwrite=False, named_by_user=True) as part,
            part.open("w", newline="", encoding="utf-8") as file,
        ):
            csv.writer(file, lineterminator="\n").writerows([(ID, SCORE), *((name, "") for name in ids)])
    except FileExistsError:
        raise UsageError(f"{path} exists already; name another file") from None
    return len(ids)


def import_scores(
    studies: Path,
    dataset: Dataset,
    name: str,
    *,
    test: Path,
    reference: Path,
    taken: Collection[str],
    labels_used: str = "unknown",
    invert: bool = False,
) -> Member:
    """Make a member of scores; the same scores again are the same member.

    Scores are kept in 32 bits, and ranked as in 64: where rounding alone would make different ones equal, they are
    shifted first, or ranked, and the recipe says so.

    Args:
        studies: the studies' folder.
        dataset: the images that were scored.
        name: takes the place of a family's name: lower-case letters, digits and _.
        test: CSV file `ID,score` of all test images, higher = more anomalous.
        reference: the same of the held-out training images (`reference_ids`); further training images are left out,
            since they were trained on.
        taken: names that no member may have, those of the families.
        labels_used: which labels the detector saw, `none` if none; the table shows it.
        invert: store the negated scores, of a detector whose scores are low for anomalies; the table shows it.

    Raises:
        UsageError: for a name that does not fit or is a family's.
        DataError: for missing or unknown ids, scores that are not finite numbers or all equal, no test images.
        StorageError: if the member cannot be written.
    """
    check_name(name, taken)
    if not len(dataset.test):
        raise DataError("there are no test images, so there is nothing to blend the scores for")
    wanted = reference_ids(dataset)
    held_out = _scores(reference, wanted, dataset.train.ids, "held-out training images")
    tested = _scores(test, dataset.test.ids, dataset.test.ids, "test images")
    if len(tested) > 1 and tested.min() == tested.max():
        raise DataError(f"{test} gives every image the score {tested[0]}, which ranks nothing")
    kept = narrowed([-held_out, -tested] if invert else [held_out, tested])
    info = _info(dataset, name, kept, None if labels_used == "none" else labels_used, invert=invert)
    discard_damaged(studies, info.key)
    save_data_record(studies, DataRecord.of(dataset))
    return save_member(studies, info, reference={SCORE: kept.sides[0]}, test={SCORE: kept.sides[1]}, weights={})


def is_upside_down(member: Member) -> bool:
    """Whether test images score below held-out normal ones, by more than three standard errors."""
    judged = member.info.separation
    return judged is not None and judged.value + _SURE * judged.standard_error < _CHANCE


def _info(dataset: Dataset, name: str, kept: Narrowed, labels: str | None, *, invert: bool) -> MemberInfo:
    values = json_hash([[float(x) for x in side] for side in kept.sides])
    identity: dict[str, Any] = {"data": dataset.fingerprint, "family": name, "scores": values, "labels": labels}
    identity |= {"inverted": True} if invert else {}
    identity |= {"rescaled": kept.how} if kept.how else {}
    held_out, tested = kept.sides
    judged = separation(held_out, tested)
    measured = Measured(value=judged.value, standard_error=judged.standard_error)
    # Every member's recipe has these; what crop, size or epochs another program had cannot be known.
    recipe = {**identity, "preprocess": {"crop": [None], "size": [None]}, "training": {"epochs": 0}}
    return MemberInfo(
        key=f"{name}-{json_hash(identity)[:12]}",
        origin=ORIGIN,
        recipe=RecipeInfo.from_json(recipe),
        objective=ChosenBy(name="separation", direction="maximize", column=SCORE, **asdict(measured)),
        separation=measured,
        created=datetime.now(UTC).isoformat(timespec="microseconds"),
    )


def check_name(name: str, taken: Collection[str]) -> None:
    """Refuse a name that `--members` could not take for an imported member's.

    Raises:
        UsageError: for another form, or a family's name.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"--name must be lower-case letters, digits and _, a letter first (40 at most), not {name!r}")
    if name in taken:
        raise UsageError(f"--name must not be a family's, and {name} is one; choose another")


def _scores(path: Path, wanted: Sequence[str], known: Sequence[str], what: str) -> Floats64:
    """The scores of `wanted` in a file, in their order; the file may have all of `known`."""
    table = read_id_table(path, SCORE)
    by_id = dict(zip(table.ids, table.values, strict=True))
    missing, unknown = [name for name in wanted if name not in by_id], sorted(by_id.keys() - set(known))
    for problem, some in ((f"lacks {len(missing)}", missing), (f"has {len(unknown)} unknown ids", unknown)):
        if some:
            first = ", ".join(map(shown, some[:_SHOWN])) + (", ..." if len(some) > _SHOWN else "")
            raise DataError(f"{path} must have a row of each of the {len(wanted)} {what}, but {problem} ({first})")
    values = np.empty(len(wanted))
    for row, name in enumerate(wanted):
        try:
            values[row] = float(by_id[name])
        except ValueError:
            values[row] = np.nan
        if not np.isfinite(values[row]):
            raise DataError(
                f"{path}: a score must be a finite number, but the one of {shown(name)} is {shown(by_id[name])}"
            )
    return values
