"""What the learning rate's schedule does to separation: the same trials of a study, trained by two schedules.

    python benchmarks/_sets.py SOURCE SETS
    python benchmarks/schedules.py --sets SETS --set faces64 --family fcn
    python benchmarks/schedules.py

`today` is the package's: a warm-up, a constant rate, a linear fall over the last fifth. `cosine` is a warm-up, then
half a cosine to 0 (Loshchilov and Hutter 2017), which the package had before. All else, the drawn rate too, is the
same. The trials are too few for Optuna to draw by those before, so that both schedules get the same. A call does one
family on one set, and adds it to the results; without --set it prints the table: means over the trials of both seeds,
and their standard errors. Labels for the AUC alone.
"""

import argparse
import json
import math
import tempfile
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from _members import auc_of
from _record import head, line, parser, result_file, write
from _sets import SETS

from ensemble_ad.anytime.standing import SilentWatcher
from ensemble_ad.data.dataset import load_dataset
from ensemble_ad.files.id_table import read_labels
from ensemble_ad.members.store import list_members
from ensemble_ad.search.plan import TuneSettings
from ensemble_ad.search.tune import tune
from ensemble_ad.training import step

Row = dict[str, Any]
TRIALS, EPOCHS, SIZE, MAX_WIDTH, SEEDS = 9, 10, 32, 512, (0, 1)
MEASURES = ("value", "separation", "auc", "loss")


def cosine(step: int, total: int, warmup_ratio: float) -> float:
    """The learning rate's factor at a step, as `step.schedule`."""
    warmup = int(warmup_ratio * total)
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


SCHEDULES: dict[str, Callable[[int, int, float], float]] = {"cosine": cosine, "today": step.schedule}


def measured(given: Any, seed: int, schedule: str) -> list[Row]:
    """A study's members, a row a trial."""
    with tempfile.TemporaryDirectory() as name, patch.object(step, "schedule", SCHEDULES[schedule]):
        dataset = load_dataset(given.sets / given.set / "data", image_cache=Path(name) / "images")
        label = read_labels(given.sets / given.set / "labels.csv", dataset.test.ids)
        settings = TuneSettings(
            family=given.family, trials=TRIALS, epochs=EPOCHS, device="cpu", seed=seed, size=SIZE, max_width=MAX_WIDTH,
            prune=False,
        )  # fmt: skip
        tune(dataset, settings, studies=Path(name) / "studies", watcher=SilentWatcher())
        rows = []
        for member in list_members(Path(name) / "studies")[0]:
            separation, trial = member.info.objectives.separation, member.info.trial
            assert separation is not None
            assert trial is not None
            rows.append(
                {
                    "set": given.set,
                    "family": given.family,
                    "seed": seed,
                    "trial": trial.number,
                    "schedule": schedule,
                    "value": member.value,
                    "separation": separation.value,
                    "auc": auc_of(member, member.main_column, label).value,
                    "loss": member.info.history[-1].loss,
                }
            )
        return rows


def show(rows: Sequence[Row]) -> None:
    """Print a row a set and family: what today's schedule has more than the cosine, trial by trial."""
    print(head("set", "family", "trials", *MEASURES, "AUC of each seed's best: cosine, today"))

    def of(row: Row) -> tuple[int, str]:
        return list(SETS).index(row["set"]), row["family"]

    for (number, family), some in groupby(sorted(rows, key=of), of):
        both: dict[tuple[int, int], dict[str, Row]] = {}
        for row in some:
            both.setdefault((row["seed"], row["trial"]), {})[row["schedule"]] = row
        pairs = [pair for pair in both.values() if len(pair) == len(SCHEDULES)]
        gains = np.array([[pair["today"][name] - pair["cosine"][name] for name in MEASURES] for pair in pairs])
        errors = gains.std(axis=0, ddof=1) / math.sqrt(len(gains))
        bests = []
        for seed in sorted({seed for seed, _ in both}):
            alike = [pair for (its_seed, _), pair in both.items() if its_seed == seed]
            best = [max((p[name] for p in alike if name in p), key=lambda r: r["value"])["auc"] for name in SCHEDULES]
            bests.append(", ".join(f"{auc:.4f}" for auc in best))
        cells = (f"{gain:+.4f} ± {error:.4f}" for gain, error in zip(gains.mean(axis=0), errors, strict=True))
        print(line(list(SETS)[number], family, len(pairs), *cells, "; ".join(bests)))


def options() -> argparse.ArgumentParser:
    """The command line."""
    made = parser(__doc__, out=True)
    made.add_argument("--sets", type=Path, default=Path("sets"), help="what _sets.py has written")
    made.add_argument("--set", choices=list(SETS))
    made.add_argument("--family")
    return made


def main() -> None:
    """Do one family on one set, and print."""
    given = options().parse_args()
    path = given.out or result_file("schedules")
    rows: list[Row] = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    if given.set is not None and given.family is not None:
        rows += [row for seed in SEEDS for name in SCHEDULES for row in measured(given, seed, name)]
        write(path, rows, command="python benchmarks/schedules.py")
    show(rows)


if __name__ == "__main__":
    main()
