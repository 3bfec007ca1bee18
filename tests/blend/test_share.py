"""The share of anomalies that is estimated without labels."""

import numpy as np
import pytest

from ensemble_ad.blend import blend_scores
from ensemble_ad.blend.share import crossfit_share
from ensemble_ad.statistics.implied import Share


def _normal_scores(share: float, n: int, k: int, seed: int, members: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Scores (n, m) of normal images and (k, m) of test images, anomalies two standard deviations higher."""
    rng = np.random.default_rng(seed)
    reference, test = rng.normal(size=(n, members)), rng.normal(size=(k, members))
    test[: round(share * k)] += 2
    return reference, test


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6])
def test_the_crossfitted_share_is_near_the_true_one(share):
    found = [crossfit_share(*_normal_scores(share, 800, 800, seed)) for seed in range(4)]
    assert np.mean([estimate.value for estimate in found]) == pytest.approx(share, abs=0.05)
    assert all(abs(one.value - share) < 4 * one.standard_error for one in found)
    assert not any(one.given or one.withheld for one in found)


def test_the_crossfitted_share_of_many_columns_sees_no_anomalies_in_none():
    reference, test = _normal_scores(0.0, 300, 300, 0, members=80)
    found = crossfit_share(reference, test)
    assert not found.usable
    assert "cannot be told from none" in found.why_none


def test_of_a_few_images_no_share_is_estimated_and_a_given_one_stands():
    assert crossfit_share(*_normal_scores(0.5, 149, 200, 0)) is None
    assert crossfit_share(*_normal_scores(0.5, 200, 39, 0)) is None
    assert crossfit_share(*_normal_scores(0.5, 39, 200, 0), given=0.5) == Share(value=0.5)
    found = crossfit_share(*_normal_scores(0.5, 149, 200, 0), given=0.5)
    assert (found.value, found.standard_error, found.given) == (0.5, 0.0, True)


@pytest.mark.parametrize("given", [None, 0.3])
def test_normal_images_that_have_moved_are_told(given):
    reference, test = _normal_scores(0.3, 1000, 1000, 0)
    assert crossfit_share(reference, test, given).why_none == ""
    far = crossfit_share(reference, np.where(np.arange(1000)[:, None] < 300, test, test + 1), given)
    assert far.why_none


def test_the_blend_and_its_explanation_tell_one_share():
    reference, test = _normal_scores(0.3, 400, 400, 0)
    made = blend_scores(reference, test)
    assert made.share == crossfit_share(reference, test)
    assert made.share.in_words in made.explanation
    assert blend_scores(reference, test, "mean").share == made.share
