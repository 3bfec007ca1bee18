"""What `auto` stands on: how far detectors believe a batch, and the doubts of finished trials."""

from dataclasses import replace

import numpy as np
import pytest

from ensemble_ad.errors import UsageError
from ensemble_ad.members.auto_objective import belief_of, doubts
from ensemble_ad.members.measured import EstimatedShare, Measured, Objectives, Synthetic
from ensemble_ad.members.objectives import Evidence


@pytest.fixture(scope="module")
def detector():
    """The evidence of a PCA on half anomalous digits, with digits upside down as pseudo-anomalies."""
    from sklearn.datasets import load_digits
    from sklearn.decomposition import PCA

    digits = load_digits()
    normal, anomalous = digits.data[digits.target < 5], digits.data[digits.target >= 5]
    pca = PCA(10, random_state=0).fit(normal[:400])

    def score(x):
        return {"rss": np.linalg.norm(x - pca.inverse_transform(pca.transform(x)), axis=1).astype(np.float32)}

    return Evidence(
        reference=score(normal[400:650]),
        test=score(np.concatenate([normal[650:850], anomalous[:200]])),
        pixels=64,
        pseudo={"turned": score(normal[525:650, ::-1])},
        normal_rows=np.arange(125),
    )


def test_a_batch_is_believed_by_how_many_anomalies_it_shows(detector):
    half = belief_of([detector])
    assert 0.3 < half.share <= 0.6
    few = replace(detector, test={"rss": detector.test["rss"][:205]})
    assert belief_of([few]).share < 0.1
    assert belief_of([few]).weight < 0.1 < half.weight
    assert belief_of([detector], share=0.02).weight < 0.05


def test_a_batch_whose_normal_images_differ_is_not_believed(detector):
    other = replace(detector, test={"rss": detector.test["rss"] + detector.reference["rss"].max()})
    assert belief_of([other]).weight == 0
    assert belief_of([other], share=0.5).weight == 0


def test_a_share_that_is_none_is_refused(detector):
    with pytest.raises(UsageError, match="between 0 and 1"):
        belief_of([detector], share=1.0)


def trial(separation, synthetic, *, share=0.3, least=0.2, implausible=()):
    return Objectives(
        separation=Measured(value=separation, standard_error=0.01),
        synthetic=Synthetic(value=synthetic, standard_error=0.02, kinds={"zoom": synthetic, "occlusion": synthetic}),
        share=EstimatedShare(value=share, low=least),
        implausible=implausible,
    )


AGREEING = [trial(0.6 + i / 100, 0.7 + i / 100) for i in range(10)]


def test_trials_that_agree_raise_no_doubt():
    assert doubts(AGREEING) == ()
    assert doubts([*AGREEING, Objectives()]) == ()


def test_more_anomalies_than_are_likely_are_doubted():
    assert "speak of 77% anomalies or more" in doubts([*AGREEING, trial(0.9, 0.85)])[0]
    assert "62% anomalies or more" in doubts([*AGREEING, trial(0.75, 0.85, least=0.62)])[0]
    # Within its error of what 60% allow.
    assert doubts([*AGREEING, trial(0.81, 0.85)]) == ()


def test_more_anomalies_than_the_user_said_are_doubted():
    assert "beyond the share that was given (15%)" in doubts(AGREEING, share=0.15)[0]
    assert doubts(AGREEING, share=0.4) == ()


def test_disagreement_is_doubted_once_there_are_enough_trials():
    against = [trial(0.6 + i / 100, 0.9 - i / 100) for i in range(8)]
    assert "rank correlation -1.00" in doubts(against)[0]
    assert doubts(against[:7]) == ()
    rng = np.random.default_rng(0)
    assert doubts([trial(0.6 + a, 0.7 + b) for a, b in rng.uniform(0, 0.1, (8, 2))]) == ()


def test_a_few_trials_say_nothing_yet():
    assert doubts([trial(0.95, 0.9)] * 4) == ()
    assert doubts([trial(0.95, 0.9)] * 5) != ()


def test_kinds_of_error_that_see_too_many_anomalies_are_doubted():
    seeing = [replace(each, implausible=("gradient",)) for each in AGREEING]
    assert doubts([*seeing[:1], *AGREEING[1:]]) == ()
    (reason,) = doubts([*seeing[:2], *AGREEING[2:]])
    assert "2 of 10 trials have kinds of error (gradient)" in reason
    assert "--objective synthetic" in reason
