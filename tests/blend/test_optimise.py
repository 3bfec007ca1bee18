"""The two solvers against their optimality conditions, and against scipy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize, nnls

from ensemble_ad.blend.optimise import nonnegative_logistic, nonnegative_quadratic


def is_best(matrix, target):
    weights = nonnegative_quadratic(matrix, target)
    slope = matrix @ weights - target
    assert (weights >= 0).all()
    assert slope[weights > 0] == pytest.approx(0, abs=1e-9)
    assert (slope[weights == 0] >= -1e-9).all()
    root = np.linalg.cholesky(matrix)
    assert weights == pytest.approx(nnls(root.T, np.linalg.solve(root, target))[0], rel=1e-6, abs=1e-9)


@given(st.integers(0, 2**31), st.sampled_from([1, 5, 60]), st.sampled_from([0, 1, 20]))
def test_nonnegative_quadratic_meets_its_optimality_conditions(seed, members, copies):
    rng = np.random.default_rng(seed)
    some = np.concatenate([np.arange(members), rng.integers(0, members, copies)])
    half, target = rng.normal(size=(80, members))[:, some], rng.normal(size=members)[some]
    is_best(half.T @ half + 0.003 * np.eye(len(some)), target)


@pytest.mark.parametrize("seed", range(20))
def test_where_coordinates_that_move_at_once_go_round_in_circles_they_move_one_at_a_time(seed):
    rng = np.random.default_rng(seed)
    half, target = rng.normal(size=(10, 20)), rng.normal(size=20)
    is_best(half.T @ half + 0.003 * np.eye(20), target)


@pytest.mark.parametrize("target", [[0.0, 0.0], [-1.0, -1.0], [1.0, -1.0], [-1.0, 1e-300]])
def test_what_nothing_pulls_upwards_stays_at_zero(target):
    found = nonnegative_quadratic(np.array([[2.0, 1.0], [1.0, 2.0]]), np.array(target))
    assert found == pytest.approx(np.maximum(target, 0) / 2)


def test_nonnegative_logistic_is_what_scipy_finds(sides):
    low, high, _, _ = sides
    rows = np.concatenate([low, high])
    sign = np.repeat([-1.0, 1.0], [len(low), len(high)])
    mass = np.repeat([0.5 / len(low), 0.5 / len(high)], [len(low), len(high)])

    def loss(p: np.ndarray) -> float:
        return float(mass @ np.logaddexp(0, -sign * (rows @ p[:-1] + p[-1])) + 0.005 * p[:-1] @ p[:-1])

    best = minimize(loss, np.zeros(11), method="L-BFGS-B", bounds=[(0, None)] * 10 + [(None, None)])
    assert nonnegative_logistic(low, high, 0.01) == pytest.approx(best.x[:-1], abs=5e-3)
