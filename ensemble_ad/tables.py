"""The comparison table: a row for everything that was tried, the same in the terminal, in files and in pandas."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ensemble_ad.cache import Member, list_members
from ensemble_ad.evaluate import load_evaluation
from ensemble_ad.saved_blend import SavedBlend, list_blends

COLUMNS = {
    "kind": "string",
    "family": "string",
    "source": "string",
    "auc": "Float64",
    "auc_low": "Float64",
    "auc_high": "Float64",
    "ties_best": "boolean",
    "separation": "Float64",
    "separation_standard_error": "Float64",
    "objective": "string",
    "value": "Float64",
    "column": "string",
    "weight": "Float64",
    "crop": "Float64",
    "size": "Int64",
    "epochs": "Int64",
    "best_epoch": "Int64",
    "parameters": "Int64",
    "seconds": "Float64",
    "labels_used": "string",
    "data": "string",
    "created": "datetime64[ns, UTC]",
}
"""Columns of the table and their pandas dtypes."""


def comparison(studies: str | Path = "studies", blend: str | None = None) -> pd.DataFrame:
    """Everything that was tried, best first.

    Args:
        studies: the studies' folder.
        blend: whose weights to show; None is the latest blend.

    Returns:
        A row a member or blend, indexed by its key or name, with the columns and dtypes of `COLUMNS`. `auc` and what
        belongs to it are there once `ensad evaluate` was run; `separation` needs no labels. Sorted by AUC, then by
        separation. `labels_used` says which labels, if any, a row's making (not its evaluation) read.
    """
    studies = Path(studies)
    return tabulate(studies, list_members(studies)[0], list_blends(studies)[0], blend)


def tabulate(
    studies: Path, members: Sequence[Member], blends: Sequence[SavedBlend], blend: str | None = None
) -> pd.DataFrame:
    """The table of `comparison`, of these members and blends (the latest last)."""
    shown = next((b for b in reversed(blends) if blend in (None, b.name)), None)
    weights: dict[str, float] = {}
    for column, weight in (shown.weights if shown else {}).items():
        key = column.partition("/")[0]
        weights[key] = weights.get(key, 0.0) + weight
    data_sets = {member.data for member in members} | {saved.data for saved in blends}
    evaluations = {data: load_evaluation(studies, data) for data in data_sets}
    rows = {member.key: _member_row(member, weights.get(member.key)) for member in members}
    rows |= {saved.name: _blend_row(saved) for saved in blends}
    for name, row in rows.items():
        judged = (evaluations[row["data"]] or {"rows": {}})["rows"].get(name, {})
        row |= {key: judged.get(key) for key in ("auc", "auc_low", "auc_high", "ties_best")}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=list(COLUMNS)).astype(COLUMNS)
    table.index = table.index.astype("string")
    table.index.name = "name"
    return table.sort_values(["auc", "separation"], ascending=False, na_position="last", kind="stable")


def _member_row(member: Member, weight: float | None) -> dict[str, Any]:
    info: Mapping[str, Any] = member.info
    recipe, objective = info["recipe"], info["objective"]
    trial = info.get("trial")
    separation = info.get("separation") or {}
    return {
        "kind": "member",
        "family": member.family,
        "source": f"trial {trial['number']}" if trial else info.get("preset", ""),
        "separation": separation.get("value"),
        "separation_standard_error": separation.get("standard_error"),
        "objective": objective["name"],
        "value": member.value,
        "column": member.main_column,
        "weight": weight,
        "crop": recipe["preprocess"]["crop"][0],
        "size": recipe["preprocess"]["size"][0],
        "epochs": recipe["training"]["epochs"],
        "best_epoch": info["best_epoch"],
        "parameters": info["parameters"],
        "seconds": info["seconds"]["train"] + info["seconds"]["score"],
        "labels_used": recipe["labels"] or "none",
        "data": member.data,
        "created": pd.Timestamp(info["created"]),
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
        "labels_used": info["labels_used"],
        "data": saved.data,
        "created": pd.Timestamp(info["created"]),
    }


def render_text(table: pd.DataFrame, *, markdown: bool = False) -> str:
    """The columns that fit 80 characters, aligned, or as a Markdown table."""
    header = ["name", "from", "AUC", "95% interval", "separation", "weight", "labels"]
    rows = [
        [
            str(name),
            str(row["source"]),
            _number(row["auc"]) + ("*" if row["ties_best"] is True else ""),
            "-" if pd.isna(row["auc_low"]) else f"{row['auc_low']:.3f}-{row['auc_high']:.3f}",
            _number(row["separation"]),
            "" if pd.isna(row["weight"]) else f"{row['weight']:.3f}",
            str(row["labels_used"]).partition(":")[0],
        ]
        for name, row in table.iterrows()
    ]
    if markdown:
        lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
        return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows]) + "\n"
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = [
        "  ".join(
            cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in [header, *rows]
    ]
    if table["ties_best"].eq(True).any():
        lines.append("* cannot be told from the best (DeLong's paired test, Holm-corrected, 5%)")
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _number(value: Any) -> str:
    return "-" if pd.isna(value) else f"{value:.3f}"
