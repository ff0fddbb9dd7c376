"""Sizes of many tensors for many candidates at once."""

from collections.abc import Sequence

import numpy as np

from autoprune.budget.cost import Vector
from autoprune.graph.types import Extent, PruneGraph


class Shapes:
    """Shapes whose dimensions are sums of widths, compiled to one matrix product.

    Args:
        graph: Says which groups have a place in a vector of widths; all others count as dense.
        shapes: One sequence of extents per tensor, empty for a scalar.
    """

    def __init__(self, graph: PruneGraph, shapes: Sequence[Sequence[Extent]]) -> None:
        positions = {group.name: i for i, group in enumerate(graph.prunable)}
        dense = {group.name: group.size for group in graph.groups}
        self.ranks = tuple(len(shape) for shape in shapes)
        rank = max([1, *self.ranks])
        self._fixed = np.ones((len(shapes), rank), np.int64)
        self._by = np.zeros((len(positions), len(shapes), rank), np.int64)
        for i, shape in enumerate(shapes):
            for d, extent in enumerate(shape):
                self._fixed[i, d] = extent.fixed
                for name, k in extent.parts:
                    if name in positions:
                        self._by[positions[name], i, d] += k
                    else:
                        self._fixed[i, d] += k * dense[name]

    def dims(self, rows: Vector) -> Vector:
        """Sizes of all dimensions, shape (b, tensors, largest rank), 1 where a tensor has fewer."""
        count, rank = self._fixed.shape
        flat = rows.astype(np.int64) @ self._by.reshape(len(self._by), count * rank)
        return np.asarray(flat.reshape(len(rows), count, rank) + self._fixed)

    def elements(self, rows: Vector) -> Vector:
        """Number of elements of every tensor, shape (b, tensors), for `rows` of shape (b, n)."""
        return np.asarray(self.dims(rows).prod(-1))
