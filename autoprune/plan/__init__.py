"""Plans: which units of a network stay, as JSON that can be checked and carries no code."""

from autoprune.plan.make import make_plan
from autoprune.plan.schema import Costs, Exported, Kept, Plan

__all__ = ["Costs", "Exported", "Kept", "Plan", "make_plan"]
