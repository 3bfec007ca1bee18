"""Objectives: pure functions of error vectors."""

import numpy as np
import pytest

from ensemble_ad import objective
from ensemble_ad.errors import UsageError
from ensemble_ad.objective import OBJECTIVES, Evidence
from ensemble_ad.statistics import auc


@pytest.fixture(scope="module")
def detectors():
    """Real error vectors of held-out normal digits and of a half anomalous batch: PCA residuals of two ranks."""
    from sklearn.datasets import load_digits
    from sklearn.decomposition import PCA

    digits = load_digits()
    normal, anomalous = digits.data[digits.target < 5], digits.data[digits.target >= 5]

    def residual(rank):
        pca = PCA(rank, random_state=0).fit(normal[:400])

        def score(x):
            return np.linalg.norm(x - pca.inverse_transform(pca.transform(x)), axis=1).astype(np.float32)

        return score

    test = np.concatenate([normal[650:850], anomalous[:200]])
    label = np.repeat([0, 1], 200).astype(np.int8)
    good, bad = residual(10), residual(1)
    return (
        {"rss": bad(normal[400:650]), "good": good(normal[400:650])},
        {"rss": bad(test), "good": good(test)},
        label,
    )


def test_separation_takes_the_column_that_separates_and_obeys_its_formula(detectors):
    reference, test, label = detectors
    judged = objective.separation(Evidence(reference=reference, test=test, pixels=64))
    assert judged.column == "good"
    true = auc(label, test["good"]).value
    # A = 0.5 + p (AUC - 0.5) with p = 0.5, up to the noise of 250 and 400 images.
    assert judged.value == pytest.approx(0.5 + 0.5 * (true - 0.5), abs=3 * judged.standard_error)
    assert 0.005 < judged.standard_error < 0.05


def test_labels_give_the_auc(detectors):
    reference, test, label = detectors
    judged = objective.labels(Evidence(reference=reference, test=test, pixels=64, label=label))
    assert judged == (auc(label, test["good"]).value, auc(label, test["good"]).standard_error, "good")


def test_labels_without_labels_are_an_error(detectors):
    reference, test, _ = detectors
    with pytest.raises(UsageError, match="--labels"):
        objective.labels(Evidence(reference=reference, test=test, pixels=64))


def test_loss_is_the_mean_squared_error_a_pixel_and_ignores_the_test_images(detectors):
    reference, test, label = detectors
    judged = objective.loss(Evidence(reference=reference, test=test, pixels=64))
    assert judged.value == pytest.approx(float(np.mean(reference["rss"] ** 2)) / 64, rel=1e-5)
    assert judged == objective.loss(
        Evidence(reference=reference, test={"rss": test["rss"] * 9}, pixels=64, label=label)
    )


@pytest.mark.parametrize("name", OBJECTIVES)
def test_better_follows_the_direction(name):
    goal = OBJECTIVES[name]
    assert goal.better(2, 1) == (goal.direction == "maximize")
    assert goal.better(1, 2) == (goal.direction == "minimize")
    assert not goal.better(1, 1)


def test_an_unknown_objective_lists_the_known():
    with pytest.raises(UsageError, match=r"'auc'.*separation, loss, labels"):
        objective.objective("auc")
