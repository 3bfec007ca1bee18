"""Alarms come at the rate that was asked for."""

import numpy as np
import pytest

import ensemble_ad as ea
from ensemble_ad.blend.alarm import crossfit_reference, lowest_rate, threshold
from ensemble_ad.errors import UsageError


def test_the_threshold_is_the_conformal_quantile():
    reference = np.arange(1.0, 100.0)
    assert threshold(reference, 0.05) == 95.0
    assert threshold(reference, 0.01) == 99.0
    rng = np.random.default_rng(0)
    rates = [(rng.normal(size=1000) > threshold(rng.normal(size=200), 0.05)).mean() for _ in range(200)]
    assert 0.045 < np.mean(rates) < 0.055


@pytest.mark.parametrize("rate", [0, 1, -0.1, float("nan")])
def test_a_rate_outside_0_and_1_is_refused(rate):
    with pytest.raises(UsageError, match="--alarm-rate must lie between 0 and 1"):
        threshold(np.arange(99.0), rate)


def test_a_rate_that_so_few_images_cannot_tell_is_refused():
    with pytest.raises(UsageError, match=r"--alarm-rate must be 0.01 or more, not 0.005: there are 99 held-out"):
        threshold(np.arange(99.0), 0.005)


@pytest.mark.parametrize("method", ["auto", "mean", "tail-mean"])
def test_unseen_normal_images_raise_as_many_alarms_as_asked_for(method):
    rng = np.random.default_rng(0)
    rates, naive = [], []
    for _ in range(5):
        reference, test, new = (rng.normal(size=(n, 8)) for n in (150, 300, 2000))
        test[:100] += 1
        rule = ea.blend_scores(reference, test, method=method)
        found = crossfit_reference(reference, test, method=method)
        rates.append((rule.score(new) > threshold(found, 0.1)).mean())
        naive.append((rule.score(new) > threshold(rule.score(reference), 0.1)).mean())
    assert 0.06 < np.mean(rates) < 0.14
    if method == "auto":
        assert np.mean(naive) > 0.2


def test_of_few_images_the_reference_scores_are_the_blends_own():
    rng = np.random.default_rng(0)
    reference, test = rng.normal(size=(9, 2)), rng.normal(size=(9, 2))
    wanted = ea.blend_scores(reference, test, method="mean").score(reference)
    np.testing.assert_array_equal(crossfit_reference(reference, test, method="mean"), wanted)


@pytest.mark.parametrize("n", [1, 2, 9, 10, 30, 98, 99, 100, 101, 150, 1234, 100_000])
def test_the_rate_that_the_error_names_is_taken(n):
    reference = np.arange(float(n))
    with pytest.raises(UsageError) as refused:
        threshold(reference, 1e-9)
    named = float(str(refused.value).split(" must be ")[1].split(" or more")[0])
    assert lowest_rate(n) <= named < 1.1 * lowest_rate(n) + 1e-9
    assert threshold(reference, named) == threshold(reference, lowest_rate(n)) == n - 1
