"""The share of anomalies that scores without labels speak of."""

import numpy as np
import pytest
from scipy.stats import rankdata

from ensemble_ad import statistics
from ensemble_ad.statistics.share import implausible_ranks


@pytest.mark.parametrize("seed", range(3))
def test_ranks_are_implausible_as_their_columns_are(seed):
    rng = np.random.default_rng(seed)
    shifts = np.array([0.0, 0.3, 1.0, 1.4, 1.6, 1.8, 2.0, 2.5, 4.0, -3.0])
    sides = rng.normal(size=(400, 10)), (rng.normal(size=(300, 10)) + shifts).round(1)
    ranks = (rankdata(np.concatenate(sides), axis=0) - 0.5) / 700
    found = implausible_ranks(ranks[:400], ranks[400:])
    assert found.tolist() == [statistics.implausible(ranks[:400, j], ranks[400:, j]) for j in range(10)]
    assert 2 <= found.sum() <= 7


@pytest.mark.parametrize("share", [0.0, 0.1, 0.4])
def test_estimated_share_brackets_the_truth(share):
    rng = np.random.default_rng(5)
    lows, highs, values = [], [], []
    for _ in range(20):
        reference = rng.normal(size=1000)
        test = rng.normal(size=1000) + 4 * (rng.random(1000) < share)
        estimate = statistics.estimate_share(reference, test)
        lows.append(estimate.low)
        highs.append(estimate.high)
        values.append(estimate.value)
    assert max(lows) <= share + 1e-12
    assert np.mean(np.array(highs) >= share) > 0.9
    assert np.mean(values) == pytest.approx(share, abs=0.05)
