"""What a cost is to everything else: a function of the widths that never falls when a width grows."""

from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Vector: TypeAlias = NDArray[np.int64]
"""Widths of the prunable groups in network order, shape (..., n)."""

Numbers: TypeAlias = NDArray[Any]
"""Costs, int64 if they are counts and float64 if they were measured."""


class Cost(Protocol):
    """A cost of a candidate, for example MACs, parameters, or milliseconds from a measured table.

    Anything with these three members is a cost: a budget, the action wall and the allocations ask no more.
    """

    @property
    def name(self) -> str:
        """The name that a budget uses, for example `macs`."""
        ...

    @property
    def unit(self) -> str:
        """What one unit of the cost is called, for example `MACs` or `ms`."""
        ...

    def __call__(self, widths: Vector) -> Numbers:
        """The cost of every candidate.

        Args:
            widths: Shape (..., n), widths of `graph.prunable` in that order, each in 1..size. Not checked.

        Returns:
            Shape (...), integers or floats. Must not fall when any single width grows: the action wall
            and the feasibility check rest on it.
        """
        ...
