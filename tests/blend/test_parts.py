"""The blend's parts on their own: normalisers, combiners, the two solvers, the forest."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize
from scipy.stats import norm, rankdata
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import ExtraTreesClassifier

from ensemble_ad.blend.combine import COMBINERS
from ensemble_ad.blend.forest import grow
from ensemble_ad.blend.normalise import NORMALISERS, normalise
from ensemble_ad.blend.optimise import nonnegative_logistic, nonnegative_quadratic
from ensemble_ad.blend.weight import WEIGHERS, Pool, _binned_separation
from ensemble_ad.statistics import auc

small = arrays(np.float64, st.tuples(st.integers(1, 12), st.just(2)), elements=st.integers(-3, 3).map(float))


@pytest.fixture(scope="module")
def sides() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Standardised measurements of benign and malignant tumours: half to fit on, half to judge."""
    data = load_breast_cancer()
    rows = (data.data[:, :10] - data.data[:, :10].mean(0)) / data.data[:, :10].std(0)
    benign, malignant = rows[data.target == 1], rows[data.target == 0]
    return benign[::2], malignant[::2], benign[1::2], malignant[1::2]


@given(small, small)
def test_normalisers_by_their_definitions(reference, test):
    n, k = len(reference), len(test)
    both = np.concatenate([reference, test])
    share = (rankdata(both, axis=0) - 0.5) / (n + k)
    at_or_above = (reference[None] >= test[:, None]).sum(1)
    below = (reference[None] < test[:, None]).sum(1) + 0.5 * (reference[None] == test[:, None]).sum(1)
    expected = {
        "rank": (rankdata(test, axis=0) - 0.5) / k,
        "pooled-rank": share[n:],
        "gauss": norm.ppf(share[n:]),
        "pooled-tail": -np.log(1 - share[n:]),
        "ecdf": (below + 0.5) / (n + 1),
        "tail": -np.log((at_or_above + 1) / (n + 1)),
    }
    for name, want in expected.items():
        assert normalise(name, reference, test)[2] == pytest.approx(want, abs=1e-12), name


@given(small, small)
def test_a_frozen_normaliser_repeats_itself_and_never_falls(reference, test):
    grid = np.linspace(-5, 5, 41)[:, None].repeat(2, axis=1)
    for name in NORMALISERS:
        frozen, low, high = normalise(name, reference, test)
        assert np.array_equal(frozen.transform(test), high)
        assert np.array_equal(frozen.transform(reference), low)
        assert (np.diff(frozen.transform(grid), axis=0) >= 0).all(), name
        assert np.isfinite(frozen.transform(np.array([[-1e30, 1e30]]))).all(), name


def test_reference_normalisers_do_not_see_the_batch(sides):
    reference, test, others, _ = sides
    for name in ("ecdf", "tail", "robust-z"):
        first, second = NORMALISERS[name](reference, test), NORMALISERS[name](reference, others)
        assert np.array_equal(first.transform(test), second.transform(test))
    assert not np.array_equal(
        NORMALISERS["rank"](reference, test).transform(test), NORMALISERS["rank"](reference, others).transform(test)
    )


def test_robust_z_is_a_z_score_and_tames_the_absurd():
    reference = np.random.default_rng(0).normal(5, 2, size=(20_000, 1))
    frozen = NORMALISERS["robust-z"](reference, reference)
    z = frozen.transform(np.array([[5.0], [7.0], [1e30]]))
    assert z[:2, 0] == pytest.approx([0, 1], abs=0.05)
    assert 6 < z[2, 0] < 100


def test_very_many_rows_are_thinned_but_ranks_stay():
    rng = np.random.default_rng(0)
    reference, test = rng.normal(size=(40_000, 1)), rng.normal(size=(40_000, 1))
    frozen, _, high = normalise("pooled-rank", reference, test)
    assert len(frozen.base) < 12_000
    assert frozen.transform(test) == pytest.approx(high, abs=3e-4)
    top = np.sort(np.concatenate([reference, test]), axis=0)[-1000:]
    assert len(np.unique(frozen.transform(top))) == 1000  # the anomalous end is kept whole


def test_combiners_by_hand():
    rows = np.array([[1.0, 4.0, 2.0, 9.0], [0.0, 0.0, 6.0, 3.0]])
    weights = np.array([0.5, 0.25, 0.25, 0.0])
    expected = {"weighted-mean": [2, 1.5], "mean": [7 / 3, 2], "median": [2, 0], "max": [4, 6], "top": [7 / 3, 2]}
    for name, want in expected.items():
        assert COMBINERS[name](lambda j: rows[:, j], weights) == pytest.approx(want), name
    assert COMBINERS["top"](lambda j: rows[:, j], np.ones(4) / 4) == pytest.approx([5, 3])


