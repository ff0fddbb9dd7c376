"""From the largest widths down to the budget, always by the cheapest step."""

import heapq
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from autoprune.allocation.moves import Moves
from autoprune.budget.cost import Vector

_TINY = 1e-300


class Step(NamedTuple):
    """The best reduction of one group; steps are ordered by price.

    Attributes:
        price: Rise in error per share of the budget's initial excess that is saved; infinite if nothing is.
        position: Position of the group.
        width: Its new width.
        saved: What the step saves of every limited cost.
        age: How many steps had been taken when this one was computed.
    """

    price: float
    position: int
    width: int
    saved: tuple[float, ...]
    age: int


def descend(moves: Moves) -> Vector:
    """Reduce widths until the budget holds.

    Prices are kept in a heap and looked at again only when they come up: reducing one group makes the
    savings of another no larger (costs are sums of products of widths), so an old price is a lower bound.

    Args:
        moves: The problem with its weights.

    Returns:
        Widths of shape (n,). They may miss the budget if no single group saves anything any more.
    """
    budget = moves.task.budget
    widths = moves.task.max_widths.copy()
    excess = budget.values(widths) - budget.bounds
    scale = 1.0 / np.where(excess > 0, excess, 1.0)
    heap = [_best(moves, i, widths, scale * (excess > 0), 0) for i in range(len(widths))]
    heapq.heapify(heap)
    taken = 0
    while (excess > 0).any() and np.isfinite(heap[0].price):
        step = heap[0]
        if step.age == taken:
            widths[step.position] = step.width
            excess = excess - step.saved
            taken += 1
        heapq.heapreplace(heap, _best(moves, step.position, widths, scale * (excess > 0), taken))
    return widths


def _best(moves: Moves, position: int, widths: Vector, scale: NDArray[np.float64], age: int) -> Step:
    smaller, errors, saved = moves.of_group(position, widths)
    if len(smaller) == 0:
        return Step(np.inf, position, int(widths[position]), (0.0,) * len(scale), age)
    relief = saved @ scale
    prices = np.where(relief > 0, errors / np.maximum(relief, _TINY), np.inf)
    best = int(prices.argmin())
    return Step(float(prices[best]), position, int(smaller[best]), tuple(saved[best].tolist()), age)
