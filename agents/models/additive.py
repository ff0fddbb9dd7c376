"""Weights of the sensitivity curves, fitted to evaluated candidates."""

import numpy as np
from numpy.typing import NDArray


def fit_weights(
    errors: NDArray[np.float64],
    losses: NDArray[np.float64],
    *,
    ridge: float | None = None,
    floor: float = 0.02,
) -> NDArray[np.float64]:
    """Weights c of the additive model `loss = sum_i c_i e_i(width_i)`.

    Ridge regression towards one common weight, so that few candidates give nearly equal weights.

    Args:
        errors: Errors e_i at the widths of k candidates, shape (k, n).
        losses: Their positive losses, shape (k,).
        ridge: Strength of the pull, relative to the mean square of the errors; None for 0.1 (n / k)^2, so
            that few candidates of many groups are not believed more than they can tell.
        floor: No weight falls below this share of the largest.

    Returns:
        Positive weights, shape (n,).
    """
    k, n = errors.shape
    ridge = 0.1 * (n / k) ** 2 if ridge is None else ridge
    total = max(float(errors.sum(1).mean()), 1e-12)
    common = float(losses.mean()) / total
    moments = errors.T @ errors
    pull = max(ridge * float(np.trace(moments)) / n, 1e-12)
    weights = np.linalg.solve(moments + pull * np.eye(n), errors.T @ losses + pull * common)
    largest = float(weights.max())
    if largest <= 0:
        return np.full(n, max(common, 1e-12))
    result: NDArray[np.float64] = np.maximum(weights, floor * largest)
    return result
