"""Two small convex problems with non-negative solutions, solved in numpy."""

import numpy as np

from ensemble_ad.statistics.arrays import Floats, Floats64

_MOST_SWEEPS = 500  # over the coordinates of a quadratic problem
_SETTLED = 1e-10  # share of the largest coordinate; once none moves by more, the solution is found
_MOST_STEPS = 12  # of Newton's method


def nonnegative_quadratic(matrix: Floats64, target: Floats64) -> Floats64:
    """argmin over w >= 0 of w' matrix w / 2 - target' w, by coordinate descent.

    Args:
        matrix: (m, m) symmetric and positive definite.
        target: (m,).

    Returns:
        (m,) w.
    """
    weights = np.zeros(len(target))
    slope = -target.astype(np.float64)
    diagonal = np.diag(matrix)
    for _ in range(_MOST_SWEEPS):
        moved = 0.0
        # What lies at zero and would stay there is left out until the others have moved.
        for j in np.flatnonzero((weights > 0) | (slope < 0)).tolist():
            new = max(0.0, weights[j] - slope[j] / diagonal[j])
            step = new - weights[j]
            if step != 0.0:
                slope += step * matrix[:, j]
                weights[j] = new
                moved = max(moved, abs(step))
        would_move = np.max(-slope / diagonal, where=weights == 0, initial=0.0)
        if max(moved, would_move) <= _SETTLED * max(weights.max(initial=0.0), 1e-300):
            break
    return weights


def nonnegative_logistic(negative: Floats, positive: Floats, ridge: float) -> Floats64:
    """Weights w >= 0 of the logistic regression of positive (n1, m) against negative (n0, m) rows, intercept free.

    Each side counts one half, whatever its size. The penalty is ridge / 2 times the sum of squared weights. Newton's
    method: the quadratic model of each step is minimised over w >= 0, and the step halved while the loss would rise.

    Returns:
        (m,) w, all zero where nothing separates the sides.
    """
    rows = np.concatenate([negative, positive], dtype=np.float64)
    rows -= rows.mean(axis=0)
    short = rows.astype(np.float32)  # enough for the curvature, by which alone a step is a little off
    sign = np.concatenate([np.full(len(negative), -1.0), np.full(len(positive), 1.0)])
    mass = np.where(sign < 0, 0.5 / len(negative), 0.5 / len(positive))
    weights, intercept = np.zeros(rows.shape[1]), 0.0

    def loss(w: Floats64, b: float) -> float:
        return float(mass @ np.logaddexp(0.0, -sign * (rows @ w + b)) + ridge / 2 * (w @ w))

    current = loss(weights, intercept)
    for _ in range(_MOST_STEPS):
        margin = np.clip(rows @ weights + intercept, -30, 30)
        probability = 1 / (1 + np.exp(-margin))
        curve = mass * np.maximum(probability * (1 - probability), 1e-6)
        residual = mass * (probability - (sign > 0))
        # The intercept is free, so it is eliminated: the rows are centred by their curvature-weighted mean.
        total = curve.sum()
        centre = curve @ rows / total
        scaled = short * np.sqrt(curve, dtype=np.float32)[:, None]  # a matrix times itself takes half the time
        hessian = (scaled.T @ scaled).astype(np.float64) - total * np.outer(centre, centre)
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
