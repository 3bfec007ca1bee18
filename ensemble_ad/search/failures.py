"""Trials that failed and why, of every study in a storage; reading them changes nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from ensemble_ad.search.storage import reading

MOST_KILLS = 10
"""A trial whose process was killed so often is given up: it may be what kills it, by its memory say."""
REASON, STOPPED = "reason", "stopped"
"""What a trial says that failed by itself, and one that something else stopped, a full disk say."""
COLUMNS = {
    "study": "string",
    "trial": "int64",
    "what": "string",
    "reason": "string",
    "ended": "datetime64[us, UTC]",
    "parameters": "string",
}


def failures(studies: Path, url: str | None = None) -> pd.DataFrame:
    """The failed trials, in the order in which they were started.

    A trial that was killed or interrupted and is done again by another one has not failed.

    Args:
        studies: the studies' folder.
        url: an Optuna storage URL; None is SQLite in the studies' folder.

    Returns:
        A row a trial, with the columns and dtypes of `COLUMNS`; `what` is

        - `failed`: the training diverged, found no memory, or raised something; `reason` has it.
        - `stopped`: something else did, such as a full disk; the next `ensad tune` does the trial again.
        - `given up`: its process was killed `MOST_KILLS` times.

    Raises:
        StorageError: if the storage cannot be read.
        UsageError: if PostgreSQL's driver is not installed.
    """
    rows: list[dict[str, Any]] = []
    with reading(studies, url) as backend:
        for name in [] if backend is None else optuna.get_all_study_names(backend):
            rows += _of_study(optuna.load_study(study_name=name, storage=backend))  # type: ignore[arg-type]
    cells = {column: [row[column] for row in rows] for column in COLUMNS}
    cells["ended"] = list(pd.to_datetime(cells["ended"], utc=True))
    return pd.DataFrame(cells, dtype=object).astype(COLUMNS)


def _of_study(study: optuna.Study) -> Iterator[dict[str, Any]]:
    trials = study.get_trials(deepcopy=False)
    done_again = {number for trial in trials for number in trial.system_attrs.get("retry_history", ())}
    for trial in trials:
        found = _why(trial) if trial.state == TrialState.FAIL and trial.number not in done_again else None
        if found is None:
            continue
        ended = trial.datetime_complete
        yield {
            "study": study.study_name,
            "trial": trial.number,
            "what": found[0],
            "reason": " ".join(found[1].split()),
            "ended": None if ended is None else ended.astimezone(),
            "parameters": ", ".join(f"{name}={value}" for name, value in sorted(trial.params.items())),
        }


def _why(trial: FrozenTrial) -> tuple[str, str] | None:
    if REASON in trial.user_attrs:
        return "failed", str(trial.user_attrs[REASON])
    if STOPPED in trial.user_attrs:
        return "stopped", str(trial.user_attrs[STOPPED])
    kills = len(trial.system_attrs.get("retry_history", ()))
    return ("given up", f"its process was killed {kills + 1} times") if kills >= MOST_KILLS else None


def render_text(table: pd.DataFrame, *, markdown: bool = False) -> str:
    """The table of `failures` for people, a line a trial; or as a Markdown table."""
    rows = [("study", "trial", "what", "reason")]
    cells = [table[name].astype("string").tolist() for name in rows[0]]
    rows += zip(*cells, strict=True)
    if markdown:
        lines = [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
        lines.insert(1, f"|{'---|' * len(rows[0])}")
    else:
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        lines = ["  ".join([row[0].ljust(widths[0]), row[1].rjust(widths[1]), row[2].ljust(widths[2]), row[3]])
                 for row in rows]  # fmt: skip
    return "\n".join(line.rstrip() for line in lines) + "\n"
