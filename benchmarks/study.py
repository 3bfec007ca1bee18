"""Whole studies: trials an hour, and how good the best is after how long; pruning on and off, caches empty and full.

    python benchmarks/study.py --data data --labels labels.csv
    python benchmarks/study.py --data data --labels labels.csv --device cuda --trials 50 --epochs 20

Each study runs in a folder of its own. `empty cache` trains every trial; `full cache` is the same study begun anew with
the members of the first there, so that what is left is the search itself (a pruned trial leaves no member and is
trained again). With --images the training set is that many draws of the given images, mirrored at random. The labels
are read at the end, for what pruning costs in AUC.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _record import machine_name, write
from train import load_images

from ensemble_ad import auc
from ensemble_ad.data.dataset import Dataset, load_dataset
from ensemble_ad.files import id_table
from ensemble_ad.search.plan import TuneSettings
from ensemble_ad.search.tune import TuneResult, tune


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

    def moved(self, objective: str, reason: str) -> None:
        pass


def enlarged(data: Path, folder: Path, n: int) -> Path:
    """A data folder with `n` training images drawn from those of `data`."""
    folder.mkdir()
    images, held_out = load_images(data, n)
    np.save(folder / "trainingset.npy", np.concatenate([held_out, images])[:n])
    (folder / "testingset.npy").symlink_to((data / "testingset.npy").absolute())
    return folder


def run(dataset: Dataset, settings: TuneSettings, studies: Path) -> tuple[TuneResult, Clock, float]:
    clock = Clock()
    result = tune(dataset, settings, studies=studies, watcher=clock)
    return result, clock, time.perf_counter() - clock.started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--family", default="fcn")
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--max-width", type=int, default=512)
    parser.add_argument("--subset", type=int)
    parser.add_argument("--images", type=int)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    rows = []
    print(
        "| seed | pruning | cache | wall | trials an hour | epochs trained | saved | best separation | its AUC |\n"
        "|---|---|---|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = given.data if given.images is None else enlarged(given.data, folder / "data", given.images)
        dataset = load_dataset(data, image_cache=folder / "images")
        label = id_table.read_labels(given.labels, dataset.test.ids)
        for seed in map(int, given.seeds.split(",")):
            for prune in (True, False) if seed % 2 == 0 else (False, True):
                studies = folder / f"{seed}-{prune}"
                for cache in ("empty", "full"):
                    (studies / "studies.db").unlink(missing_ok=True)
                    settings = TuneSettings(
                        family=given.family, trials=given.trials, epochs=given.epochs, objective="separation",
                        device=given.device, seed=seed, subset=given.subset, size=given.size,
                        max_width=given.max_width, prune=prune,
                    )  # fmt: skip
                    result, clock, wall = run(dataset, settings, studies)
                    best = result.best
                    column = best.vectors()[1][:, best.columns.index(best.main_column)]
                    row = {
                        "seed": seed,
                        "prune": prune,
                        "cache": cache,
                        "wall_seconds": round(wall, 2),
                        "trials_an_hour": round(3600 * result.finished / wall),
                        "epochs_trained": clock.epochs,
                        "epochs_saved": round(result.saved, 4),
                        "best_separation": best.value,
                        "auc_of_best": auc(label, column).value,
                        "curve": clock.curve,
                    }
                    rows.append(row)
                    print(
                        f"| {seed} | {'on' if prune else 'off'} | {cache} | {wall:.1f} s | {row['trials_an_hour']:,} | "
                        f"{clock.epochs} | {result.saved:.0%} | {best.value:.4f} | {row['auc_of_best']:.4f} |",
                        flush=True,
                    )
    out = given.out or Path(__file__).with_name("results") / f"study-{machine_name()}.json"
    settings_record = {key: value for key, value in vars(given).items() if key not in ("data", "labels", "out")}
    write(out, rows, command="python benchmarks/study.py", threads_of_torch=torch.get_num_threads(), **settings_record)
    print(f"written to {out}")


if __name__ == "__main__":
    main()
