"""Objectives: pure functions of error vectors."""

from dataclasses import replace

import numpy as np
import pytest

from ensemble_ad.errors import UsageError
from ensemble_ad.members import objectives as objective
from ensemble_ad.members.defect_aucs import pooled
from ensemble_ad.members.objectives import OBJECTIVES, Evidence
from ensemble_ad.statistics import auc, midranks
from ensemble_ad.statistics.belief import SLOPE, SPREAD, Belief


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


def test_separation_takes_the_best_column_and_obeys_its_formula(detectors):
    reference, test, label = detectors
    judged = objective.separation(Evidence(reference=reference, test=test, pixels=64))
    assert judged.column == "good"
    true = auc(label, test["good"]).value
    # A = 0.5 + p (AUC - 0.5) with p = 0.5, up to the noise of 250 and 400 images.
    assert judged.value == pytest.approx(0.5 + 0.5 * (true - 0.5), abs=3 * judged.standard_error)
    assert 0.005 < judged.standard_error < 0.05


def test_separation_passes_over_an_error_that_sees_every_test_image(detectors):
    reference, test, _ = detectors
    shifted = {**test, "bad": reference["good"].max() + 1 + test["good"]}
    evidence = Evidence(reference={**reference, "bad": reference["good"]}, test=shifted, pixels=64)
    assert objective.implausible_kinds(evidence) == ["bad"]
    assert objective.separation(evidence).column == "good"
    alone = Evidence(reference={"bad": reference["good"]}, test={"bad": shifted["bad"]}, pixels=64)
    assert objective.separation(alone)[::2] == (0.5, "bad")


def test_labels_give_the_auc(detectors):
    reference, test, label = detectors
    judged = objective.labels(Evidence(reference=reference, test=test, pixels=64, label=label))
    assert judged == (auc(label, test["good"]).value, auc(label, test["good"]).standard_error, "good")


def test_labels_without_labels_are_an_error(detectors):
    reference, test, _ = detectors
    with pytest.raises(UsageError, match="--labels"):
        objective.labels(Evidence(reference=reference, test=test, pixels=64))


def test_loss_is_the_mean_squared_error_a_pixel_without_test_images(detectors):
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
    with pytest.raises(UsageError, match=r"'auc'.*auto, separation, synthetic, consensus, loss, labels"):
        objective.objective("auc")


@pytest.fixture(scope="module")
def evidence(detectors):
    """The detectors' evidence with pseudo-anomalies: the held-out digits upside down, and with half of them blank."""
    from sklearn.datasets import load_digits
    from sklearn.decomposition import PCA

    reference, test, label = detectors
    digits = load_digits()
    normal = digits.data[digits.target < 5]
    held_out = normal[400:650]
    damaged = {"turned": held_out[125:, ::-1], "blank": held_out[125:] * (np.arange(64) < 32)}
    pseudo = {}
    for kind, images in damaged.items():
        pseudo[kind] = {}
        for name, rank in (("rss", 1), ("good", 10)):
            pca = PCA(rank, random_state=0).fit(normal[:400])
            left = images - pca.inverse_transform(pca.transform(images))
            pseudo[kind][name] = np.linalg.norm(left, axis=1).astype(np.float32)
    return Evidence(reference=reference, test=test, pixels=64, pseudo=pseudo, normal_rows=np.arange(125), label=label)


def test_synthetic_pools_the_kinds_and_reads_no_test_image(evidence):
    judged = objective.synthetic(evidence)
    normal = evidence.reference[judged.column][:125]
    aucs = {
        kind: auc(np.repeat([0, 1], 125), np.concatenate([normal, scores[judged.column]])).value
        for kind, scores in evidence.pseudo.items()
    }
    assert judged.value == pytest.approx(pooled(aucs.values()))
    assert objective.synthetic_kinds(evidence, judged.column) == pytest.approx(aucs)
    assert objective.synthetic(replace(evidence, test={})) == judged


def test_auto_is_synthetic_where_nothing_is_believed(evidence):
    without = replace(evidence, test={}, belief=Belief())
    judged = objective.auto(without)
    assert judged.column == objective.synthetic(without).column
    assert judged.value == pytest.approx(0.5 + SLOPE * (objective.synthetic(without).value - 0.5))
    assert judged.standard_error == SPREAD


def test_auto_is_what_separation_implies_where_much_is_believed(evidence):
    # Of 10 million images at p = 0.5 the pseudo-anomalies decide next to nothing.
    sure = replace(evidence, belief=Belief.of_share(0.5, 10**7, 10**7))
    best = objective.separation(sure)
    judged = objective.auto(sure)
    assert judged.column == best.column
    assert judged.value == pytest.approx(0.5 + (best.value - 0.5) / 0.5, abs=1e-3)
    assert judged.standard_error < 1e-3


def test_a_kind_that_is_passed_over_shows_auto_nothing(evidence):
    shifted = {**evidence.test, "good": evidence.reference["good"].max() + 1 + evidence.test["good"]}
    belief = Belief.of_share(0.5, 250, 400)
    spoilt = replace(evidence, test=shifted, belief=belief)
    assert objective.implausible_kinds(spoilt) == ["good"]
    alone = {kind: {"good": scores["good"]} for kind, scores in spoilt.pseudo.items()}
    good = replace(spoilt, reference={"good": spoilt.reference["good"]}, test={"good": shifted["good"]}, pseudo=alone)
    assert objective.auto(good).value == belief.auc(objective.synthetic(good).value, 0.5)


def test_the_objective_that_is_gone_says_what_to_use():
    with pytest.raises(UsageError, match=r"'both' is gone.*use auto"):
        objective.objective("both")


def test_synthetic_without_pseudo_anomalies_is_an_error(detectors):
    reference, test, _ = detectors
    with pytest.raises(UsageError, match="need pseudo-anomalies"):
        objective.synthetic(Evidence(reference=reference, test=test, pixels=64))


def test_consensus_is_the_agreement_with_the_crowd(evidence):
    crowd = midranks(evidence.test["rss"][None].astype(float))[0]
    judged = objective.consensus(replace(evidence, consensus=crowd))
    assert (judged.column, judged.value) == ("rss", pytest.approx(1.0))  # type: ignore[comparison-overlap]
    against = objective.consensus(replace(evidence, test={"rss": evidence.test["rss"]}, consensus=-crowd))
    assert against.value == pytest.approx(-1.0)
    first = objective.consensus(evidence)
    assert 0.5 < first.value < 1


def test_loss_without_a_reconstruction_is_an_error(evidence):
    with pytest.raises(UsageError, match="needs a reconstruction"):
        objective.loss(replace(evidence, reference={"good": evidence.reference["good"]}))
