"""MACs and parameters of many candidates at once, exactly what the graph counts one by one."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from autoprune.budget.cost import Cost, Numbers, Vector
from autoprune.budget.polynomial import Polynomial, Widths, expand
from autoprune.errors import ModelError
from autoprune.graph.types import PruneGraph, Term

_EXACT_FLOAT = 2**53
_EXACT_INT = 2**63


class GraphCost:
    """A cost that the trace knows as a sum of terms, compiled to arrays.

    Summands are non-negative, so no partial sum exceeds the dense value: below 2^53 the fast float64
    arithmetic is exact, above it int64 is used.

    Attributes:
        name: The name that a budget uses.
        unit: What one unit of the cost is called in messages.

    Raises:
        ModelError: The dense cost does not fit 64 bits.
    """

    def __init__(self, graph: PruneGraph, terms: Sequence[Term], name: str, unit: str) -> None:
        self.name, self.unit = name, unit
        dense = {group.name: group.size for group in graph.groups}
        largest = sum(term.coefficient * prod(factor(dense) for factor in term.factors) for term in terms)
        if largest >= _EXACT_INT:
            raise ModelError(
                f"the dense cost '{name}' must stay below 2^63, got about {largest:.2e}; "
                "trace the model with smaller example inputs"
            )
        positions = {group.name: i for i, group in enumerate(graph.prunable)}
        self._widths = Widths(positions, {k: v for k, v in dense.items() if k not in positions})
        self._dtype = np.float64 if largest < _EXACT_FLOAT else np.int64
        self._n = len(positions)
        monomials, self._divided = expand(terms, self._widths)
        self._polynomial = Polynomial.compile(monomials, self._n, self._dtype)

    def __call__(self, widths: Vector) -> Numbers:
        """The cost of every candidate, int64 of shape (...) for `widths` of shape (..., n)."""
        widths = np.asarray(widths)
        rows = widths.reshape(prod(widths.shape[:-1]), self._n).astype(self._dtype)
        total = self._polynomial(rows).astype(np.int64)
        if self._divided:
            total += self._quotients(rows.astype(np.int64))
        return total.reshape(widths.shape[:-1])

    def _quotients(self, rows: Vector) -> Vector:
        full: dict[str, Any] = {name: rows[:, i] for name, i in self._widths.positions.items()}
        full |= self._widths.locked
        total = np.zeros(len(rows), np.int64)
        for term in self._divided:
            total += term(full)
        return total

    def __repr__(self) -> str:
        return f"GraphCost({self.name!r}, {self._n} prunable groups)"


def graph_costs(graph: PruneGraph) -> dict[str, Cost]:
    """The costs that follow from the trace alone, by name.

    Args:
        graph: A traced network.

    Returns:
        `macs` (multiply-accumulates of one forward pass of the example inputs) and `params` (parameter
        elements), each equal to `graph.macs` and `graph.params` for every candidate.

    Raises:
        ModelError: A dense cost does not fit 64 bits.
    """
    return {
        "macs": GraphCost(graph, graph.mac_terms, "macs", "MACs"),
        "params": GraphCost(graph, graph.param_terms, "params", "parameters"),
    }
