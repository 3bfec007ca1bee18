"""The share of anomalies that scores without labels speak of."""

import numpy as np
import pytest

from ensemble_ad import statistics


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