@given(st.integers(0, 2**31))
def test_nonnegative_quadratic_meets_its_optimality_conditions(seed):
    rng = np.random.default_rng(seed)
    half, target = rng.normal(size=(8, 5)), rng.normal(size=5)
    matrix = half.T @ half + 0.1 * np.eye(5)
    weights = nonnegative_quadratic(matrix, target)
    slope = matrix @ weights - target
    assert (weights >= 0).all()
    assert slope[weights > 0] == pytest.approx(0, abs=1e-5)
    assert (slope[weights == 0] >= -1e-5).all()


def test_nonnegative_logistic_is_what_scipy_finds(sides):
    low, high, _, _ = sides
    rows = np.concatenate([low, high])
    sign = np.repeat([-1.0, 1.0], [len(low), len(high)])
    mass = np.repeat([0.5 / len(low), 0.5 / len(high)], [len(low), len(high)])

    def loss(p: np.ndarray) -> float:
        return float(mass @ np.logaddexp(0, -sign * (rows @ p[:-1] + p[-1])) + 0.005 * p[:-1] @ p[:-1])

    best = minimize(loss, np.zeros(11), method="L-BFGS-B", bounds=[(0, None)] * 10 + [(None, None)])
    assert nonnegative_logistic(low, high, 0.01) == pytest.approx(best.x[:-1], abs=5e-3)


def test_the_forest_is_as_good_as_scikit_learns(sides):
    low, high, other_low, other_high = sides
    label = np.repeat([0, 1], [len(other_low), len(other_high)])
    judged = np.concatenate([other_low, other_high])
    ours = auc(label, grow(low, high, seed=0).score(judged)).value
    theirs = ExtraTreesClassifier(n_estimators=50, min_samples_leaf=5, random_state=0)
    theirs.fit(np.concatenate([low, high]), np.repeat([0, 1], [len(low), len(high)]))
    assert ours == pytest.approx(auc(label, theirs.predict_proba(judged)[:, 1]).value, abs=0.01)


def test_the_forest_keeps_its_leaves_full_and_counts_columns(sides):
    low, high, _, _ = sides
    forest = grow(low, high, trees=7, min_leaf=9, seed=1)
    assert forest.importance.sum() == pytest.approx(1)
    assert (forest.importance >= 0).all()
    # Each leaf's value is a mean over at least nine rows, so it takes few different values a tree.
    assert (forest.feature < 0).sum() <= 7 * (len(low) + len(high)) / 9
    assert grow(low, high, trees=7, min_leaf=200, seed=1).score(low) == pytest.approx(0.5)


def test_a_forest_of_a_table_too_large_to_copy_is_the_same(sides, monkeypatch):
    benign, malignant, _, _ = (side.astype(np.float32) for side in sides)
    copied = grow(benign, malignant, trees=10)
    monkeypatch.setattr("ensemble_ad.blend.forest._TABLE_NUMBERS", 0)
    looked_up = grow(benign, malignant, trees=10)
    for name, value in vars(copied).items():
        np.testing.assert_array_equal(value, getattr(looked_up, name), err_msg=name)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=30), st.lists(st.integers(0, 40), min_size=1, max_size=30))
def test_the_separation_of_bins_counts_every_pair_exactly(low, high):
    reference, test = np.array(low), np.array(high)
    pairs = 2 * (test[:, None] > reference) + (test[:, None] == reference)
    assert _binned_separation(reference, test) == int(pairs.sum()) / (2 * len(low) * len(high))


def test_a_forest_does_not_try_columns_without_a_chance(sides):
    low, high, _, _ = sides
    forest = grow(low, high, column_chance=np.array([0.5, 0, 0.5, *[0] * 7]))
    assert set(forest.feature.tolist()) == {-1, 0, 2}


def test_a_monotone_forest_never_falls(sides):
    low, high, judged, _ = sides
    higher = judged + np.abs(np.random.default_rng(0).normal(size=judged.shape))
    bound = grow(low, high, monotone=True, seed=2)
    assert (bound.score(higher) >= bound.score(judged) - 1e-12).all()
    assert np.ptp(bound.score(judged)) > 0.3
    # Sides swapped, the data ask for a falling score: a free forest obliges, a monotone one does not.
    assert (grow(high, low, seed=2).score(higher) < grow(high, low, seed=2).score(judged)).mean() > 0.9
    assert np.ptp(grow(high, low, monotone=True, seed=2).score(judged)) < 0.1


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
