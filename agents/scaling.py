"""Keep ratios of any size, brought onto the budget."""

import numpy as np
from numpy.typing import NDArray

from autoprune.budget.cost import Vector
from autoprune.task import Task

_HALVINGS = 40


def scale_to_budget(task: Task, ratios: NDArray[np.floating]) -> Vector:
    """Widths in the proportions of `ratios` that use the budget as far as one common factor can.

    The ratios are multiplied by the largest factor with which the rounded widths, clipped to the allowed
    range, still meet the budget. Unlike the action wall this treats early and late groups alike.

    Args:
        task: The problem.
        ratios: Positive keep ratios, shape (n,).

    Returns:
        Widths of shape (n,) that meet the budget.
    """
    low, high = 0.0, float(1 / np.min(ratios))
    if task.budget.holds(task.from_ratio(high * ratios)):
        return task.from_ratio(high * ratios)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if task.budget.holds(task.from_ratio(middle * ratios)) else (low, middle)
    return task.from_ratio(low * ratios)
