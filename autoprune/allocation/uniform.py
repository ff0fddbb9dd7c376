"""The same keep ratio everywhere."""

import numpy as np

from autoprune.budget.cost import Vector
from autoprune.task import Task


def uniform(task: Task) -> Vector:
    """Widths at the largest common keep ratio that meets the budget.

    The ratios between which any width changes are searched by bisection; the widths are rounded down to
    allowed ones.

    Args:
        task: The problem.

    Returns:
        Widths of shape (n,) that meet the budget.
    """
    allowed = [task.allowed(i) / size for i, size in enumerate(task.sizes)]
    ratios = np.unique(np.concatenate(allowed))
    low, high = 0, len(ratios)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if task.budget.holds(task.from_ratio(ratios[middle])) else (low, middle)
    best = task.from_ratio(ratios[low])
    return best if task.budget.holds(best) else task.min_widths.copy()
