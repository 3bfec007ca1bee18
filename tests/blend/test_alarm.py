"""Alarms come at the rate that was asked for."""

import numpy as np
import pytest
from scipy.stats import beta, norm

import ensemble_ad as ea
from ensemble_ad.blend.alarm import (
    crossfit_reference,
    discoveries,
    false_alarm_rate,
    lowest_rate,
    most_alarms,
    p_values,
    threshold,
)
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


@pytest.mark.parametrize(("n", "rate"), [(9, 0.1), (99, 0.01), (100, 0.05), (350, 0.05), (5000, 0.01), (5000, 0.5)])
def test_the_interval_of_the_false_alarm_rate_is_the_betas(n, rate):
    found = false_alarm_rate(n, rate)
    above = round(found.value * (n + 1))
    assert found.value <= rate + 1e-12
    wanted = beta(above, n + 1 - above)
    np.testing.assert_allclose([found.low, found.high], wanted.ppf([0.025, 0.975]), rtol=1e-6)
    assert found.standard_error == pytest.approx(wanted.std())


def test_the_interval_holds_the_rate_as_often_as_it_says():
    rng, found = np.random.default_rng(0), false_alarm_rate(100, 0.05)
    rates = norm.sf([threshold(rng.normal(size=100), 0.05) for _ in range(4000)])
    assert np.mean((rates >= found.low) & (rates <= found.high)) == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize("new", [20, 252])
def test_normal_images_seldom_alarm_more_often_than_is_said(new):
    rng, most = np.random.default_rng(0), most_alarms(150, 0.05, new)
    alarms = np.array([(rng.normal(size=new) > threshold(rng.normal(size=150), 0.05)).sum() for _ in range(4000)])
    assert 0.002 < np.mean(alarms > most) < 0.02
    assert most < 0.5 * new, "what the page on alarms has of new tiles is more"


def test_an_alarm_is_a_low_p_value():
    rng = np.random.default_rng(0)
    reference, new = np.sort(rng.normal(size=99).round(1)), rng.normal(size=500).round(1)
    p = p_values(reference, new)
    np.testing.assert_array_equal(new > threshold(reference, 0.05), p <= 0.05)
    assert p_values(np.arange(9.0), np.array([8.0, 8.1])).tolist() == [0.2, 0.1]


def test_discoveries_are_benjamini_and_hochbergs():
    p = np.array([0.01, 0.04, 0.03, 0.9, 0.02])
    assert discoveries(p, 0.051).tolist() == [True, True, True, False, True]
    assert discoveries(p, 0.045).tolist() == [False] * 5
    assert discoveries(p[:0], 0.05).tolist() == []
    with pytest.raises(UsageError, match="--fdr must lie between 0 and 1, not 5"):
        discoveries(p, 5)
