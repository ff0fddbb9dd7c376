"""Costs of a candidate, and the hard upper bounds on them."""

from autoprune.budget.bound import BoundBudget
from autoprune.budget.budget import Budget
from autoprune.budget.cost import Cost, Numbers, Vector
from autoprune.budget.graph_cost import GraphCost, graph_costs
from autoprune.budget.limit import Limit
from autoprune.budget.units import COSTS

__all__ = ["COSTS", "BoundBudget", "Budget", "Cost", "GraphCost", "Limit", "Numbers", "Vector", "graph_costs"]
