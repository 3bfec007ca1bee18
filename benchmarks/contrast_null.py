"""Does `contrast` leak? Against a test set without anomalies its separation has to stay at 0.5.

    python benchmarks/contrast_null.py --data data --labels labels.csv --images /tmp/images

The labels choose the test set: its normal images alone. Prints the cross-fitted separation after each epoch.
"""

import numpy as np
import torch
from _record import parser

from ensemble_ad.data.dataset import load_dataset
from ensemble_ad.data.preprocess import Preprocess, apply
from ensemble_ad.families import Model
from ensemble_ad.families.contrast import ContrastArchitecture
from ensemble_ad.families.model import CrossFittedModel
from ensemble_ad.files.id_table import read_labels
from ensemble_ad.statistics import separation
from ensemble_ad.training.cross_fitted import deal, train
from ensemble_ad.training.error_vectors import error_vectors
from ensemble_ad.training.loop import Epoch
from ensemble_ad.training.settings import TrainSettings

SIZE = 32
SETTINGS = TrainSettings(epochs=4, batch_size=128, learning_rate=2e-3, weight_decay=1e-2)


def main() -> None:
    """Read the command line, train, print."""
    arguments = parser(__doc__, "data", "labels", "images").parse_args()
    dataset = load_dataset(arguments.data, image_cache=arguments.images)
    label = read_labels(arguments.labels, dataset.test.ids)
    split = dataset.split()
    small = Preprocess(crop=(1.0, 1.0), size=(SIZE, SIZE), channels=1)
    normal = torch.from_numpy(apply(np.array(dataset.train.images), small))
    test = torch.from_numpy(apply(np.array(dataset.test.images[label == 0]), small))
    held_out = normal[torch.from_numpy(split.reference)]
    architecture = ContrastArchitecture()
    folds = deal(len(held_out), len(test), architecture.folds, SETTINGS.seed, torch.device("cpu"))

    def after_epoch(epoch: Epoch, model: Model) -> bool:
        low = error_vectors(model, held_out, fold=folds.reference)["logit"]
        high = error_vectors(model, test, fold=folds.test)["logit"]
        print(f"epoch {epoch.number}: loss {epoch.loss:.3f}, separation {separation(low, high)}", flush=True)
        return True

    def build() -> CrossFittedModel:
        return architecture.build((1, SIZE, SIZE)).to(memory_format=torch.channels_last)

    train(build, normal, torch.from_numpy(split.train), test, folds, SETTINGS, after_epoch)


if __name__ == "__main__":
    main()
