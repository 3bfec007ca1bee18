"""Normalisers against their definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import norm, rankdata

from ensemble_ad.blend.normalise import BOUNDED, NORMALISERS, FrozenNormaliser, normalise

small = arrays(np.float64, st.tuples(st.integers(1, 12), st.just(2)), elements=st.integers(-3, 3).map(float))


def transformed(frozen: FrozenNormaliser, rows: np.ndarray) -> np.ndarray:
    return np.stack([frozen.transform_column(column, j) for j, column in enumerate(rows.T)], axis=1)


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
        assert np.array_equal(transformed(frozen, test), high)
        assert np.array_equal(transformed(frozen, reference), low)
        assert name not in BOUNDED or (min(low.min(), high.min()) >= 0 and max(low.max(), high.max()) <= 1), name
        assert (np.diff(transformed(frozen, grid), axis=0) >= 0).all(), name
        assert np.isfinite(transformed(frozen, np.array([[-1e30, 1e30]]))).all(), name


def test_reference_normalisers_do_not_see_the_batch(sides):
    reference, test, others, _ = sides
    for name in ("ecdf", "tail", "robust-z"):
        first, second = normalise(name, reference, test)[0], normalise(name, reference, others)[0]
        assert np.array_equal(transformed(first, test), transformed(second, test))
    first, second = normalise("rank", reference, test)[0], normalise("rank", reference, others)[0]
    assert not np.array_equal(transformed(first, test), transformed(second, test))


def test_robust_z_is_a_z_score_and_tames_the_absurd():
    reference = np.random.default_rng(0).normal(5, 2, size=(20_000, 1))
    frozen = normalise("robust-z", reference, reference)[0]
    z = transformed(frozen, np.array([[5.0], [7.0], [1e30]]))
    assert z[:2, 0] == pytest.approx([0, 1], abs=0.05)
    assert 6 < z[2, 0] < 100


def test_very_many_rows_are_thinned_but_ranks_stay():
    rng = np.random.default_rng(0)
    reference, test = rng.normal(size=(40_000, 1)), rng.normal(size=(40_000, 1))
    frozen, _, high = normalise("pooled-rank", reference, test)
    assert len(frozen.base) < 12_000
    assert transformed(frozen, test) == pytest.approx(high, abs=3e-4)
    top = np.sort(np.concatenate([reference, test]), axis=0)[-1000:]
    assert len(np.unique(transformed(frozen, top))) == 1000  # the anomalous end is kept whole
