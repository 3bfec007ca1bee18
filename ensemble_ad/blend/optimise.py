"""Two small convex problems with non-negative solutions, solved in numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def nonnegative_quadratic(matrix: Floats, target: Floats, sweeps: int = 500, tolerance: float = 1e-10) -> Floats:
    """argmin over w >= 0 of w' matrix w / 2 - target' w, by coordinate descent.

    Args:
        matrix: (m, m) symmetric, positive definite.
        target: (m,).
        sweeps: At most so many rounds over the coordinates.
        tolerance: Stop once no coordinate moves by more than this share of the largest.
    """
    weights = np.zeros(len(target))
    slope = -target.astype(np.float64)
    diagonal = np.diag(matrix)
    for _ in range(sweeps):
        moved = 0.0
        for j in range(len(target)):
            new = max(0.0, weights[j] - slope[j] / diagonal[j])
            step = new - weights[j]
            if step != 0.0:
                slope += step * matrix[:, j]
                weights[j] = new
                moved = max(moved, abs(step))
        if moved <= tolerance * max(weights.max(initial=0.0), 1e-300):
            break
    return weights


def nonnegative_logistic(
    negative: NDArray[np.floating],
    positive: NDArray[np.floating],
    ridge: float,
    steps: int = 12,
) -> Floats:
    """Weights w >= 0 of the logistic regression of positive (n1, m) against negative (n0, m) rows, intercept free.

    Both sides count one half whatever their sizes. The penalty is ridge / 2 times the sum of squares. Newton's
    method: each step's quadratic model is minimised over w >= 0, with the step halved where the loss would rise.

    Returns:
        (m,) weights, all zero where nothing separates.
    """
    rows = np.concatenate([negative, positive], dtype=np.float64)
    rows -= rows.mean(axis=0)
    sign = np.concatenate([np.full(len(negative), -1.0), np.full(len(positive), 1.0)])
    mass = np.where(sign < 0, 0.5 / len(negative), 0.5 / len(positive))
    weights, intercept = np.zeros(rows.shape[1]), 0.0

    def loss(w: Floats, b: float) -> float:
        return float(mass @ np.logaddexp(0.0, -sign * (rows @ w + b)) + ridge / 2 * (w @ w))

    current = loss(weights, intercept)
    for _ in range(steps):
        margin = np.clip(rows @ weights + intercept, -30, 30)
        probability = 1 / (1 + np.exp(-margin))
        curve = mass * np.maximum(probability * (1 - probability), 1e-6)
        residual = mass * (probability - (sign > 0))
        # The free intercept is profiled out: centre by the curvature-weighted mean.
        total = curve.sum()
        centre = curve @ rows / total
        hessian = (rows * curve[:, None]).T @ rows - total * np.outer(centre, centre)
        hessian[np.diag_indices_from(hessian)] += ridge
        gradient = rows.T @ residual - centre * residual.sum() + ridge * weights
        new = nonnegative_quadratic(hessian, hessian @ weights - gradient)
        step, shift = new - weights, -(residual.sum() / total) - centre @ (new - weights)
        size = 1.0
        while size > 1e-3:
            trial = loss(weights + size * step, intercept + size * shift)
            if trial <= current:
                break
            size /= 2
        else:
            break
        weights, intercept = weights + size * step, intercept + size * shift
        if current - trial < 1e-9:
            break
        current = trial
    return weights
