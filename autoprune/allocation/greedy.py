"""Widths from the sensitivity curves: remove where it hurts least per cost."""

import numpy as np
from numpy.typing import NDArray

from autoprune.allocation.descent import descend
from autoprune.allocation.improve import exchange, refill
from autoprune.allocation.moves import Moves
from autoprune.allocation.uniform import uniform
from autoprune.budget.cost import Vector
from autoprune.errors import ArgumentError
from autoprune.task import Task


def greedy(task: Task, weights: NDArray[np.floating] | None = None, *, exchanges: int = 100) -> Vector:
    """Minimize `sum_i weights_i * e_i(width_i)` under the budget, e_i being the sensitivity curves.

    Steepest descent from the largest widths, by the smallest rise in error per cost saved over steps of
    any length (the curves need not be convex), until the budget holds; then what was saved too much is
    given back where it lowers the error most per cost; then widths of two groups are exchanged while that
    lowers the error. The same repairs from `uniform` are the second attempt; the better one counts.
    Deterministic. Near the optimum but not always at it.

    Args:
        task: The problem.
        weights: One non-negative factor per prunable group, shape (n,); all 1 by default.
        exchanges: At most so many rounds of exchanges.

    Returns:
        Widths of shape (n,) that meet the budget.

    Raises:
        ArgumentError: Weights of another shape, negative or not finite.
    """
    moves = Moves(task, _checked(weights, len(task.names)))
    fallback = uniform(task)
    descended = descend(moves)
    if not task.budget.holds(descended):
        descended = np.minimum(descended, fallback)
    found = [exchange(moves, refill(moves, start), exchanges) for start in (descended, fallback)]
    return min(found, key=moves.error)


def _checked(weights: NDArray[np.floating] | None, n: int) -> NDArray[np.float64]:
    if weights is None:
        return np.ones(n)
    array = np.asarray(weights, np.float64)
    if array.shape != (n,) or not np.isfinite(array).all() or (array < 0).any():
        raise ArgumentError(
            f"weights must be {n} finite numbers of at least 0, one per prunable group, got {weights!r}"
        )
    return array
