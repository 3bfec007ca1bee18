"""The share of anomalies that is estimated without labels."""

import numpy as np
import pytest

from ensemble_ad.blend.share import crossfit_share
from ensemble_ad.statistics.implied import Share


def _normal_scores(share, n, k, seed, members=4):
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


def test_the_crossfitted_share_of_many_columns_sees_no_anomalies_in_none():
    reference, test = _normal_scores(0.0, 300, 300, 0, members=80)
    found = crossfit_share(reference, test)
    assert not Share(value=found.value, standard_error=found.standard_error, given=False).usable


def test_of_a_few_images_no_share_is_estimated():
    assert crossfit_share(*_normal_scores(0.5, 39, 200, 0)) is None
