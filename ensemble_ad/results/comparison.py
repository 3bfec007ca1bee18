"""The comparison table: a row for everything that was tried, for the terminal, the report, files and pandas alike."""

from collections.abc import Mapping, Sequence
from math import inf, isclose
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble_ad.blend.info import weight_by_member
from ensemble_ad.blend.saved import SavedBlend, list_blends
from ensemble_ad.errors import StorageError, speaks_python
from ensemble_ad.layout import at_home
from ensemble_ad.members.data_record import load_data_record
from ensemble_ad.members.store import Member, list_members
from ensemble_ad.results.evaluation import load_evaluation
from ensemble_ad.statistics.estimate import probability_estimate
from ensemble_ad.statistics.implied import LEVEL, Share

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]
COLUMNS = {
    "kind": "string",
    "family": "string",
    "source": "string",
    "preset": "string",
    "trial": "Int64",
    "auc": "Float64",
    "auc_low": "Float64",
    "auc_high": "Float64",
    "ties_best": "boolean",
    "separation": "Float64",
    "separation_standard_error": "Float64",
    "flag": "string",
    "estimated_auc": "Float64",
    "estimated_auc_low": "Float64",
    "estimated_auc_high": "Float64",
    "estimated_share": "Float64",
    "share_source": "string",
    "objective": "string",
    "value": "Float64",
    "column": "string",
    "weight": "Float64",
    "correlation": "Float64",
    "crop": "Float64",
    "size": "Int64",
    "epochs": "Int64",
    "best_epoch": "Int64",
    "parameters": "Int64",
    "seconds": "Float64",
    "slowed": "string",
    "transductive": "boolean",
    "labels_used": "string",
    "data": "string",
    "created": "datetime64[ns, UTC]",
}
"""Columns of the table and their pandas dtypes."""

CONSTANT, INVERTED, TURNED = "constant", "inverted", "inverted in the blend"
_SURE = 3.0  # standard errors below 0.5 that make a member surely inverted, as the blend's guard has it


@speaks_python
def comparison(
    studies: str | Path = "studies", blend: str | None = None, anomaly_share: float | None = None
) -> "pd.DataFrame":
    """Everything that was tried, best first.

    Args:
        studies: the studies' folder.
        blend: name of the blend whose weights, correlations and share of anomalies to show; None is the latest blend.
        anomaly_share: the share of anomalies among the test images, in (0, 1], of the shown blend's data set (without a
            blend, of the newest member's); None takes the share that was given when the blend was made, else the one
            that was estimated then.

    Returns:
        A row for each member and blend, indexed by its key or name, with the columns and dtypes of `COLUMNS`, the main
        ones of which a notebook shows, sorted by AUC, then by separation; where no test image was seen, blends first,
        then members by their objective. What is not known is missing.

        - `auc` and what belongs to it: of the last `ensad evaluate`. No other column was made with labels.
        - `labels_used`: which labels, if any, a row's making (not its evaluation) read.
        - `separation`: of the main column; of a blend out of fold.
        - `estimated_auc` and its 95% interval: what the separation implies at `estimated_share`, one share for all rows
          of a data set, `given` or `estimated` (`share_source`). The interval covers the errors of the share and of
          how the test's normal images score (see `Share.implied_auc`). Missing without a blend or a share, where
          `Share.why_none` says why, where no AUC explains the separation, and where the interval would say nothing.
        - `flag`: `constant` for a member whose main column is one number for all images; `inverted` where test images
          score surely (3 standard errors) below the reference; `inverted in the blend` where the shown blend has it
          negated for that, see `blend.of_members`.
        - `objective`, `value`: what a member was chosen by; of a blend that has seen no test image its AUC on kinds of
          pseudo-anomaly that it was not weighted by, `foreseen`.
        - `weight`, `correlation`: in the shown blend, and Spearman's rank correlation of the main column with it.
        - `slowed`: what made a member's training slower than it should be, mostly nothing: batches in parts for want of
          memory, a graph of its step that CUDA refused.
        - `transductive`: whether it, or a member of the blend, was trained on the unlabelled test images too.

    Raises:
        UsageError: unless 0 < anomaly_share <= 1.
        StorageError: if an evaluation is damaged. Damaged members and blends are left out.
    """
    from ensemble_ad.results.styled import styled

    studies = at_home(studies)
    return styled(tabulate(studies, list_members(studies)[0], list_blends(studies)[0], blend, anomaly_share))


