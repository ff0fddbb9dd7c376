"""Random search."""

from typing import ClassVar

from autoprune.agents.proposing import ProposingAgent
from autoprune.agents.scaling import scale_to_budget
from autoprune.budget.cost import Vector


class RandomAgent(ProposingAgent):
    """Independent uniform keep ratios, scaled to the budget.

    Random actions alone would waste most of the budget or spend it on the groups that come first, so that
    the wall squeezes the last ones; scaling all ratios by one factor makes every candidate use the budget.
    """

    name: ClassVar[str] = "random"

    def propose(self, pending: Vector) -> Vector:
        """Fresh random widths."""
        ratios = self._rng.uniform(max(self.task.lower, 1e-3), self.task.upper, len(self.task.names))
        return scale_to_budget(self.task, ratios)
