"""Small repairs of a candidate that meets the budget, each of which lowers the error."""

import numpy as np

from autoprune.allocation.moves import Moves, Table
from autoprune.budget.cost import Numbers, Vector

_TOLERANCE = 1e-12

_SHARE = 1e-6
"""Prices below this share of what is left count alike."""

_TRIED = 64
"""How many changes of one table are tried, so that several groups change before the next table."""


def refill(moves: Moves, widths: Vector) -> Vector:
    """Spend what the budget leaves: enlarge single widths, first where it lowers the error most per cost.

    Args:
        moves: The problem with its weights.
        widths: Shape (n,), meeting the budget.

    Returns:
        Widths of shape (n,), meeting the budget, from which no single change lowers the error.
    """
    while True:
        slack = _slack(moves, widths)
        table = moves.of_all(widths)
        useful = np.flatnonzero((table.cost <= slack).all(1) & (table.error < -_TOLERANCE))
        if len(useful) == 0:
            return widths
        scarce = np.maximum(slack, _SHARE * moves.task.budget.bounds)
        price = (np.maximum(table.cost[useful], 0) / scarce).sum(1)
        order = np.argsort(table.error[useful] / np.maximum(price, _SHARE), kind="stable")[:_TRIED]
        widths = _changed(moves, widths, table, useful[order][:, None])


def exchange(moves: Moves, widths: Vector, rounds: int) -> Vector:
    """Reduce one group and enlarge another while that lowers the error, the best pairs first.

    The costs of the two changes are added. Where costs are sums of products of widths that is an upper
    bound of what both cost together; the exact cost is checked before a pair is taken.

    Args:
        moves: The problem with its weights.
        widths: Shape (n,), meeting the budget.
        rounds: At most so many rounds of exchanges between different groups.

    Returns:
        Widths of shape (n,), meeting the budget.
    """
    for _ in range(rounds):
        table = moves.of_all(widths)
        changed = _changed(moves, widths, table, _pairs(table, widths, _slack(moves, widths)))
        if np.array_equal(changed, widths):
            break
        widths = refill(moves, changed)
    return widths


def _changed(moves: Moves, widths: Vector, table: Table, candidates: Vector) -> Vector:
    """Make those changes (rows of the table, shape (m, rows at once)) that fit, in order, each group once."""
    changed = widths.copy()
    for rows in candidates:
        groups = table.group[rows]
        if (changed[groups] == widths[groups]).all():
            tried = changed.copy()
            tried[groups] = table.width[rows]
            changed = tried if moves.task.budget.holds(tried) else changed
    return changed


def _slack(moves: Moves, widths: Vector) -> Numbers:
    return moves.task.budget.bounds - moves.task.budget.values(widths)


def _pairs(table: Table, widths: Vector, slack: Numbers) -> Vector:
    """Rows of the table that lower the error together and fit, shape (m, 2), the best first."""
    larger = table.width > widths[table.group]
    up = np.flatnonzero(larger & (table.error < -_TOLERANCE))
    down = np.flatnonzero(~larger & (table.error < -table.error[up].min(initial=0.0)))
    change = table.error[down][:, None] + table.error[up]
    fits = (table.group[down][:, None] != table.group[up]) & (change < -_TOLERANCE)
    for cost, free in zip(table.cost.T, slack, strict=True):
        fits &= cost[down][:, None] + cost[up] <= free
    first, second = np.nonzero(fits)
    order = np.argsort(change[first, second], kind="stable")[:_TRIED]
    return np.stack([down[first[order]], up[second[order]]], axis=1)