def tabulate(
    studies: Path,
    members: Sequence[Member],
    blends: Sequence[SavedBlend],
    blend: str | None = None,
    anomaly_share: float | None = None,
) -> "pd.DataFrame":
    """The table of `comparison`, of these members and blends (the latest last)."""
    return as_frame(table_rows(studies, members, blends, blend, anomaly_share))


def table_rows(
    studies: Path,
    members: Sequence[Member],
    blends: Sequence[SavedBlend],
    blend: str | None = None,
    anomaly_share: float | None = None,
) -> list[Row]:
    """The rows of `tabulate`, in its order, for callers that need no pandas.

    What is read is small: each member's and blend's JSON (before this), evaluations, and the record of a data set where
    a member may be constant. Error vectors and weights are not opened, so damage to them is not seen here: their
    checksums are verified whenever a blend, an evaluation or a score uses them.

    Returns:
        Rows of the `name` and the columns of `COLUMNS`; None where something is not known, `created` as text.
    """
    shown = next((b for b in reversed(blends) if blend in (None, b.name)), None)
    weights = weight_by_member(shown.weights if shown else {})
    correlations = shown.info.correlation if shown else {}
    shares = _shares(members, blends, shown, anomaly_share)
    constant_errors = _constant_errors(studies, members)
    data_sets = {member.data for member in members} | {saved.data for saved in blends}
    evaluations = {data: load_evaluation(studies, data) for data in data_sets}
    rows: dict[str, Row] = {
        member.key: _member_row(member)
        | {"weight": weights.get(member.key), "correlation": correlations.get(member.key)}
        for member in members
    }
    rows |= {saved.name: _blend_row(saved) for saved in blends}
    for name, row in rows.items():
        judged = (evaluations[row["data"]] or {"rows": {}})["rows"].get(name, {})
        row |= {key: judged.get(key) for key in ("auc", "auc_low", "auc_high", "ties_best")}
        row |= _estimated(row, shares.get(row["data"]))
        turned = shown is not None and name in shown.info.inverted
        row["flag"] = TURNED if turned else _flag(row, constant_errors.get(row["data"]))
    best_first = sorted(rows.items(), key=lambda row: [_falling(row[1].get(c)) for c in ("auc", "separation", "worth")])
    return [{"name": name} | {column: row.get(column) for column in COLUMNS} for name, row in best_first]


def _falling(value: float | None) -> tuple[bool, float]:
    """What to sort by for the largest to come first, and what is not known last."""
    return value is None, -(value or 0.0)


def as_frame(rows: Sequence[Row]) -> "pd.DataFrame":
    """The rows of `table_rows` as `comparison` gives them."""
    import pandas as pd

    cells: dict[str, list[Any]] = {column: [row[column] for row in rows] for column in COLUMNS}
    created = [str(row["created"]) for row in rows]
    cells["created"] = list(pd.to_datetime(created, format="ISO8601", utc=True, errors="coerce"))
    index = pd.Index([row["name"] for row in rows], dtype="string", name="name")
    return pd.DataFrame(cells, index=index, dtype=object).astype(COLUMNS)


