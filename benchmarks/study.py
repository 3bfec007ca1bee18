"""Whole studies: trials an hour, where their time goes, and how good the best is after how long.

    python benchmarks/study.py --data data --labels labels.csv
    python benchmarks/study.py --data data --labels labels.csv --device cuda --trials 50 --epochs 20

Pruning is on and off, caches empty and full. Each study runs in a folder of its own. `empty cache` trains every trial;
`full cache` is the same study begun anew with the members of the first there, so that what is left is the search itself
(a pruned trial leaves no member and is trained again). With --images the training set is that many draws of the given
images, mirrored at random. The labels are read at the end, for what pruning costs in AUC.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from _images import drawn
from _members import auc_of
from _parts import PARTS, parts_of_a_study
from _record import head, line, parser, record
from _turns import turns

from ensemble_ad.data.dataset import Dataset, load_dataset
from ensemble_ad.files.id_table import read_labels
from ensemble_ad.layout import studies_database
from ensemble_ad.search.plan import TuneSettings
from ensemble_ad.search.tune import tune

Row = dict[str, Any]


class Clock:
    """Notes when which best was reached, and the epochs that were trained; see `tune.Watcher`."""

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self.curve: list[tuple[float, float]] = []
        self.epochs = 0

    def study(self, name: str, finished: int, wanted: int) -> None:
        pass

    def epoch(self, trial: int, epoch: Any, epochs: int, judgement: Any) -> None:
        self.epochs += 1

    def trial(self, number: int, state: str, value: float | None, best: float | None, note: str) -> None:
        if best is not None:
            self.curve.append((round(time.perf_counter() - self.started, 2), best))


def enlarged(data: Path, folder: Path, n: int) -> Path:
    """A data folder with `n` training images drawn from those of `data`."""
    folder.mkdir()
    images, held_out = drawn(data, n)
    np.save(folder / "trainingset.npy", np.concatenate([held_out, images])[:n])
    (folder / "testingset.npy").symlink_to((data / "testingset.npy").absolute())
    return folder


def row(dataset: Dataset, settings: TuneSettings, studies: Path, cache: str, label: npt.NDArray[np.int8]) -> Row:
    """Run a study; what it took and what it found."""
    clock = Clock()
    with parts_of_a_study() as parts:
        result = tune(dataset, settings, studies=studies, watcher=clock)
    wall, best = time.perf_counter() - clock.started, result.best
    assert best is not None, "no trial of the study is complete"
    return {
        "seed": settings.seed,
        "prune": settings.prune,
        "cache": cache,
        "wall_seconds": round(wall, 2),
        "seconds_by_part": {name: round(seconds, 2) for name, seconds in parts.seconds.items()},
        "trials_an_hour": round(3600 * result.finished / wall),
        "epochs_trained": clock.epochs,
        "epochs_saved": round(result.saved, 4),
        "best_separation": best.value,
        "auc_of_best": auc_of(best, best.main_column, label).value,
        "curve": clock.curve,
    }


TABLE = head(
    "seed", "pruning", "cache", "wall", "trials an hour", "epochs trained", "saved", "best separation", "its AUC"
)


def printed(row: Row) -> str:
    """A row of the table."""
    return line(
        row["seed"], "on" if row["prune"] else "off", row["cache"], f"{row['wall_seconds']:.1f} s",
        f"{row['trials_an_hour']:,}", row["epochs_trained"], f"{row['epochs_saved']:.0%}",
        f"{row['best_separation']:.4f}", f"{row['auc_of_best']:.4f}",
    )  # fmt: skip


OF_PARTS = head("seed", "pruning", "cache", *PARTS)


def printed_parts(row: Row) -> str:
    """A row of the table of where the time went, as seconds and shares."""
    return line(
        row["seed"], "on" if row["prune"] else "off", row["cache"],
        *(f"{seconds:.1f} s ({seconds / row['wall_seconds']:.0%})" for seconds in row["seconds_by_part"].values()),
    )  # fmt: skip


def main() -> None:
    """Run the studies, print, write."""
    arguments = parser(__doc__, "data", "labels", device=True, out=True)
    arguments.add_argument("--family", default="fcn")
    arguments.add_argument("--trials", type=int, default=12)
    arguments.add_argument("--epochs", type=int, default=10)
    arguments.add_argument("--size", type=int, default=32)
    arguments.add_argument("--max-width", type=int, default=512)
    arguments.add_argument("--subset", type=int)
    arguments.add_argument("--images", type=int)
    arguments.add_argument("--seeds", default="0,1,2")
    given = arguments.parse_args()
    seeds = [int(seed) for seed in given.seeds.split(",")]
    rows: list[Row] = []
    print(TABLE)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = given.data if given.images is None else enlarged(given.data, folder / "data", given.images)
        dataset = load_dataset(data, image_cache=folder / "images")
        label = read_labels(given.labels, dataset.test.ids)
        for repeat, prune in turns((True, False), len(seeds)):
            settings = TuneSettings(
                family=given.family, trials=given.trials, epochs=given.epochs, objective="separation",
                device=given.device, seed=seeds[repeat], subset=given.subset, size=given.size,
                max_width=given.max_width, prune=prune,
            )  # fmt: skip
            studies = folder / f"{settings.seed}-{prune}"
            for cache in ("empty", "full"):
                studies_database(studies).unlink(missing_ok=True)
                rows.append(row(dataset, settings, studies, cache, label))
                print(printed(rows[-1]), flush=True)
    print(f"\n{OF_PARTS}")
    for each in rows:
        print(printed_parts(each))
    options = {key: value for key, value in vars(given).items() if key not in ("data", "labels", "out")}
    record("study", given.out, rows, threads_of_torch=torch.get_num_threads(), **options)


if __name__ == "__main__":
    main()
