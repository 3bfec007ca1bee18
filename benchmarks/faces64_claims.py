"""Three published claims, held against labels: what the crop is worth, the multi-encoder, the classifier's logit.

    python benchmarks/faces64_claims.py --data data --studies studies --labels labels.csv [--only logit]

Trains one fully connected autoencoder at four crops and one of three encoders at the same width, three seeds each, the
epoch kept by separation; and reads the logit of every cached resnet trial. Members go to the studies' folder, so a
rerun trains nothing. Prints Markdown. Labels measure only.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from ensemble_ad.blend import blend_scores
from ensemble_ad.data.dataset import load_dataset
from ensemble_ad.data.preprocess import Preprocess
from ensemble_ad.families import Architecture
from ensemble_ad.families.fcn import FcnArchitecture
from ensemble_ad.families.multi_encoder import MultiEncoderArchitecture
from ensemble_ad.files.id_table import read_labels
from ensemble_ad.members.store import Member, list_members
from ensemble_ad.statistics import auc
from ensemble_ad.training.make_member import fit_member
from ensemble_ad.training.recipe import Recipe
from ensemble_ad.training.settings import TrainSettings

SEEDS = range(3)
CROPS = (1.0, 0.875, 0.75, 0.5625)
EPOCHS = 6
FCN = FcnArchitecture(widths=(256, 32))
MULTI = MultiEncoderArchitecture(encoders=("fcn", "fcn", "fcn"), widths=(256, 32), decoder_width=256)


def main() -> None:
    """Read the command line, train what is not cached, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("data", "studies", "labels"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--only", choices=["trained", "logit"], help="one of the two tables")
    arguments = parser.parse_args()
    dataset = load_dataset(arguments.data, image_cache=arguments.studies / "preprocessed")
    label = read_labels(arguments.labels, dataset.test.ids)

    def trained(family: str, architecture: Architecture, crop: float, seed: int) -> Member:
        recipe = Recipe(
            data=dataset.fingerprint,
            family=family,
            architecture=architecture,
            preprocess=Preprocess(crop=(crop, crop), size=(dataset.side,) * 2, channels=1 if dataset.is_grey else 3),
            training=TrainSettings(epochs=EPOCHS, batch_size=128, seed=seed),
            objective="separation",
            labels=None,
            subset=None,
            patience=None,
        )
        return fit_member(dataset, recipe, studies=arguments.studies, device=torch.device("cpu"))

    def measured(member: Member, kind: str) -> float:
        return auc(label, member.vectors()[1][:, member.columns.index(kind)]).value

    def spread(values: list[float]) -> str:
        return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"

    if arguments.only != "logit":
        print(
            "| model | crop | AUC of rss | AUC of the kind chosen blind | best epochs |\n|---|---|---|---|---|",
            flush=True,
        )
        rows = [("fcn 256-32", "fcn", FCN, crop) for crop in CROPS]
        rows += [("multi_encoder 3 x (256-32)", "multi_encoder", MULTI, 1.0)]
        for name, family, architecture, crop in rows:
            members = [trained(family, architecture, crop, seed) for seed in SEEDS]
            print(
                f"| {name} | {crop} | {spread([measured(m, 'rss') for m in members])} | "
                f"{spread([measured(m, m.main_column) for m in members])} | "
                f"{', '.join(str(m.info.best_epoch) for m in members)} |",
                flush=True,
            )
    if arguments.only != "trained":
        print(
            "\n| resnet trial | kind chosen blind | its AUC | AUC of the logit | blend of both |\n|---|---|---|---|---|"
        )
        for member in list_members(arguments.studies)[0]:
            if member.family != "resnet" or "logit" not in member.columns or not member.info.trial:
                continue
            kinds = [member.columns.index(kind) for kind in (member.main_column, "logit")]
            reference, test = (side[:, kinds] for side in member.vectors())
            both = auc(label, blend_scores(reference, test).scores).value
            print(
                f"| {member.key} | {member.main_column} | {measured(member, member.main_column):.3f} | "
                f"{measured(member, 'logit'):.3f} | {both:.3f} |"
            )


if __name__ == "__main__":
    main()
