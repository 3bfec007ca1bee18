"""A speed-up that moves the AUC is a bug: what is faster against what is exact, on faces64, over seeds.

    python benchmarks/parity.py --data data --labels labels.csv --studies parity
    python benchmarks/parity.py --data data --labels labels.csv --studies parity --device cuda

Members are trained by `fit_member`, as `ensad tune` does it; epoch and kind of error are chosen without labels, which
are read at the end. Compared, for each of a few models and three seeds:

    exact        float32, a whole batch at a time; on CUDA without a graph
    bf16         bfloat16
    fp16         float16, the loss scaled
    accumulated  float32, every batch in four parts, as where memory does not suffice
    graph        on CUDA: float32, replayed

and, for `fcn`, batch sizes with the learning rate scaled by their root, as a study draws them.
"""

import statistics
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import torch
from _members import auc_of, blind_recipe, known
from _record import head, line, over_seeds, parser, record

from ensemble_ad.data.dataset import load_dataset
from ensemble_ad.data.preprocess import Preprocess
from ensemble_ad.families.architecture import Architecture
from ensemble_ad.families.cnn import CnnArchitecture
from ensemble_ad.families.fcn import FcnArchitecture
from ensemble_ad.families.ranges import scaled_rate
from ensemble_ad.families.vae import VaeArchitecture
from ensemble_ad.files.id_table import read_labels
from ensemble_ad.members.store import Member
from ensemble_ad.training.device import Precision
from ensemble_ad.training.make_member import fit_member
from ensemble_ad.training.settings import TrainSettings
from ensemble_ad.training.step import GradientStep

SEEDS = (0, 1, 2)
# The first word is the family.
MODELS: dict[str, Architecture] = {
    "fcn 256-32, batch norm": FcnArchitecture(widths=(256, 32), batch_norm=True, activation="prelu"),
    "cnn 12-24-48, bottleneck 32": CnnArchitecture(bottleneck=32, batch_norm=True),
    "vae 12-24-4": VaeArchitecture(channels=(12, 24, 4), batch_norm=True),
}
BATCH_SIZES = (64, 128, 256, 512, 1024, 2048)
MEASURED = ("AUC, kind chosen blind", "AUC of rss", "held-out loss", "images/s")


@contextmanager
def in_parts(parts: int) -> Iterator[None]:
    """Every batch in that many parts, as if memory had not sufficed."""
    begin = GradientStep.begin_epoch

    def begin_in_parts(self: GradientStep, number: int, rows: torch.Tensor) -> None:
        self.parts = parts
        begin(self, number, rows)

    with patch.object(GradientStep, "begin_epoch", begin_in_parts):
        yield


@contextmanager
def eagerly() -> Iterator[None]:
    """Without a CUDA graph."""
    with patch("ensemble_ad.training.loop.suited", lambda step, device: step):
        yield


WAYS: dict[str, tuple[Precision, Callable[[], AbstractContextManager[None]]]] = {
    "exact": ("fp32", eagerly),
    "bf16": ("bf16", eagerly),
    "fp16": ("fp16", eagerly),
    "accumulated": ("fp32", lambda: in_parts(4)),
    "graph": ("fp32", nullcontext),
}


def main() -> None:
    """Train, measure, print, write."""
    arguments = parser(__doc__, "data", "labels", device=True, out=True)
    arguments.add_argument("--studies", type=Path, required=True, help="folder for the members, one a way within it")
    arguments.add_argument("--epochs", type=int, default=4)
    arguments.add_argument("--subset", type=int)
    given = arguments.parse_args()
    device = torch.device(given.device)
    dataset = load_dataset(given.data, image_cache=given.studies / "preprocessed")
    label = read_labels(given.labels, dataset.test.ids)

    def measured(name: str, folder: str, training: TrainSettings, what: dict[str, Any]) -> dict[str, Any]:
        """A row of either table: a model over the seeds, the members in a folder of their own."""
        architecture = MODELS[name]
        preprocess = Preprocess(crop=(0.875, 0.875), size=(32, 32), channels=1)
        members = []
        for seed in SEEDS:
            settings = replace(training, seed=seed)
            recipe = blind_recipe(dataset, name.split()[0], architecture, preprocess, settings, given.subset)
            members.append(fit_member(dataset, recipe, studies=given.studies / folder, device=device))
        return what | over_members(members, label)

    rows = []
    print(head("model", "way", *MEASURED))
    for name in MODELS:
        for way, (precision, how) in WAYS.items():
            if way == "graph" and device.type != "cuda":
                continue
            training = TrainSettings(epochs=given.epochs, batch_size=128, precision=precision)
            with how():
                rows.append(measured(name, way, training, {"model": name, "way": way}))
            print(printed(rows[-1]), flush=True)
    print(f"\n{head('fcn, batch size', 'learning rate', 'AUC', *MEASURED[1:])}")
    for size in BATCH_SIZES:
        training = TrainSettings(epochs=given.epochs, batch_size=size, learning_rate=scaled_rate(1e-3, size))
        what = {"batch_size": size, "learning_rate": round(training.learning_rate, 6)}
        rows.append(measured("fcn 256-32, batch norm", "batch", training, what))
        print(printed(rows[-1]), flush=True)
    record("parity", given.out, rows, seeds=SEEDS, epochs=given.epochs, subset=given.subset)


def over_members(members: list[Member], label: npt.NDArray[np.int8]) -> dict[str, Any]:
    """What is measured of the members of all seeds."""
    return {
        "auc": [auc_of(member, member.main_column, label).value for member in members],
        "auc_rss": [auc_of(member, "rss", label).value for member in members],
        "held_out_loss": [known(member.info.objectives.loss) for member in members],
        "images_per_second": statistics.median(epoch.rate for member in members for epoch in member.info.history[1:]),
    }


def printed(row: dict[str, Any]) -> str:
    """A row of either table: two columns that say what it is, then what was measured."""
    cells = [over_seeds(each, ".4f") if isinstance(each, list) else each for each in row.values()]
    return line(*cells[:-1], f"{cells[-1]:,.0f}")


if __name__ == "__main__":
    main()
