"""What is believed of an AUC: between what pseudo-anomalies promise and what a test batch shows."""

import numpy as np
import pytest

from ensemble_ad.errors import UsageError
from ensemble_ad.statistics.belief import SLOPE, SPREAD, Belief


def test_the_posterior_mean_is_that_of_two_normal_distributions():
    share, rows = 0.2, (1000, 2000)
    error = np.sqrt((1 / 1000 + 1 / 2000) / 12)
    belief = Belief.of_share(share, *rows)
    promised, separation = 0.5 + SLOPE * 0.3, 0.56
    # By the precision of each: what the separation implies has the standard error s / p.
    precision = np.array([1 / SPREAD**2, (share / error) ** 2])
    expected = precision @ [promised, 0.5 + (separation - 0.5) / share] / precision.sum()
    assert belief.auc(0.8, separation) == pytest.approx(expected)
    assert belief.standard_error == pytest.approx(precision.sum() ** -0.5)


def test_the_batch_decides_more_the_more_images_and_anomalies_it_has():
    weights = [Belief.of_share(share, 1000, 3000).weight for share in (0.01, 0.05, 0.2, 0.5)]
    assert weights == sorted(weights)
    assert weights[0] < 0.05
    assert weights[-1] > 0.7
    sizes = [Belief.of_share(0.2, rows, rows).weight for rows in (50, 500, 5000)]
    assert sizes == sorted(sizes)


def test_no_batch_leaves_the_promise_alone():
    assert Belief().auc(0.8, 0.9) == 0.5 + SLOPE * 0.3
    assert Belief().weight == 0
    assert Belief().share == 0


@pytest.mark.parametrize("share", [0.5, 0.2, 0.05])
def test_detectors_show_the_share(share):
    promised = [0.7, 0.8, 0.9]
    shown = [0.5 + share * SLOPE * (each - 0.5) for each in promised]
    sure = Belief.of_detectors(promised, shown, 10**6, 10**6)
    assert sure.share == pytest.approx(share, rel=0.1)
    assert sure.weight == pytest.approx(Belief.of_share(share, 10**6, 10**6).weight, abs=0.01)


def test_a_separation_within_its_error_is_hardly_believed():
    unsure = Belief.of_detectors([0.8, 0.8], [0.505, 0.46], 300, 300)
    assert unsure.share < 0.1
    assert unsure.weight < 0.05
    assert Belief.of_detectors([0.8], [0.45], 300, 300).weight < 0.02


def test_values_stay_probabilities():
    belief = Belief.of_share(0.01, 10**8, 10**8)
    assert belief.auc(1.0, 1.0) == 1.0
    assert belief.auc(0.0, 0.0) == 0.0


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan")])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(UsageError, match="between 0 and 1"):
        Belief.of_share(share, 100, 100)
