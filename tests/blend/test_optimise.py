"""The two solvers against their optimality conditions, and against scipy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from ensemble_ad.blend.optimise import nonnegative_logistic, nonnegative_quadratic


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
