"""Costs of masked networks: only weights that stay count."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from autoprune.budget.cost import Numbers, Vector


@dataclass(frozen=True, eq=False)
class Tabulated:
    """A cost that is a sum over the layers, each read from a table; it satisfies `autoprune.budget.Cost`.

    Attributes:
        name: The name that a budget uses.
        unit: What one unit of it is called.
        tables: Of every layer in order, the cost by width, shape (size + 1,); none may fall.
        fixed: What no width changes.
    """

    name: str
    unit: str
    tables: Sequence[Vector] = field(repr=False)
    fixed: int = 0

    def __call__(self, widths: Vector) -> Numbers:
        """Shape (...) for widths of shape (..., n)."""
        columns = [table[widths[..., i]] for i, table in enumerate(self.tables)]
        return np.asarray(np.sum(columns, axis=0) + self.fixed)
