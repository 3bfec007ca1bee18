"""Intervals: how wide they are, how often they hold the truth, and how they print."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score

from ensemble_ad import statistics
from ensemble_ad.errors import UsageError


def test_complete_separation_is_bounded_by_the_smaller_side():
    label = np.repeat([0, 1], [100, 5])
    estimate = statistics.auc(label, np.arange(105.0))
    assert (estimate.value, estimate.high) == (1.0, 1.0)
    assert estimate.low == pytest.approx(0.025 ** (1 / 5))
    assert statistics.auc(label, -np.arange(105.0)).high == pytest.approx(1 - 0.025 ** (1 / 5))


def test_delong_interval_covers_as_often_as_it_says():
    # The 569 tumours are the population here, so the true AUC is known; small samples are drawn with replacement.
    rng = np.random.default_rng(0)
    data = load_breast_cancer()
    label, score = 1 - data.target, data.data[:, 1]
    truth = roc_auc_score(label, score)
    low, high = score[label == 0], score[label == 1]
    drawn = [statistics.separation(rng.choice(low, 40), rng.choice(high, 30)) for _ in range(1000)]
    covered = np.mean([estimate.low <= truth <= estimate.high for estimate in drawn])
    assert 0.92 < covered < 0.98
    spread = np.std([estimate.value for estimate in drawn])
    assert np.mean([estimate.standard_error for estimate in drawn]) == pytest.approx(spread, rel=0.1)


def test_estimates_print_themselves():
    estimate = statistics.auc([0, 0, 1, 1, 0, 1], [1, 2, 2, 3, 1, 4])
    assert str(estimate).startswith("0.944 [")
    assert "p = " in str(statistics.compare_auc([0, 1, 0, 1], [1, 2, 3, 4], [1, 2, 3, 3]))


def test_a_level_outside_0_and_1_is_refused():
    with pytest.raises(UsageError, match="level"):
        statistics.auc([0, 1], [1.0, 2.0], level=95)