def rows_of(table: "pd.DataFrame") -> list[Row]:
    """The inverse of `as_frame`: rows with None for what pandas marks as missing; a time stays pandas' own."""
    cells = table[list(COLUMNS)].astype(object)
    known = cells.where(cells.notna(), None)
    columns = {"name": table.index.tolist(), **{column: known[column].tolist() for column in COLUMNS}}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _shares(
    members: Sequence[Member], blends: Sequence[SavedBlend], shown: SavedBlend | None, given: float | None
) -> dict[str, Share]:
    """The usable share of each data set: of its latest blend, for the shown blend's of that one, or the user's."""
    latest = {saved.data: saved for saved in blends}
    if shown is not None:
        latest[shown.data] = shown
    found = {data: saved.share for data, saved in latest.items()}
    if given is not None:
        if shown is not None:
            found[shown.data] = shown.info.given_share(given)
        elif members:
            found[members[-1].data] = Share(value=given)
    return {data: share for data, share in found.items() if share is not None and share.usable}


def _estimated(row: Mapping[str, Any], share: Share | None) -> dict[str, Any]:
    if share is None:
        return {}
    cells: dict[str, Any] = {"estimated_share": share.value, "share_source": share.source}
    if row["separation"] is not None:
        own = row.get("is_auto", False)
        implied = share.implied_auc(row["separation"], row["separation_standard_error"], own_shift=own)
        if implied is not None:
            cells |= {
                "estimated_auc": implied.value,
                "estimated_auc_low": implied.low,
                "estimated_auc_high": implied.high,
            }
    return cells


def _constant_errors(studies: Path, members: Sequence[Member]) -> dict[str, float]:
    """The standard error that a constant column's separation has, by data set; only where one may be constant.

    Only a constant column has a separation of exactly 0.5 without any variance. Its standard error is then a bound that
    depends on nothing but the number of images, by which it is known again.
    """
    found: dict[str, float] = {}
    for data in {m.data for m in members if m.info.separation and m.info.separation.value == 0.5}:
        try:
            record = load_data_record(studies, data)
        except StorageError:
            continue
        smaller = min(record.n_reference, len(record.ids))
        found[data] = probability_estimate(0.5, 0.0, smaller, LEVEL, "").standard_error
    return found


def _flag(row: Mapping[str, Any], constant_error: float | None) -> str | None:
    separation, error = row["separation"], row["separation_standard_error"]
    if separation is None:
        return None
    if row["kind"] == "member" and separation == 0.5 and constant_error is not None and isclose(error, constant_error):
        return CONSTANT
    return INVERTED if separation + _SURE * error < 0.5 else None


def _member_row(member: Member) -> dict[str, Any]:
    info = member.info
    return {
        "kind": "member",
        "family": member.family,
        "source": info.source,
        "preset": info.preset,
        "trial": info.trial.number if info.trial else None,
        "separation": info.separation.value if info.separation else None,
        "separation_standard_error": info.separation.standard_error if info.separation else None,
        "objective": info.objective.name,
        "value": member.value,
        "worth": None if info.separation else member.sort_value,
        "column": member.main_column,
        "crop": info.recipe.crop,
        "size": info.recipe.size,
        "epochs": info.recipe.epochs,
        "best_epoch": info.best_epoch,
        "parameters": info.parameters,
        "seconds": info.seconds.train + info.seconds.score,
        "slowed": "; ".join(info.slowed) or None,
        "transductive": info.transductive,
        "labels_used": info.recipe.labels or "none",
        "data": member.data,
        "created": info.created,
    }


def _blend_row(saved: SavedBlend) -> dict[str, Any]:
    info, inverted = saved.info, len(saved.info.inverted)
    return {
        "kind": "blend",
        "is_auto": info.is_auto,
        "worth": None if info.separation else inf,
        "family": "+".join(info.families),
        "source": f"{info.method} of {len(info.members)}" + (f", {inverted} inverted" if inverted else ""),
        "separation": info.separation.value if info.separation else None,
        "separation_standard_error": info.separation.standard_error if info.separation else None,
        "objective": None if info.foreseen is None else "foreseen",
        "value": info.foreseen,
        "seconds": info.seconds,
        "transductive": info.transductive,
        "labels_used": info.labels_used,
        "data": saved.data,
        "created": info.created,
    }
