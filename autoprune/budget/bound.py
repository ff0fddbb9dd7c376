"""A budget on one network: absolute limits, checked for many candidates at once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from autoprune.budget.cost import Cost, Numbers, Vector
from autoprune.budget.limit import Limit
from autoprune.budget.messages import show
from autoprune.display import columns
from autoprune.errors import BudgetError


@dataclass(frozen=True, eq=False)
class BoundBudget:
    """A budget whose limits are numbers. Made by `Budget.bind`.

    Attributes:
        text: What the user wrote, in canonical form.
        asked: The limits as written.
        sizes: Dense widths of the prunable groups, in network order.
        known: Every cost that can be counted, by name; the limited ones among them.

    Raises:
        BudgetError: A limit above the dense model's cost.
    """

    text: str
    asked: tuple[Limit, ...]
    sizes: tuple[int, ...]
    known: Mapping[str, Cost] = field(repr=False)

    def __post_init__(self) -> None:
        for name, limit in self.limits.items():
            if limit > self.dense[name]:
                raise BudgetError(
                    f"budget '{self.text}' must not exceed the dense model: {name} is limited to "
                    f"{show(limit)} but the dense model has only {show(self.dense[name])}; "
                    "lower the limit or drop it"
                )

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The limited costs."""
        return tuple(limit.name for limit in self.asked)

    @cached_property
    def dense(self) -> dict[str, float]:
        """Every known cost of the dense network; an int where the cost is a count."""
        return {name: value.item() for name, value in self.costs(np.array(self.sizes, np.int64)).items()}

    @cached_property
    def limits(self) -> dict[str, float]:
        """The largest cost that is allowed, by name; an int (rounded down) where the cost is a count."""
        return {limit.name: limit.absolute(self.dense[limit.name]) for limit in self.asked}

    @cached_property
    def bounds(self) -> Numbers:
        """The limits as an array of shape (k,), in the order of `names`."""
        return np.array([self.limits[name] for name in self.names])

    @cached_property
    def _limited(self) -> tuple[Cost, ...]:
        return tuple(self.known[name] for name in self.names)

    def values(self, widths: Vector) -> Numbers:
        """The limited costs, shape (..., k) in the order of `names`, of `widths` of shape (..., n)."""
        if len(self._limited) == 1:
            return np.asarray(self._limited[0](widths))[..., None]
        return np.stack([cost(widths) for cost in self._limited], axis=-1)

    def holds(self, widths: Vector) -> NDArray[np.bool_]:
        """Whether every limit holds, shape (...), for `widths` of shape (..., n)."""
        return np.asarray((self.values(widths) <= self.bounds).all(-1))

    def costs(self, widths: Vector) -> dict[str, Numbers]:
        """Every known cost (limited or not) by name, each of shape (...), for `widths` of shape (..., n)."""
        return {name: np.asarray(cost(widths)) for name, cost in self.known.items()}

    def shortfall(self, widths: Vector) -> dict[str, Numbers]:
        """By how much every limited cost exceeds its limit (0 where it holds), each of shape (...)."""
        excess = np.maximum(self.values(widths) - self.bounds, 0)
        return {name: excess[..., i] for i, name in enumerate(self.names)}

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        rows = [("cost", "dense", "at most", "asked")]
        for limit in self.asked:
            numbers = (show(self.dense[limit.name]), show(self.limits[limit.name]))
            rows.append((limit.name, *numbers, str(limit).partition("=")[2]))
        return columns(rows)

    def _repr_html_(self) -> str:
        return f"<pre>{self!r}</pre>"
