"""Three published claims, held against labels: what the crop is worth, the multi-encoder, the classifier's logit.

    python benchmarks/faces64_claims.py --data data --studies studies --labels labels.csv [--only logit]

Trains one fully connected autoencoder at four crops and one of three encoders at the same width, three seeds each, the
epoch kept by separation; and reads the logit of every cached resnet trial. Members go to the studies' folder, so a
rerun trains nothing. Prints Markdown. Labels measure only.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from _members import auc_of, blind_recipe
from _record import head, line, over_seeds, parser

from ensemble_ad.blend import blend_scores
from ensemble_ad.data.dataset import Dataset, load_dataset
from ensemble_ad.data.preprocess import Preprocess
from ensemble_ad.families import Architecture
from ensemble_ad.families.fcn import FcnArchitecture
from ensemble_ad.families.multi_encoder import MultiEncoderArchitecture
from ensemble_ad.files.id_table import read_labels
from ensemble_ad.layout import preprocessed_folder
from ensemble_ad.members.store import list_members
from ensemble_ad.statistics import auc
from ensemble_ad.training.make_member import fit_member
from ensemble_ad.training.settings import TrainSettings

SEEDS = range(3)
CROPS = (1.0, 0.875, 0.75, 0.5625)
EPOCHS = 6
FCN = FcnArchitecture(widths=(256, 32))
MULTI = MultiEncoderArchitecture(encoders=("fcn", "fcn", "fcn"), widths=(256, 32), decoder_width=256)


def main() -> None:
    """Read the command line, train what is not cached, print."""
    arguments = parser(__doc__, "data", "studies", "labels")
    arguments.add_argument("--only", choices=["trained", "logit"], help="one of the two tables")
    given = arguments.parse_args()
    dataset = load_dataset(given.data, image_cache=preprocessed_folder(given.studies))
    label = read_labels(given.labels, dataset.test.ids)
    if given.only != "logit":
        print_trained(dataset, label, given.studies)
    if given.only != "trained":
        print()
        print_logits(label, given.studies)


def print_trained(dataset: Dataset, label: npt.NDArray[np.int8], studies: Path) -> None:
    """Train both models, print a row a model and crop."""
    print(head("model", "crop", "AUC of rss", "AUC of the kind chosen blind", "best epochs"), flush=True)
    rows: list[tuple[str, str, Architecture, float]] = [("fcn 256-32", "fcn", FCN, crop) for crop in CROPS]
    rows += [("multi_encoder 3 x (256-32)", "multi_encoder", MULTI, 1.0)]
    for name, family, architecture, crop in rows:
        channels = 1 if dataset.is_grey else 3
        preprocess = Preprocess(crop=(crop, crop), size=(dataset.side, dataset.side), channels=channels)
        members = []
        for seed in SEEDS:
            training = TrainSettings(epochs=EPOCHS, batch_size=128, seed=seed)
            recipe = blind_recipe(dataset, family, architecture, preprocess, training)
            members.append(fit_member(dataset, recipe, studies=studies, device=torch.device("cpu")))
        by_rss = over_seeds([auc_of(m, "rss", label).value for m in members], ".3f")
        chosen = over_seeds([auc_of(m, m.main_column, label).value for m in members], ".3f")
        print(line(name, crop, by_rss, chosen, ", ".join(str(m.info.best_epoch) for m in members)), flush=True)


def print_logits(label: npt.NDArray[np.int8], studies: Path) -> None:
    """Print a row a cached resnet trial."""
    print(head("resnet trial", "kind chosen blind", "its AUC", "AUC of the logit", "blend of both"))
    for member in list_members(studies)[0]:
        if member.family != "resnet" or "logit" not in member.columns or not member.info.trial:
            continue
        kinds = [member.columns.index(kind) for kind in (member.main_column, "logit")]
        reference, test = (side[:, kinds] for side in member.vectors())
        both = auc(label, blend_scores(reference, test).scores)
        aucs = [auc_of(member, member.main_column, label), auc_of(member, "logit", label), both]
        print(line(member.key, member.main_column, *(f"{each.value:.3f}" for each in aucs)))


if __name__ == "__main__":
    main()
