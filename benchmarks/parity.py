"""A speed-up that moves the AUC is a bug: what is faster against what is exact, on faces64, over seeds.

    python benchmarks/parity.py --data data --labels labels.csv --studies parity
    python benchmarks/parity.py --data data --labels labels.csv --studies parity --device cuda

Members are trained by `fit_member`, as `ensad tune` does it; epoch and kind of error are chosen without labels, which
are read at the end. Compared, for each of a few models and three seeds:

    exact        float32, a whole batch at a time; on CUDA without a graph
    bf16         bfloat16
    accumulated  float32, every batch in four parts, as where memory does not suffice
    graph        on CUDA: float32, replayed

and, for `fcn`, batch sizes with the learning rate scaled by their root, as a study draws them.
"""

import argparse
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from _record import machine_name, write

from ensemble_ad import auc
from ensemble_ad.data.dataset import load_dataset
from ensemble_ad.data.preprocess import Preprocess
from ensemble_ad.families.architecture import Architecture
from ensemble_ad.families.cnn import CnnArchitecture
from ensemble_ad.families.fcn import FcnArchitecture
from ensemble_ad.families.ranges import scaled_rate
from ensemble_ad.families.vae import VaeArchitecture
from ensemble_ad.files import id_table
from ensemble_ad.members.store import Member
from ensemble_ad.training.make_member import fit_member
from ensemble_ad.training.recipe import Recipe
from ensemble_ad.training.settings import TrainSettings
from ensemble_ad.training.step import GradientStep

SEEDS = (0, 1, 2)
MODELS: dict[str, tuple[Architecture, int]] = {
    "fcn 256-32, batch norm": (FcnArchitecture(widths=(256, 32), batch_norm=True, activation="prelu"), 32),
    "cnn 12-24-48, bottleneck 32": (CnnArchitecture(bottleneck=32, batch_norm=True), 32),
    "vae 12-24-4": (VaeArchitecture(channels=(12, 24, 4), batch_norm=True), 32),
}
BATCH_SIZES = (64, 128, 256, 512, 1024, 2048)


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
    with patch("ensemble_ad.training.loop.suited", lambda step, device: step):
        yield


@contextmanager
def as_it_is() -> Iterator[None]:
    yield


WAYS = {
    "exact": ("fp32", eagerly),
    "bf16": ("bf16", eagerly),
    "accumulated": ("fp32", lambda: in_parts(4)),
    "graph": ("fp32", as_it_is),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--studies", type=Path, required=True, help="folder for the members, one a way within it")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--subset", type=int)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    device = torch.device(given.device)
    dataset = load_dataset(given.data, image_cache=given.studies / "preprocessed")
    label = id_table.read_labels(given.labels, dataset.test.ids)

    def trained(architecture: Architecture, side: int, folder: str, settings: TrainSettings) -> Member:
        family = {FcnArchitecture: "fcn", CnnArchitecture: "cnn", VaeArchitecture: "vae"}[type(architecture)]
        recipe = Recipe(
            data=dataset.fingerprint, family=family, architecture=architecture,
            preprocess=Preprocess(crop=(0.875, 0.875), size=(side, side), channels=1),
            training=settings, objective="separation", labels=None, subset=given.subset, patience=None,
        )  # fmt: skip
        return fit_member(dataset, recipe, studies=given.studies / folder, device=device)

    def row(what: dict[str, Any], members: list[Member]) -> dict[str, Any]:
        def area(member: Member, kind: str) -> float:
            return auc(label, member.vectors()[1][:, member.columns.index(kind)]).value

        chosen = [area(member, member.main_column) for member in members]
        rss = [area(member, "rss") for member in members]
        losses = [member.info.objectives.loss.value for member in members]
        rates = [epoch.rate for member in members for epoch in member.info.history[1:]]
        found = {
            **what,
            "auc": chosen,
            "auc_rss": rss,
            "held_out_loss": losses,
            "images_per_second": statistics.median(rates),
        }
        shown = " | ".join(
            f"{statistics.mean(values):.4f} ± {statistics.stdev(values):.4f}" for values in (chosen, rss, losses)
        )
        print(f"| {' | '.join(map(str, what.values()))} | {shown} | {found['images_per_second']:,.0f} |", flush=True)
        return found

    rows = []
    print("| model | way | AUC, kind chosen blind | AUC of rss | held-out loss | images/s |\n|---|---|---|---|---|---|")
    for name, (architecture, side) in MODELS.items():
        for way, (precision, how) in WAYS.items():
            if way == "graph" and device.type != "cuda":
                continue
            with how():
                members = [
                    trained(
                        architecture,
                        side,
                        way,
                        TrainSettings(epochs=given.epochs, batch_size=128, precision=precision, seed=seed),
                    )
                    for seed in SEEDS
                ]
            rows.append(row({"model": name, "way": way}, members))
    print(
        "\n| fcn, batch size | learning rate | AUC | AUC of rss | held-out loss | images/s |\n|---|---|---|---|---|---|"
    )
    architecture, side = MODELS["fcn 256-32, batch norm"]
    for size in BATCH_SIZES:
        settings = TrainSettings(epochs=given.epochs, batch_size=size, learning_rate=scaled_rate(1e-3, size))
        members = [trained(architecture, side, "batch", replace(settings, seed=seed)) for seed in SEEDS]
        rows.append(row({"batch_size": size, "learning_rate": round(settings.learning_rate, 6)}, members))
    out = given.out or Path(__file__).with_name("results") / f"parity-{machine_name()}.json"
    write(out, rows, command="python benchmarks/parity.py", seeds=SEEDS, epochs=given.epochs, subset=given.subset)
    print(f"written to {out}")


if __name__ == "__main__":
    main()
