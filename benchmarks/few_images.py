"""What a few hundred training images need: the error of an fcn or cnn on held-out images, beside PCA's, by steps.

    python benchmarks/few_images.py --data data --labels labels.csv

Trains each row of the table once, at 32 pixels and without a crop, on all training images but 150, and prints the mean
squared error of a pixel on those, the separation and, of labels that nothing else reads, the AUC, both by rss.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from ensemble_ad import statistics
from ensemble_ad.data.dataset import load_dataset
from ensemble_ad.data.preprocess import Preprocess, apply
from ensemble_ad.families import Architecture
from ensemble_ad.families.cnn import CnnArchitecture
from ensemble_ad.families.fcn import FcnArchitecture
from ensemble_ad.families.pca import PcaArchitecture
from ensemble_ad.files.id_table import read_labels
from ensemble_ad.training.error_vectors import error_vectors
from ensemble_ad.training.loop import train
from ensemble_ad.training.settings import TrainSettings

_SIDE, _HELD_OUT = 32, 150


def fcn(bottleneck: int) -> FcnArchitecture:
    return FcnArchitecture(widths=(512, bottleneck), activation="prelu", batch_norm=True)


_CNN = CnnArchitecture(channels=(12, 24, 48), batch_norm=True)
# Name, architecture, batch size, learning rate, epochs.
ROWS: tuple[tuple[str, Architecture, int, float, int], ...] = (
    ("pca, 32", PcaArchitecture(components=32), 256, 1e-3, 1),
    ("pca, 256", PcaArchitecture(components=256), 256, 1e-3, 1),
    ("fcn 512-32", fcn(32), 128, 7e-4, 20),
    ("fcn 512-32", fcn(32), 16, 2.5e-4, 20),
    ("fcn 512-32", fcn(32), 16, 1e-3, 20),
    ("fcn 512-32", fcn(32), 16, 1e-3, 80),
    ("fcn 512-256", fcn(256), 16, 1e-3, 80),
    ("cnn, no bottleneck", _CNN, 128, 7e-4, 20),
    ("cnn, no bottleneck", _CNN, 16, 1e-3, 80),
)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--labels", type=Path, required=True)
    given = arguments.parse_args()
    dataset = load_dataset(given.data, image_cache=given.data)
    preprocess = Preprocess(crop=(1.0, 1.0), size=(_SIDE, _SIDE), channels=dataset.channels)
    images, test = (
        torch.from_numpy(np.array(apply(each.images, preprocess))) for each in (dataset.train, dataset.test)
    )
    label = read_labels(given.labels, dataset.test.ids)
    order = np.random.default_rng(0).permutation(len(images))
    held_out, rows = torch.from_numpy(order[:_HELD_OUT]), torch.from_numpy(order[_HELD_OUT:])
    for name, architecture, batch_size, rate, epochs in ROWS:

        def build(architecture: Architecture = architecture) -> torch.nn.Module:
            return architecture.build(preprocess.shape).to(memory_format=torch.channels_last)

        settings = TrainSettings(epochs=epochs, batch_size=batch_size, learning_rate=rate)
        model = train(build, images, rows, settings).eval()  # type: ignore[arg-type]
        normal, scores = (error_vectors(model, some)["rss"] for some in (images[held_out], test))
        error = float(np.mean(np.square(normal))) / np.prod(preprocess.shape)
        steps = epochs * (len(rows) // batch_size)
        separation, auc = statistics.separation(normal, scores).value, statistics.auc(label, scores).value
        print(
            f"{name:18} batches of {batch_size:3} {steps:5} steps  error {error:.4f}  "
            f"separation {separation:.3f}  AUC {auc:.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
