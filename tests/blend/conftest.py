"""Real detectors on scikit-learn's digits, and two sides of real measurements, for the tests of the blend."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import NearestNeighbors

from ensemble_ad.blend.exported import export_blend
from ensemble_ad.blend.saved import load_blend


@pytest.fixture(scope="session")
def names() -> tuple[str, ...]:
    """The names of the eight detectors of `members`."""
    return ("pca2", "pca5", "pca10", "pca20", "pca40", "knn", "iforest", "brightness")


@pytest.fixture(scope="session")
def members() -> Callable[..., tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Gives (reference, test, label) of eight detectors, by the share of anomalies and the digits that are normal."""
    return _scores


@cache
def _scores(share: float = 0.4, normal: tuple[int, ...] = (1, 4, 7, 9)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(reference, test, label): eight detectors' scores; normal images are some digits, anomalies the others."""
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    images, inside = data.data[order], np.isin(data.target[order], normal)
    train, reference, rest = np.split(images[inside], [250, 450])
    odd = images[~inside][: round(len(rest) * share / (1 - share))]
    test, label = np.concatenate([rest, odd]), np.repeat([0, 1], [len(rest), len(odd)])
    pca = PCA(40, random_state=0).fit(train)
    near = NearestNeighbors(n_neighbors=5).fit(train)
    trees = IsolationForest(n_estimators=50, random_state=0).fit(train)

    def scores(rows: np.ndarray) -> np.ndarray:
        centred = rows - pca.mean_
        errors = [
            np.sqrt(((centred - centred @ pca.components_[:k].T @ pca.components_[:k]) ** 2).sum(axis=1))
            for k in (2, 5, 10, 20, 40)
        ]
        others = [near.kneighbors(rows)[0].mean(axis=1), -trees.score_samples(rows), rows.mean(axis=1)]
        return np.stack(errors + others, axis=1)

    return scores(reference), scores(test), label


@pytest.fixture(scope="session")
def sides() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Standardised measurements of benign and malignant tumours: half to fit on, half to judge."""
    data = load_breast_cancer()
    rows = (data.data[:, :10] - data.data[:, :10].mean(0)) / data.data[:, :10].std(0)
    benign, malignant = rows[data.target == 1], rows[data.target == 0]
    return benign[::2], malignant[::2], benign[1::2], malignant[1::2]


@pytest.fixture(scope="module")
def exported(studies_folder, tmp_path_factory) -> Path:
    """The blend `both` as a zip; for reading only."""
    target = tmp_path_factory.mktemp("exported") / "both.zip"
    return export_blend(studies_folder, load_blend(studies_folder, "both"), target)


@pytest.fixture
def away(tmp_path) -> Path:
    """The studies' folder of another machine, empty."""
    return tmp_path / "away"
