"""The bootstrap against DeLong's formula."""

import numpy as np
import pytest

from ensemble_ad import statistics


def test_bootstrap_agrees_with_delong_and_pairs_its_columns(tumours):
    label, scores = tumours
    chosen = np.stack([scores[:, 1], scores[:, 1] * 2, scores[:, 4]], axis=1)
    boot = statistics.bootstrap_auc(label, chosen, n_resamples=500, seed=3)
    many = statistics.auc_many(label, chosen)
    assert boot.standard_error == pytest.approx(many.standard_error, rel=0.15)
    assert boot.value == pytest.approx(many.value)
    assert np.array_equal(boot.resampled[:, 0], boot.resampled[:, 1])
    paired = statistics.compare_auc(label, chosen[:, 0], chosen[:, 2])
    assert (boot.resampled[:, 0] - boot.resampled[:, 2]).std(ddof=1) == pytest.approx(paired.standard_error, rel=0.15)
    assert np.array_equal(boot.resampled, statistics.bootstrap_auc(label, chosen, 500, 3).resampled)
    assert not np.array_equal(boot.resampled, statistics.bootstrap_auc(label, chosen, 500, 4).resampled)


def test_bootstrap_counts_ties_one_half():
    label, score = np.array([0, 0, 1, 1]), np.ones(4)
    assert np.all(statistics.bootstrap_auc(label, score, 20, 0).resampled == 0.5)
