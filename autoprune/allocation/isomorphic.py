"""Widths from rankings among alike groups."""

from collections import Counter
from collections.abc import Hashable

import numpy as np

from autoprune.allocation.ranked import Scores, checked_scores, removal_order, widths_without
from autoprune.budget.cost import Vector
from autoprune.graph.types import Extent, Group, PruneGraph
from autoprune.task import Task


def isomorphic(task: Task, scores: Scores) -> Vector:
    """Compare like with like (Isomorphic Pruning, Fang et al., ECCV 2024, arXiv:2407.04616).

    Groups with the same `pattern` make a class. The units of a class are ranked together, those of
    different classes never, and every class loses the same share of its units: at the share s a class of N
    units loses its floor(s * N) least important ones. The smallest s that meets the budget is taken. A
    group never falls below its guard; protected units count in N but are passed over, so that a class gives
    up other units instead, or less than s once all that is left of it is protected. Widths are rounded
    down to allowed ones at the end; of equal scores those of the earlier group go first.

    Args:
        task: The problem.
        scores: By group name, shape (size,), higher = stays longer; comparable within a class.

    Returns:
        Widths of shape (n,) that meet the budget.

    Raises:
        ArgumentError: A group without scores, or scores of another shape or not finite.
    """
    checked = checked_scores(task, scores)
    orders, totals = [], []
    for positions in classes(task.graph):
        orders.append(removal_order(task, checked, np.array(positions)))
        totals.append(int(task.sizes[list(positions)].sum()))
    shares = _shares(totals)
    low, high = -1, len(shares) - 1
    while high - low > 1:
        middle = (low + high) // 2
        fits = task.budget.holds(_at(task, orders, totals, shares[middle]))
        low, high = (low, middle) if fits else (middle, high)
    return _at(task, orders, totals, shares[high])


def classes(graph: PruneGraph) -> tuple[tuple[int, ...], ...]:
    """Positions of the prunable groups of every class, in network order of their first members."""
    found: dict[Hashable, list[int]] = {}
    for position, group in enumerate(graph.prunable):
        found.setdefault(pattern(graph, group), []).append(position)
    return tuple(map(tuple, found.values()))


def pattern(graph: PruneGraph, group: Group) -> Hashable:
    """What two groups must have in common to be compared.

    For every convolution and linear layer that the group runs through: its kind, its kernel size, where the
    units lie in it (in the outputs, in the inputs, or in both), whether one unit fills several positions
    there, and whether the layer is grouped; each as often as it occurs, in any order. Beside these the
    number of vectors (biases, normalization weights) that the units run through. Sizes of groups and of
    feature maps do not count: the blocks of all stages of a network are alike.
    """
    layers = Counter(
        (layer.kind, layer.kernel_size, into, out, layer.groups.fixed > 1 or bool(layer.groups.parts))
        for layer in graph.layers
        if (into := _span(layer.inputs, group.name)) + (out := _span(layer.outputs, group.name))
    )
    vectors = sum(
        len(term.factors) == 1 and _span(term.factors[0], group.name) > 0 for term in graph.param_terms
    )
    return frozenset(layers.items()), vectors


def _span(extent: Extent, name: str) -> int:
    """0 if the group is not in there, 1 if each unit fills one position, 2 if several."""
    return min(2, sum(k for part, k in extent.parts if part == name))


def _shares(totals: list[int]) -> list[tuple[int, int]]:
    """All shares k / N at which any class loses one more unit, as (k, N), rising from 0 to 1."""
    distinct = {(k / total): (k, total) for total in set(totals) for k in range(total + 1)}
    return [distinct[share] for share in sorted(distinct)]


def _at(task: Task, orders: list[Vector], totals: list[int], share: tuple[int, int]) -> Vector:
    removed = np.zeros(len(task.names), np.int64)
    for order, total in zip(orders, totals, strict=True):
        count = share[0] * total // share[1]
        removed += np.bincount(order[:count], minlength=len(removed))
    return widths_without(task, removed)
