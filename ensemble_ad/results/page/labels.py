"""Which labels a report may read: those that the user names, or those that `ensad evaluate` was shown before."""

import shlex
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ensemble_ad.errors import DataError, EnsadError
from ensemble_ad.files.id_table import read_labels
from ensemble_ad.files.whole import file_hash
from ensemble_ad.members.data_record import DataRecord
from ensemble_ad.results.evaluation import load_evaluation
from ensemble_ad.results.page.contents import KindJudged, LabelUse
from ensemble_ad.statistics.arrays import Labels


def find_labels(studies: Path, record: DataRecord, blend: str, given: Path | None, data: Path) -> LabelUse:
    """Read the labels that the report may read.

    A file that lies in the data folder is opened only where `ensad evaluate` judged this blend by a file of that name,
    and read only where it is the same file, byte for byte.

    Args:
        studies: the studies' folder.
        record: the record of the blend's data set.
        blend: the blend's name.
        given: the file that the user named; None where none was named.
        data: the data folder.

    Raises:
        DataError: if a file that the user named is not one of labels of these images.
        StorageError: if a stored evaluation is damaged.
    """
    evaluation = load_evaluation(studies, record.fingerprint)
    rows = {} if evaluation is None or blend not in evaluation["rows"] else evaluation["rows"]
    evaluated = {
        name: (float(row["auc"]), float(row["auc_low"]), float(row["auc_high"]))
        for name, row in rows.items()
        if all(isinstance(row.get(key), int | float) for key in ("auc", "auc_low", "auc_high"))
    }
    if not record.ids:
        return _of_later_images(blend, evaluation, evaluated, given)
    if given is not None:
        label = read_labels(given, record.ids)
        said = f"{given.name} (BLAKE2b {file_hash(given)[:12]}), named with --labels: {_counts(label)}"
        return LabelUse(said=said, label=label, evaluated=evaluated)
    if evaluation is None or not evaluated:
        return LabelUse(said="none: every AUC on this page is an estimate", evaluated={})
    name, wanted = str(evaluation.get("labels", "labels.csv")), evaluation.get("labels_hash")
    places = [Path(str(evaluation["path"]))] if evaluation.get("path") else []
    for path in (*places, data / name):
        try:
            if path.is_file() and file_hash(path) == wanted:
                label = read_labels(path, record.ids)
                said = f"{name} (BLAKE2b {str(wanted)[:12]}), as ensad evaluate read it: {_counts(label)}"
                return LabelUse(said=said, label=label, evaluated=evaluated)
        except EnsadError:
            continue
    if evaluation.get("kinds"):
        said = f"AUCs that ensad evaluate stored, by the names of the folders in {name}, which the report does not read"
        return LabelUse(said=said, evaluated=evaluated, kinds=_kinds(evaluation, blend))
    return LabelUse(
        said=f"AUCs that ensad evaluate stored, made with {name}; that file is not there unchanged, so there are no "
        "curves and no comparison with equal weights: name it with --labels",
        evaluated=evaluated,
    )


def _of_later_images(
    blend: str,
    evaluation: Mapping[str, Any] | None,
    evaluated: Mapping[str, tuple[float, float, float]],
    given: Path | None,
) -> LabelUse:
    """What is known by labels of a blend that was made without test images: at most what `ensad evaluate` stored."""
    if given is not None and not evaluated:
        raise DataError(
            f"{blend} was made without test images, so labels have no scores to judge; run `ensad evaluate --labels "
            f"{shlex.quote(str(given))}`, which scores those in the data folder now, and then `ensad report` without "
            "--labels"
        )
    if evaluation is None or not evaluated:
        return LabelUse(said="none: the blend was made without test images", evaluated={})
    name = str(evaluation.get("labels", "labels.csv"))
    said = f"AUCs that ensad evaluate stored, made with {name}, of test images that came after the blend"
    return LabelUse(said=said, evaluated=evaluated)


def _kinds(evaluation: Mapping[str, Any], blend: str) -> tuple[KindJudged, ...]:
    """The kinds of anomaly that `ensad evaluate` found; what is not as it writes it is left out."""
    found = []
    for row in evaluation.get("by_kind", ()):
        with suppress(TypeError, KeyError, ValueError):
            if row["name"] == blend:
                value, low, high = (float(row[key]) for key in ("auc", "auc_low", "auc_high"))
                kind, images = str(row["kind"]), int(row["images"])
                found.append(KindJudged(kind=kind, images=images, value=value, low=low, high=high))
    return tuple(sorted(found, key=lambda each: each.value))


def _counts(label: Labels) -> str:
    return f"{int(label.sum()):,} anomalies of {len(label):,} test images"
