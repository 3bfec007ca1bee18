"""What weighers find in scores whose good members are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble_ad.blend.weight import WEIGHERS, Pool, _binned_separation


@given(st.lists(st.integers(0, 40), min_size=1, max_size=30), st.lists(st.integers(0, 40), min_size=1, max_size=30))
def test_the_separation_of_bins_counts_every_pair_exactly(low, high):
    reference, test = np.array(low), np.array(high)
    pairs = 2 * (test[:, None] > reference) + (test[:, None] == reference)
    assert _binned_separation(reference, test) == int(pairs.sum()) / (2 * len(low) * len(high))


def test_pu_lda_points_where_the_labelled_fisher_direction_does():
    # The theorem that it stands on: with a share p of anomalies in T the direction is the labelled one, whatever p.
    rng = np.random.default_rng(0)
    mix = np.array([[1.0, 0.6, 0.3], [0.0, 0.8, 0.3], [0.0, 0.0, 0.9]])
    shift = np.array([0.2, 0.5, 0.4])
    reference = rng.normal(size=(200_000, 3)) @ mix
    label = rng.random(200_000) < 0.3
    test = rng.normal(size=(200_000, 3)) @ mix + label[:, None] * shift
    found = WEIGHERS["pu-lda"](Pool(reference=reference, test=test))
    truth = np.maximum(np.linalg.solve(mix.T @ mix + 0.1 * np.trace(mix.T @ mix) / 3 * np.eye(3), shift), 0)
    assert found == pytest.approx(truth / truth.sum(), abs=0.06)


def test_greedy_prefers_the_member_that_separates():
    rng = np.random.default_rng(1)
    reference, test = rng.random((2_000, 4)) * 0.8, rng.random((2_000, 4)) * 0.8
    test[:, 2] += 0.2
    weights = WEIGHERS["greedy"](Pool(reference=reference, test=test))
    assert weights.argmax() == 2
    assert weights[2] > 0.6


def test_the_spectral_weights_rank_independent_members_by_quality():
    rng = np.random.default_rng(2)
    label = rng.random(20_000) < 0.5
    test = rng.normal(size=(20_000, 4)) + label[:, None] * np.array([0.2, 0.6, 1.2, 2.0])
    weights = WEIGHERS["spectral"](Pool(reference=test[:10], test=test))
    assert (np.diff(weights) > 0).all()


def test_select_stops_once_the_consensus_is_matched():
    rng = np.random.default_rng(3)
    a, b = rng.random((2, 500))
    test = np.stack([a, b, (a + b) / 2], axis=1)
    assert WEIGHERS["select"](Pool(reference=test[:10], test=test)).tolist() == [0, 0, 1]
