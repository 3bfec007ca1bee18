"""What labels say of members and blends: computed by `ensad evaluate`, remembered for the comparison table."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble_ad.blend.saved import SavedBlend
from ensemble_ad.errors import DataError, StorageError
from ensemble_ad.files.json_file import fits, read_json, write_json
from ensemble_ad.layout import evaluation_file
from ensemble_ad.members.store import Member

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

    from ensemble_ad.files.ground_truth import GroundTruth
    from ensemble_ad.statistics.arrays import Labels

PARTIAL_FPR = 0.1
# What the comparison table reads of an evaluation's row.
_NUMBER = (int, float, type(None))
_ROW: dict[str, Any] = {"auc": _NUMBER, "auc_low": _NUMBER, "auc_high": _NUMBER, "ties_best": (bool, type(None))}


def evaluate_scores(
    label: "Labels",
    scores: "Mapping[str, npt.NDArray[Any]]",
    *,
    transductive: Collection[str] = (),
    bootstrap: int = 0,
    seed: int = 0,
) -> "pd.DataFrame":
    """AUC of every score, with its interval and whether it can be told from the best.

    The intervals and tests cover which images were drawn. They do not cover training (another seed, another model) nor
    selection: the best of many is optimistic.

    Args:
        label: (k,) of 0 and 1, 1 = anomaly.
        scores: float (k,) scores by name, higher = more anomalous.
        transductive: the names of the scores whose models were trained on the test images too.
        bootstrap: number of resamples of a stratified bootstrap, at least 2; 0 for no bootstrap.
        seed: the bootstrap's seed.

    Returns:
        A row a name, best first: `auc`, `auc_low`, `auc_high` (95%, DeLong), `auc_standard_error`, `average_precision`,
        `fpr95` (false positive rate at 95% true positive rate), `partial_auc` (below a false positive rate of 10%,
        standardised: 0.5 is chance), `p_best` (DeLong's paired test against the best, Holm-corrected over all rows),
        `ties_best`, `transductive`; with a bootstrap also `bootstrap_low` and `bootstrap_high` (95%, percentiles).

    Raises:
        DataError: for labels of one class, another length, or a NaN.
        UsageError: for a bootstrap of one resample or fewer than none.
    """
    # Imported here, since the comparison table needs this module but none of these.
    import pandas as pd

    from ensemble_ad import statistics

    names = list(scores)
    table = side_by_side(scores, names, len(label))
    columns = statistics.auc_many(label, table)
    best = statistics.compare_to_best(label, table)
    drawn = statistics.bootstrap_auc(label, table, bootstrap, seed) if bootstrap != 0 else None
    estimates = [columns.estimate(i) for i in range(len(names))]
    single = [table[:, i] for i in range(len(names))]
    found: dict[str, Any] = {
        "auc": [estimate.value for estimate in estimates],
        "auc_low": [estimate.low for estimate in estimates],
        "auc_high": [estimate.high for estimate in estimates],
        "auc_standard_error": [estimate.standard_error for estimate in estimates],
        "average_precision": [statistics.average_precision(label, score) for score in single],
        "fpr95": [statistics.fpr_at_tpr(label, score, tpr=0.95) for score in single],
        "partial_auc": [statistics.partial_auc(label, score, PARTIAL_FPR) for score in single],
        "p_best": best.p_value,
        "ties_best": best.tied,
        "transductive": [name in transductive for name in names],
    }
    if drawn is not None:
        found |= {"bootstrap_low": drawn.low, "bootstrap_high": drawn.high}
    return pd.DataFrame(found, index=pd.Index(names, name="name")).sort_values("auc", ascending=False, kind="stable")


def side_by_side(scores: "Mapping[str, npt.NDArray[Any]]", names: Sequence[str], images: int) -> "npt.NDArray[Any]":
    """(images, m) the scores of those names.

    Raises:
        DataError: naming one that has scores of another number of images.
    """
    import numpy as np

    for name in names:
        if len(scores[name]) != images:
            raise DataError(
                f"{name} has scores of {len(scores[name])} images, and there are labels of {images}; it is damaged, "
                "remove it and make it again"
            )
    return np.column_stack([scores[name] for name in names])


def main_scores(members: Sequence[Member], blends: Sequence[SavedBlend]) -> "dict[str, npt.NDArray[Any]]":
    """The scores of blends, and of members by their main kind of error; float (k,) by name or key."""
    scores: dict[str, npt.NDArray[Any]] = {blend.name: blend.scores() for blend in blends}
    for member in members:
        scores[member.key] = member.vectors()[1][:, member.columns.index(member.main_column)]
    return scores


def evaluate_kinds(kinds: Sequence[str], scores: "Mapping[str, npt.NDArray[Any]]") -> "pd.DataFrame":
    """AUC of every score on each kind of anomaly against the normal images.

    Args:
        kinds: (k,) the kind of each image, `GOOD` for normal ones.
        scores: as for `evaluate_scores`.

    Returns:
        A row for each name and kind: `name`, `kind`, `images` (of that kind), `auc`, `auc_low`, `auc_high` (95%,
        DeLong).
    """
    import numpy as np
    import pandas as pd

    from ensemble_ad.files.ground_truth import GOOD
    from ensemble_ad.statistics import auc_many

    names, kind_of = list(scores), np.array(kinds)
    table = side_by_side(scores, names, len(kind_of))
    rows: list[dict[str, Any]] = []
    for kind in sorted({*kinds} - {GOOD}):
        some = (kind_of == kind) | (kind_of == GOOD)
        found = auc_many(kind_of[some] == kind, table[some])
        count = int((kind_of == kind).sum())
        for i, name in enumerate(names):
            one = found.estimate(i)
            known = {"auc": one.value, "auc_low": one.low, "auc_high": one.high}
            rows.append({"name": name, "kind": kind, "images": count, **known})
    return pd.DataFrame(rows)


def save_evaluation(
    studies: Path,
    fingerprint: str,
    labels: Path,
    truth: "GroundTruth",
    table: "pd.DataFrame",
    kinds: "pd.DataFrame | None" = None,
) -> None:
    """Remember an evaluation, so that `ensad compare` and `ensad report` show it; the labels themselves are not kept.

    Rows of an earlier evaluation by the same labels stay, without `ties_best` and `p_best`, which hold only among rows
    that were evaluated together.
    """
    labels_hash = truth.digest
    rows = {str(name): {str(k): v for k, v in row.items()} for name, row in table.to_dict(orient="index").items()}
    earlier = load_evaluation(studies, fingerprint)
    if earlier is not None and earlier.get("labels_hash") == labels_hash:
        kept = {name: {**row, "ties_best": None, "p_best": None} for name, row in earlier["rows"].items()}
        rows = {**kept, **rows}
    value: dict[str, Any] = {"labels": labels.name, "labels_hash": labels_hash, "rows": rows}
    # So that `ensad report` can draw curves by the same labels; it reads no file of another hash, and no folder.
    value |= {"path": str(labels.resolve())} if truth.kinds is None else {"kinds": sorted({*truth.kinds})}
    if kinds is not None:
        value["by_kind"] = kinds.to_dict(orient="records")
    write_json(evaluation_file(studies, fingerprint), value)


def load_evaluation(studies: Path, fingerprint: str) -> dict[str, Any] | None:
    """The last evaluation of a data set's members and blends; None if there was none.

    Raises:
        StorageError: if it is damaged.
    """
    path = evaluation_file(studies, fingerprint)
    if not path.exists():
        return None
    value: dict[str, Any] = read_json(path)
    if not fits(value, {"rows": dict}) or not all(_is_row(row) for row in value["rows"].values()):
        raise StorageError(f"{path} is not an evaluation; remove it and run `ensad evaluate` again")
    return value


def _is_row(row: Any) -> bool:
    return isinstance(row, dict) and all(fits(row.get(name), kind) for name, kind in _ROW.items())
