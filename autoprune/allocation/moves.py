"""All changes of one width from where a candidate stands: what they do to the error and to the costs."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from autoprune.budget.cost import Numbers, Vector
from autoprune.task import Task

_EVERY = 64
"""Groups with at most so many allowed widths try all of them, larger ones a geometric series of steps."""


class Table(NamedTuple):
    """Changes of one width each, of all groups.

    Attributes:
        group: Position of the group, shape (r,).
        width: Its new width, shape (r,).
        error: Change of the weighted error, shape (r,).
        cost: Change of the limited costs, shape (r, k).
    """

    group: Vector
    width: Vector
    error: NDArray[np.float64]
    cost: Numbers


class Moves:
    """What can be changed around a candidate, with the errors weighted once and for all.

    Args:
        task: The problem.
        weights: Factor of every group's error, shape (n,).
    """

    def __init__(self, task: Task, weights: NDArray[np.float64]) -> None:
        self.task = task
        self._weights = weights
        self._allowed = [task.allowed(i) for i in range(len(task.names))]
        self._errors = [
            w * task.errors_at(i, a) for i, (w, a) in enumerate(zip(weights, self._allowed, strict=True))
        ]

    def error(self, widths: Vector) -> float:
        """The weighted error, the sum that is to be minimized."""
        return float(self.task.errors(widths) @ self._weights)

    def of_group(self, position: int, widths: Vector) -> tuple[Vector, NDArray[np.float64], Numbers]:
        """Smaller widths of one group: the widths, the rise in error (r,) and the costs saved (r, k)."""
        allowed, errors = self._allowed[position], self._errors[position]
        at = int(np.searchsorted(allowed, widths[position]))
        below = _steps(at, 0, at)
        rows = np.repeat(widths[None], len(below) + 1, axis=0)
        rows[:-1, position] = allowed[below]
        values = self.task.budget.values(rows)
        return allowed[below], errors[below] - errors[at], values[-1] - values[:-1]

    def of_all(self, widths: Vector) -> Table:
        """Smaller and larger widths of every group."""
        groups, changed, errors = [], [], []
        for position, (allowed, error) in enumerate(zip(self._allowed, self._errors, strict=True)):
            at = int(np.searchsorted(allowed, widths[position]))
            other = np.concatenate([_steps(at, 0, at), _steps(at, at + 1, len(allowed))])
            groups.append(np.full(len(other), position))
            changed.append(allowed[other])
            errors.append(error[other] - error[at])
        group, width = np.concatenate(groups), np.concatenate(changed)
        rows = np.repeat(widths[None], len(group) + 1, axis=0)
        rows[np.arange(len(group)), group] = width
        values = self.task.budget.values(rows)
        return Table(group, width, np.concatenate(errors), values[:-1] - values[-1])


def _steps(at: int, start: int, stop: int) -> Vector:
    """Indices in start..stop-1, all of them if they are few, otherwise in geometric distances from `at`."""
    if stop - start <= _EVERY:
        return np.arange(start, stop)
    distances = np.unique(np.geomspace(1, stop - start, _EVERY // 2).astype(np.int64))
    return at - distances if start < at else at + distances
