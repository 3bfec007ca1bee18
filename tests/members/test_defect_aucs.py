"""AUCs of pseudo-anomalies by kind of defect, and which kinds count."""

import numpy as np
import pytest

from ensemble_ad.data.defects import pseudo_anomalies, split_reference
from ensemble_ad.errors import DataError
from ensemble_ad.members.defect_aucs import pooled, synthetic_aucs
from ensemble_ad.statistics import auc

FINGERPRINT = "00c0ffee"


def test_aucs_are_those_of_labels_and_a_pca_sees_most_defects(photos):
    from sklearn.decomposition import PCA

    images = photos(600, 32, 3)
    train, reference = images[:300], images[300:]
    split = split_reference(len(reference), FINGERPRINT, image_bytes=32 * 32 * 3)
    pca = PCA(32, random_state=0).fit(train.reshape(len(train), -1).astype(float))

    def error(pictures: np.ndarray) -> np.ndarray:
        flat = pictures.reshape(len(pictures), -1).astype(float)
        return np.sqrt(np.square(flat - pca.inverse_transform(pca.transform(flat))).sum(axis=1))

    normal = error(reference[split.normal])
    pseudo = {name: error(made) for name, made in pseudo_anomalies(reference[split.damaged], seed=0).items()}
    aucs = synthetic_aucs(normal, pseudo)
    assert list(aucs) == list(pseudo)
    label = np.repeat([0, 1], [len(normal), len(pseudo["occlusion"])])
    expected = auc(label, np.concatenate([normal, pseudo["occlusion"]]))
    assert aucs["occlusion"] == expected
    assert all(aucs[name].value > 0.55 for name in ("patch_swap", "occlusion"))


def test_aucs_need_scores():
    with pytest.raises(DataError, match="at least one kind"):
        synthetic_aucs([1.0, 2.0], {})
    with pytest.raises(DataError, match="NaN"):
        synthetic_aucs([1.0, float("nan")], {"shift": [1.0]})


def test_kinds_are_pooled_by_how_far_apart_they_are():
    # Phi^-1 of 0.6914625 and of 0.9331928 are 0.5 and 1.5, and Phi of 1 is 0.8413447.
    assert pooled([0.6914625, 0.9331928]) == pytest.approx(0.8413447)
    assert pooled([0.2, 0.8]) == pytest.approx(0.5)
    assert pooled([1.0, 0.5]) == pooled([0.99, 0.5]) < 0.9
    assert pooled([0.0]) == pytest.approx(0.01)
