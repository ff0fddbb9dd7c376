"""Units by their score, within the guard of every group."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoprune.budget.cost import Vector
from autoprune.errors import ArgumentError
from autoprune.task import Task

Scores = Mapping[str, Any]
"""By group name, one score per unit: a tensor or an array of shape (size,), higher = stays longer."""


def checked_scores(task: Task, scores: Scores) -> list[NDArray[np.float64]]:
    """The scores of every prunable group in network order.

    Raises:
        ArgumentError: A group is missing, or its scores are not `size` finite numbers.
    """
    found = []
    for name, size in zip(task.names, task.sizes.tolist(), strict=True):
        if name not in scores:
            raise ArgumentError(f"scores must hold every prunable group, but '{name}' is missing")
        given = scores[name]
        array = np.asarray(given.detach().cpu() if hasattr(given, "detach") else given, np.float64)
        if array.shape != (size,) or not np.isfinite(array).all():
            raise ArgumentError(
                f"scores['{name}'] must be {size} finite numbers, one per unit, got {_described(array)}"
            )
        found.append(array)
    return found


def removal_order(task: Task, scores: list[NDArray[np.float64]], groups: Vector) -> Vector:
    """In which order the removable units of some groups go: the position of the group of each.

    The guard first: of every group the best `task.min_widths` units cannot be removed and are left out.
    The others go by rising score; of equals that of the earlier group goes first.

    Args:
        task: The problem.
        scores: One array per prunable group.
        groups: Positions of the groups that are ranked together.

    Returns:
        Shape (removable units,).
    """
    removable = [np.sort(scores[i])[: task.sizes[i] - task.min_widths[i]] for i in groups]
    owner = np.repeat(groups, [len(part) for part in removable])
    order: Vector = owner[np.argsort(np.concatenate([np.empty(0), *removable]), kind="stable")]
    return order


def widths_without(task: Task, removed: Vector) -> Vector:
    """Widths of shape (n,) once `removed` (n,) units are gone, rounded down to allowed ones."""
    return task.round_down(task.sizes - removed)


def _described(array: NDArray[np.float64]) -> str:
    bad = array[~np.isfinite(array)]
    return f"{bad.flat[0]} among them" if bad.size else f"shape {array.shape}"
