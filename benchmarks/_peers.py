"""What people begin with, on the images of a data folder: the AUC after so many seconds of each of them."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Curve = list[tuple[float, float]]


class Images(NamedTuple):
    """uint8 (n, side, side, C) and (k, side, side, C), and (k,) of 0 and 1."""

    train: npt.NDArray[np.uint8]
    test: npt.NDArray[np.uint8]
    label: npt.NDArray[np.int8]


def read(folder: Path) -> Images:
    """The images and labels of one set of `_sets.py`."""
    from ensemble_ad.files.id_table import read_labels

    train, test = (np.load(folder / f"data/{name}.npy") for name in ("trainingset", "testingset"))
    return Images(train, test, read_labels(folder / "labels.csv", [str(row) for row in range(len(test))]))


def fcn_report(images: Images, began: float, seed: int, seconds: float) -> Curve:
    """The notebook's network by its own score, the root of the summed squares, after each epoch."""
    import torch

    from ensemble_ad.families import Model, preset
    from ensemble_ad.training.error_vectors import error_vectors
    from ensemble_ad.training.loop import Epoch, train
    from ensemble_ad.training.settings import TrainSettings

    published, curve = preset("fcn-report")[1], Curve()
    test = torch.from_numpy(images.test)

    def after_epoch(epoch: Epoch, model: Model) -> bool:
        curve.append(_now(images, error_vectors(model, test)["rss"], began))
        return curve[-1][0] < seconds

    side, channels = images.train.shape[1], images.train.shape[3]
    build = partial(published.architecture.build, (channels, side, side))
    settings = TrainSettings(seed=seed, **published.training)
    train(build, torch.from_numpy(images.train), torch.arange(len(images.train)), settings, after_epoch=after_epoch)
    return curve


def pyod_autoencoder(images: Images, began: float, seed: int, seconds: float) -> Curve:
    """PyOD's autoencoder, 256-64, with its other defaults."""
    with _no_sibling():
        from pyod.models.auto_encoder import AutoEncoder

    train, test = _rows(images)
    model = AutoEncoder(hidden_neuron_list=[256, 64], random_state=seed, verbose=0)
    model.fit(train)
    return [_now(images, model.decision_function(test), began)]


def pyod_knn(images: Images, began: float, seed: int, seconds: float) -> Curve:
    """PyOD's KNN with its defaults on 64 principal components."""
    from sklearn.decomposition import PCA

    with _no_sibling():
        from pyod.models.knn import KNN

    train, test = _rows(images)
    components = PCA(64, random_state=seed).fit(train)
    model = KNN().fit(components.transform(train))
    return [_now(images, model.decision_function(components.transform(test)), began)]


def pca(images: Images, began: float, seed: int, seconds: float) -> Curve:
    """The error of reconstructing from 64 principal components."""
    from sklearn.decomposition import PCA

    train, test = _rows(images)
    components = PCA(64, random_state=seed).fit(train)
    missed = test - components.inverse_transform(components.transform(test))
    return [_now(images, np.square(missed).sum(axis=1), began)]


Peer = Callable[[Images, float, int, float], Curve]
PEERS: dict[str, Peer] = {
    "fcn-report": fcn_report,
    "pyod-autoencoder": pyod_autoencoder,
    "pyod-knn": pyod_knn,
    "pca": pca,
}
"""What each is called; it takes the images, when its clock began, a seed, and the seconds after which it may stop."""


@contextmanager
def _no_sibling() -> Iterator[None]:
    """While entered, `coverage` is not the benchmark of that name: numba, which PyOD imports, asks for the package."""
    sys.modules["coverage"] = None  # type: ignore[assignment] # is how an import is made to fail
    try:
        yield
    finally:
        del sys.modules["coverage"]


def _rows(images: Images) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Both sets as rows of numbers in [0, 1]."""
    train, test = (each.reshape(len(each), -1).astype(np.float32) for each in (images.train, images.test))
    return train / np.float32(255), test / np.float32(255)


def _now(images: Images, scores: npt.NDArray[np.floating], began: float) -> tuple[float, float]:
    from sklearn.metrics import roc_auc_score

    return round(time.monotonic() - began, 1), float(roc_auc_score(images.label, scores))
