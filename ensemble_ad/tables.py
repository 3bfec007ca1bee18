"""The comparison table: a row for everything that was tried, the same in the terminal, in files and in pandas."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isclose, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble_ad.cache import Member, list_members, load_data_record
from ensemble_ad.errors import StorageError
from ensemble_ad.evaluate import load_evaluation
from ensemble_ad.saved_blend import LEVEL, QUANTILE, SavedBlend, Share, list_blends

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
    "transductive": "boolean",
    "labels_used": "string",
    "data": "string",
    "created": "datetime64[ns, UTC]",
}
"""Columns of the table and their pandas dtypes."""

CONSTANT, INVERTED = "constant", "inverted"
WIDTH = 80
_PRINTED = (
    "source", "auc", "auc_low", "auc_high", "ties_best", "estimated_auc", "estimated_auc_low", "estimated_auc_high",
    "estimated_share", "share_source", "separation", "flag", "weight", "labels_used", "column", "correlation", "crop",
    "seconds", "transductive",
)  # fmt: skip
_SURE = 3.0  # standard errors below 0.5 that make a member surely inverted, as the blend's guard has it


def comparison(
    studies: str | Path = "studies", blend: str | None = None, anomaly_share: float | None = None
) -> "pd.DataFrame":
    """Everything that was tried, best first.

    Args:
        studies: the studies' folder.
        blend: whose weights, correlations and share of anomalies to show; None is the latest blend.
        anomaly_share: the share of anomalies among the test images, in (0, 1], of the shown blend's data set (without a
            blend, of the newest member's); None takes the share that was given when the blend was made, else the one
            that was estimated then.

    Returns:
        A row a member or blend, indexed by its key or name, with the columns and dtypes of `COLUMNS`, sorted by AUC,
        then by separation. What is not known is missing.

        - `auc` and what belongs to it: of the last `ensad evaluate`. No other column was made with labels.
        - `labels_used`: which labels, if any, a row's making (not its evaluation) read.
        - `separation`: of the main column; of a blend out of fold.
        - `estimated_auc` and its 95% interval: what the separation implies at `estimated_share`, one share for all rows
          of a data set, `given` or `estimated` (`share_source`). An estimated share's error is in the interval (see
          `Share.implied_auc`). Missing without a blend or a share, where the share cannot be told from 0, and where no
          AUC explains the separation; the value alone is missing where it leaves [0, 1] by no more than its error.
        - `flag`: `constant` for a member whose main column is one number for all images; `inverted` where test images
          score surely (3 standard errors) below the reference.
        - `weight`, `correlation`: in the shown blend, and Spearman's rank correlation of the main column with it.
        - `transductive`: whether it, or a member of the blend, was trained on the unlabelled test images too.

    Raises:
        UsageError: unless 0 < anomaly_share <= 1.
        StorageError: if an evaluation is damaged. Damaged members and blends are left out.
    """
    studies = Path(studies)
    return tabulate(studies, list_members(studies)[0], list_blends(studies)[0], blend, anomaly_share)


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
    """The rows of `tabulate`, in its order, for who need not wait for pandas.

    What is read is small: each member's and blend's JSON (before this), evaluations, and the record of a data set where
    a member may be constant. Error vectors and weights are not opened, so damage to them is not seen here: their
    checksums are verified whenever a blend, an evaluation or a score uses them.

    Returns:
        A mapping a row: its `name` and the columns of `COLUMNS`; None where something is not known, the time a text.
    """
    shown = next((b for b in reversed(blends) if blend in (None, b.name)), None)
    weights: dict[str, float] = {}
    for column, weight in (shown.weights if shown else {}).items():
        key = column.partition("/")[0]
        weights[key] = weights.get(key, 0.0) + weight
    correlations = shown.correlation if shown else {}
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
        row["flag"] = _flag(row, constant_errors.get(row["data"]))
    found = [{"name": name} | {column: row.get(column) for column in COLUMNS} for name, row in rows.items()]
    return sorted(found, key=lambda row: [(row[c] is None, -(row[c] or 0.0)) for c in ("auc", "separation")])


def as_frame(rows: Sequence[Row]) -> "pd.DataFrame":
    """The rows of `table_rows` as `comparison` gives them."""
    import pandas as pd

    cells: dict[str, list[Any]] = {column: [row[column] for row in rows] for column in COLUMNS}
    created = [str(row["created"]) for row in rows]
    cells["created"] = list(pd.to_datetime(created, format="ISO8601", utc=True, errors="coerce"))
    index = pd.Index([row["name"] for row in rows], dtype="string", name="name")
    return pd.DataFrame(cells, index=index, dtype=object).astype(COLUMNS)


def _shares(
    members: Sequence[Member], blends: Sequence[SavedBlend], shown: SavedBlend | None, given: float | None
) -> dict[str, Share]:
    """The usable share of each data set: of its latest blend, for the shown blend's of that one, or the user's."""
    latest = {saved.data: saved for saved in blends}
    if shown is not None:
        latest[shown.data] = shown
    found = {data: saved.share for data, saved in latest.items()}
    if given is not None:
        share = Share(value=given)
        if shown is not None or members:
            found[shown.data if shown is not None else members[-1].data] = share
    return {data: share for data, share in found.items() if share is not None and share.usable}


def _estimated(row: Mapping[str, Any], share: Share | None) -> dict[str, Any]:
    if share is None:
        return {}
    cells: dict[str, Any] = {"estimated_share": share.value, "share_source": share.source}
    if row["separation"] is not None:
        implied = share.implied_auc(row["separation"], row["separation_standard_error"])
        if implied is not None:
            cells |= {
                "estimated_auc": implied.value,
                "estimated_auc_low": implied.low,
                "estimated_auc_high": implied.high,
            }
    return cells


def _constant_errors(studies: Path, members: Sequence[Member]) -> dict[str, float]:
    """The standard error that a constant column's separation has, by data set; only where one may be constant.

    A separation of exactly 0.5 without any variance comes of a constant column and nothing else. Its standard error is
    then no variance but a bound that depends on the number of images, by which it is known again.
    """
    found: dict[str, float] = {}
    for data in {m.data for m in members if (m.info.get("separation") or {}).get("value") == 0.5}:
        try:
            record = load_data_record(studies, data)
        except StorageError:
            continue
        # `statistics.estimate.probability_estimate` at 0.5; not imported, since the table need not wait for scipy.
        smaller = min(record.n_reference, len(record.ids))
        slack = 1 - ((1 - LEVEL) / 2) ** (1 / smaller)
        found[data] = min(sqrt(0.25 / (smaller + QUANTILE**2)), slack / (2 * QUANTILE))
    return found


def _flag(row: Mapping[str, Any], constant_error: float | None) -> str | None:
    separation, error = row["separation"], row["separation_standard_error"]
    if separation is None:
        return None
    if row["kind"] == "member" and separation == 0.5 and constant_error is not None and isclose(error, constant_error):
        return CONSTANT
    return INVERTED if separation + _SURE * error < 0.5 else None


def _member_row(member: Member) -> dict[str, Any]:
    info: Mapping[str, Any] = member.info
    recipe, objective = info["recipe"], info["objective"]
    trial = info.get("trial")
    separation = info.get("separation") or {}
    return {
        "kind": "member",
        "family": member.family,
        "source": f"trial {trial['number']}" if trial else info.get("preset", info.get("origin", "")),
        "preset": info.get("preset"),
        "trial": trial["number"] if trial else None,
        "separation": separation.get("value"),
        "separation_standard_error": separation.get("standard_error"),
        "objective": objective["name"],
        "value": member.value,
        "column": member.main_column,
        "crop": recipe["preprocess"]["crop"][0],
        "size": recipe["preprocess"]["size"][0],
        "epochs": recipe["training"]["epochs"],
        "best_epoch": info["best_epoch"],
        "parameters": info["parameters"],
        "seconds": info["seconds"]["train"] + info["seconds"]["score"],
        "transductive": bool(info.get("transductive", False)),
        "labels_used": recipe["labels"] or "none",
        "data": member.data,
        "created": info["created"],
    }


def _blend_row(saved: SavedBlend) -> dict[str, Any]:
    info = saved.info
    return {
        "kind": "blend",
        "family": "+".join(info["families"]),
        "source": f"{info['method']} of {len(info['members'])}",
        "separation": info["separation"]["value"],
        "separation_standard_error": info["separation"]["standard_error"],
        "seconds": info["seconds"],
        "transductive": saved.transductive,
        "labels_used": info["labels_used"],
        "data": saved.data,
        "created": info["created"],
    }


@dataclass(frozen=True, kw_only=True)
class _Shown:
    """A column of the text table: its header, a cell a row, and where it stands."""

    header: str
    cells: list[str]
    left: bool = False

    @cached_property
    def width(self) -> int:
        return max(map(len, (self.header, *self.cells)))

    def aligned(self) -> list[str]:
        """The header and the cells, all as wide as the column."""
        texts = (self.header, *self.cells)
        return [text.ljust(self.width) if self.left else text.rjust(self.width) for text in texts]

    def cut(self, width: int, tail: int = 0) -> "_Shown":
        """No wider than `width`; what is longer keeps its beginning and the last `tail` characters."""
        cells = [c if len(c) <= width else f"{c[: width - tail - 2]}..{c[len(c) - tail :]}" for c in self.cells]
        return _Shown(header=self.header, cells=cells, left=self.left)


def render_text(table: "Sequence[Row] | pd.DataFrame", *, markdown: bool = False, width: int = WIDTH) -> str:
    """The table for people: the columns that fit `width` characters, aligned, or more of them as a Markdown table.

    Before any evaluation the estimated AUC takes the place of the AUC. Names and origins that are too long for the
    width are shortened; Markdown and the files have them whole. What the text marks and explains below the table
    (transductive, flags, the share of anomalies) has columns of its own in Markdown.

    Args:
        table: as `comparison` or `table_rows` gives it.
        markdown: write a Markdown table, whatever its width.
        width: characters a line, of the text.
    """
    rows = table if isinstance(table, Sequence) else _rows_of(table)
    evaluated = any(row["auc"] is not None for row in rows)
    estimated = any(row["estimated_auc_low"] is not None for row in rows)
    marks = [("^" if r["transductive"] else "", "!" if r["flag"] else "") for r in rows]
    if markdown:
        marks = [("", "")] * len(rows)
    name = _Shown(header="name", cells=[f"{r['name']}{m}" for r, (m, _) in zip(rows, marks, strict=True)], left=True)
    source = _Shown(header="from", cells=[_word(row["source"]) for row in rows], left=True)
    auc = [
        _Shown(header="AUC", cells=[_number(r["auc"]) + ("*" if r["ties_best"] else "") for r in rows]),
        _Shown(header="95% interval", cells=[_interval(row["auc_low"], row["auc_high"]) for row in rows]),
    ]
    implied = [
        _Shown(header="est. AUC", cells=[_number(row["estimated_auc"]) for row in rows]),
        _Shown(header="est. 95%", cells=[_interval(r["estimated_auc_low"], r["estimated_auc_high"]) for r in rows]),
    ]
    rest = [
        _Shown(header="sep.", cells=[_number(r["separation"]) + m for r, (_, m) in zip(rows, marks, strict=True)]),
        _Shown(header="weight", cells=["" if r["weight"] is None else f"{r['weight']:.3f}" for r in rows]),
        _Shown(header="labels", cells=[_word(row["labels_used"]).partition(":")[0] for row in rows]),
    ]
    more = [
        _Shown(header="column", cells=[_word(row["column"]) for row in rows]),
        _Shown(header="corr.", cells=["" if r["correlation"] is None else f"{r['correlation']:.3f}" for r in rows]),
        _Shown(header="crop", cells=["" if row["crop"] is None else f"{row['crop']:.2f}" for row in rows]),
        _Shown(header="seconds", cells=[f"{row['seconds']:.0f}" for row in rows]),
    ]
    first = auc if evaluated or not estimated else implied
    shown = [name, source, *first, *rest]
    wider = ([implied] if first is auc and estimated else []) + [[column] for column in more]
    if markdown:
        shown += [column for group in wider for column in group]
        shown += [
            _Shown(header="share", cells=[_number(row["estimated_share"]) for row in rows]),
            _Shown(header="flag", cells=[_word(row["flag"]) for row in rows]),
            _Shown(header="transductive", cells=["yes" if row["transductive"] else "" for row in rows]),
        ]
        lines = [f"| {' | '.join(cells)} |" for cells in zip(*((c.header, *c.cells) for c in shown), strict=True)]
        lines.insert(1, f"|{'---|' * len(shown)}")
        return "\n".join(lines) + "\n"
    shown = _fitting(shown, wider, width)
    lines = ["  ".join(cells) for cells in zip(*(column.aligned() for column in shown), strict=True)]
    notes = _notes(rows, {column.header for column in shown})
    return "\n".join(line.rstrip() for line in [*lines, *notes]) + "\n"


def _rows_of(table: "pd.DataFrame") -> list[Row]:
    """The rows of a table for people, with None for what pandas marks as missing."""
    cells = table[list(_PRINTED)].astype(object)
    known = cells.where(cells.notna(), None)
    columns = {"name": table.index.tolist(), **{column: known[column].tolist() for column in _PRINTED}}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _fitting(shown: list[_Shown], wider: list[list[_Shown]], width: int) -> list[_Shown]:
    """`shown` cut to the width, the origin first and then the name, and what there is room for of `wider`."""
    # A blend's name ends in the hash that tells it apart.
    for position, least, tail in ((1, 11, 0), (0, 20, 7)):
        beyond = _total(shown) - width
        if beyond > 0:
            shown = [*shown]
            shown[position] = shown[position].cut(max(least, shown[position].width - beyond), tail)
    for group in wider:
        if _total([*shown, *group]) > width:
            break
        shown = [*shown, *group]
    return shown


def _total(shown: Sequence[_Shown]) -> int:
    return sum(column.width for column in shown) + 2 * (len(shown) - 1)


def _notes(rows: Sequence[Mapping[str, Any]], headers: set[str]) -> list[str]:
    notes = []
    if "AUC" in headers and any(row["ties_best"] for row in rows):
        notes.append("* cannot be told from the best (DeLong's paired test, Holm-corrected, 5%)")
    if any(row["transductive"] for row in rows):
        notes.append("^ transductive: trained on the unlabelled test images too")
    flags = sorted({str(row["flag"]) for row in rows if row["flag"]})
    if flags:
        means = {CONSTANT: "one score for all images", INVERTED: "test images score below normal ones"}
        notes.append("! " + "; ".join(f"{flag}: {means[flag]}" for flag in flags))
    if "est. AUC" in headers:
        shares = {(row["estimated_share"], row["share_source"]) for row in rows if row["estimated_share"] is not None}
        said = " and ".join(f"{_article(source)} {share:.1%} anomalies" for share, source in sorted(shares))
        notes.append(f"est. AUC: estimated, no labels, from sep. with {said}")
    # The line that every reader needs stands last.
    return notes[1:] + notes[:1] if notes and notes[0].startswith("*") else notes


def _article(source: str) -> str:
    return f"{'an' if source == 'estimated' else 'a'} {source}"


def _word(value: Any) -> str:
    return "" if value is None else str(value)


def _interval(low: Any, high: Any) -> str:
    return "-" if low is None else f"{low:.3f}-{high:.3f}"


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:.3f}"
