"""Hard upper bounds on costs, as a user writes them: `macs=50%,params=0.5M`."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from autoprune.budget.bound import BoundBudget
from autoprune.budget.cost import Cost
from autoprune.budget.graph_cost import graph_costs
from autoprune.budget.limit import ALLOWED, Limit, check_known
from autoprune.budget.units import COSTS
from autoprune.display import columns
from autoprune.errors import BudgetError
from autoprune.graph.types import PruneGraph


@dataclass(frozen=True)
class Budget:
    """Upper bounds that must all hold at once. `Budget.parse(str(budget)) == budget`.

    Attributes:
        limits: At least one limit, one per cost, sorted by name.

    Raises:
        BudgetError: No limit, or a cost that is named twice.
    """

    limits: tuple[Limit, ...]

    def __post_init__(self) -> None:
        names = [limit.name for limit in self.limits]
        if not names:
            raise BudgetError(f"a budget must name at least one cost; {ALLOWED}")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise BudgetError(f"a budget must name every cost once, got '{twice[0]}' twice in '{self}'")
        object.__setattr__(self, "limits", tuple(sorted(self.limits)))

    @property
    def names(self) -> tuple[str, ...]:
        """The limited costs."""
        return tuple(limit.name for limit in self.limits)

    @classmethod
    def parse(cls, text: str, costs: Collection[str] = COSTS) -> "Budget":
        """Read a budget.

        Args:
            text: Limits separated by commas, for example `macs=50%`, `params=0.5M` or `latency=60%,size=2MB`.
                K, M and G mean 10^3, 10^6 and 10^9, KiB, MiB and GiB 2^10, 2^20 and 2^30 bytes; percentages
                are relative to the dense model. `latency` is in ms where no unit is given.
            costs: The names that may occur.

        Raises:
            BudgetError: The text does not parse, names an unknown cost or one cost twice, or a limit is 0
                or below or above 100%.
        """
        return cls(tuple(Limit.parse(part, costs) for part in text.split(",")))

    def bind(self, graph: PruneGraph, costs: Mapping[str, Cost] | None = None) -> BoundBudget:
        """Turn the limits into absolute numbers for one network.

        Args:
            graph: The network.
            costs: Further costs by name, beside those that follow from the graph (`macs`, `params`).

        Raises:
            BudgetError: A limit on a cost that nobody can count, or above the dense model's cost.
        """
        known = {**graph_costs(graph), **(costs or {})}
        for limit in self.limits:
            check_known(limit.name, known)
        return BoundBudget(str(self), self.limits, tuple(group.size for group in graph.prunable), known)

    def __str__(self) -> str:
        return ",".join(map(str, self.limits))

    def __repr__(self) -> str:
        return f"Budget.parse({str(self)!r})"

    def _repr_html_(self) -> str:
        rows = [("cost", "at most")]
        for limit in self.limits:
            name, _, bound = str(limit).partition("=")
            rows.append((name, f"{bound} of the dense network" if limit.relative else bound))
        return f"<pre>{columns(rows)}</pre>"
