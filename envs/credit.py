"""Rewards on the way to the terminal one, so that an agent learns which action mattered."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from autoprune.budget.cost import Vector
from autoprune.errors import ArgumentError
from autoprune.task import Task

Credit: TypeAlias = Callable[[int, Vector], NDArray[np.float64]]
"""Reward of a step, shape (b,), from the group's position and the widths (b,) that it got.

Whatever is paid on the way is taken off the terminal reward: the undiscounted return of an episode is
always the true reward of its candidate.
"""


class CurveCredit:
    """Pays `-weights_i * e_i(width_i)` for group i, e_i being its sensitivity curve.

    With weights fitted to evaluated candidates the payments predict the terminal reward, and the terminal
    step only pays what they missed.

    Args:
        task: The problem, with its curves.
        weights: One factor per prunable group, shape (n,); all 1 by default. Can be set at any time.

    Raises:
        ArgumentError: Weights of another shape or not finite.
    """

    def __init__(self, task: Task, weights: NDArray[np.floating] | None = None) -> None:
        self._task = task
        self.weights = np.ones(len(task.names)) if weights is None else weights

    @property
    def weights(self) -> NDArray[np.float64]:
        """The factors, shape (n,)."""
        return self._weights

    @weights.setter
    def weights(self, weights: NDArray[np.floating]) -> None:
        array = np.array(weights, np.float64)
        if array.shape != (len(self._task.names),) or not np.isfinite(array).all():
            raise ArgumentError(f"weights must be {len(self._task.names)} finite numbers, got {weights!r}")
        self._weights = array

    def __call__(self, position: int, widths: Vector) -> NDArray[np.float64]:
        """The credit of one step, shape (b,)."""
        credit: NDArray[np.float64] = -self._weights[position] * self._task.errors_at(position, widths)
        return credit

    def total(self, vector: Vector) -> NDArray[np.float64]:
        """The credit of whole episodes, shape (...), for widths of shape (..., n)."""
        total: NDArray[np.float64] = -(self._task.errors(vector) @ self._weights)
        return total
