"""Two small convex problems with non-negative solutions, in numpy alone: scipy.optimize takes long to load."""

import numpy as np

from ensemble_ad.statistics.arrays import Floats, Floats64

_PATIENCE = 3  # exchanges of several coordinates in a row that leave as many at fault, before one moves at a time
_MOST_EXCHANGES = 1_000  # a dozen are usual
_ROUNDING = 1e-12  # of the largest target; by less no coordinate pulls
_MOST_STEPS = 12  # of Newton's method


def nonnegative_quadratic(matrix: Floats64, target: Floats64) -> Floats64:
    """argmin over w >= 0 of w' matrix w / 2 - target' w, by block principal pivoting.

    Coordinates that are free and negative, or at zero and pulled upwards, change sides, all at once while they become
    fewer (Júdice and Pires 1994), else the last one alone, which surely ends (Murty 1974).

    Args:
        matrix: (m, m) symmetric and positive definite.
        target: (m,).

    Returns:
        (m,) w.

    Raises:
        numpy.linalg.LinAlgError: if matrix is singular.
    """
    free, weights, slope = np.zeros(len(target), dtype=bool), np.zeros(len(target)), -target
    least, fewest, patience = -_ROUNDING * np.abs(target).max(initial=0.0), len(target) + 1, _PATIENCE
    for _ in range(_MOST_EXCHANGES):
        at_fault = np.flatnonzero(np.where(free, weights < 0, slope < least))
        if len(at_fault) == 0:
            break
        if len(at_fault) < fewest:
            fewest, patience = len(at_fault), _PATIENCE
        elif patience > 0:
            patience -= 1
        else:
            at_fault = at_fault[-1:]
        free[at_fault] ^= True
        some = np.flatnonzero(free)
        weights = np.zeros(len(target))
        weights[some] = np.linalg.solve(matrix[np.ix_(some, some)], target[some])
        slope = matrix @ weights - target
    return np.maximum(weights, 0.0)


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
