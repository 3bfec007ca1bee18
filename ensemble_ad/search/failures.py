"""Trials that failed and why, of every study in a storage; reading them changes nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from ensemble_ad.errors import StorageError, printable
from ensemble_ad.search.notes import TrialNotes
from ensemble_ad.search.retries import done_again, is_given_up, kills
from ensemble_ad.search.storage import reading

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

        - `failed`: the training diverged, found no memory, or raised something; `reason` says what.
        - `stopped`: something else stopped the trial, such as a full disk; the next `ensad tune` does it again.
        - `given up`: its process was killed `retries.MOST_KILLS` times.

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
    again = done_again(trials)
    for trial in trials:
        found = _why(trial) if trial.state == TrialState.FAIL and trial.number not in again else None
        if found is None:
            continue
        what, reason = found
        ended = trial.datetime_complete
        yield {
            "study": printable(study.study_name),
            "trial": trial.number,
            "what": what,
            "reason": " ".join(printable(reason).split()),
            "ended": None if ended is None else ended.astimezone(),
            "parameters": printable(", ".join(f"{name}={value}" for name, value in sorted(trial.params.items()))),
        }


def _why(trial: FrozenTrial) -> tuple[str, str] | None:
    """What has happened to a failed trial, and why; None where it was only interrupted."""
    try:
        notes = TrialNotes.of(trial)
    except StorageError as error:  # another program's study, or one that somebody else has written to
        return "failed", str(error)
    if notes.reason is not None:
        return "failed", notes.reason
    if notes.stopped is not None:
        return "stopped", notes.stopped
    if is_given_up(trial):
        return "given up", f"its process was killed {kills(trial) + 1} times"
    return None


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
