"""Allocations without a search, as agents of one episode."""

from typing import ClassVar

from autoprune.agents.proposing import ProposingAgent
from autoprune.allocation import greedy, uniform
from autoprune.budget.cost import Vector


class UniformAgent(ProposingAgent):
    """The same keep ratio everywhere (`autoprune.allocation.uniform`), once."""

    name: ClassVar[str] = "uniform"

    @property
    def finished(self) -> bool:
        """After one episode."""
        return self.episodes > 0

    def propose(self, pending: Vector) -> Vector:
        """The uniform widths."""
        return uniform(self.task)


class GreedyAgent(ProposingAgent):
    """The allocation from the sensitivity curves (`autoprune.allocation.greedy`), once."""

    name: ClassVar[str] = "greedy"

    @property
    def finished(self) -> bool:
        """After one episode."""
        return self.episodes > 0

    def propose(self, pending: Vector) -> Vector:
        """The greedy widths."""
        return greedy(self.task)
