"""Widths from one ranking of all units of the network."""

import numpy as np

from autoprune.allocation.ranked import Scores, checked_scores, removal_order, widths_without
from autoprune.budget.cost import Vector
from autoprune.task import Task


def global_ranking(task: Task, scores: Scores) -> Vector:
    """Remove the least important units of the whole network, one after the other, until the budget holds.

    Units of all groups are ranked together by their scores, so the scores must be comparable between
    groups: normalize them where they are not (a sum of squares grows with the filter, for example), or use
    `isomorphic`. A group never falls below its guard (`lower`, `floor_units` of the task), whatever its
    scores. Of equal scores those of the earlier group go first. After every removal the widths are rounded
    down to allowed ones; the fewest removals that meet the budget are made, hence nothing is removed that
    the budget leaves room for in this order.

    Args:
        task: The problem.
        scores: By group name, shape (size,), higher = stays longer; what a `Criterion` gives. The units that
            stay are the best ones of each group in the same scores.

    Returns:
        Widths of shape (n,) that meet the budget.

    Raises:
        ArgumentError: A group without scores, or scores of another shape or not finite.
    """
    n = len(task.names)
    order = removal_order(task, checked_scores(task, scores), np.arange(n))
    low, high = -1, len(order)  # `high` removals meet the budget, `low` do not
    while high - low > 1:
        middle = (low + high) // 2
        fits = task.budget.holds(_after(task, order, middle))
        low, high = (low, middle) if fits else (middle, high)
    return _after(task, order, high)


def _after(task: Task, order: Vector, count: int) -> Vector:
    return widths_without(task, np.bincount(order[:count], minlength=len(task.names)))
