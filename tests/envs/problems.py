"""Tasks and cheap evaluations that the tests of the environment share."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from autoprune.budget import Budget
from autoprune.graph.types import PruneGraph
from autoprune.task import Task
from tests.budget import graphs


@dataclass(frozen=True)
class Evaluation:
    """Stands in for an evaluated candidate."""

    score: float
    metrics: dict[str, float] = field(default_factory=dict)


def make_task(graph: PruneGraph, budget: str = "macs=50%", seed: int = 0, **settings: float) -> Task:
    curves = graphs.random_curves(graph, np.random.default_rng(seed))
    return Task(graph, Budget.parse(budget).bind(graph), curves, **settings)  # type: ignore[arg-type]


def random_task(seed: int, spare: float, **settings: float) -> Task:
    """A random network; `spare` moves the budget from the smallest reachable cost to the dense one."""
    graph = graphs.random_graph(np.random.default_rng(seed))
    loose = make_task(graph, "macs=100%,params=100%", **settings)
    costs = {
        k: int(loose.smallest[k] + spare * (v - loose.smallest[k])) for k, v in loose.budget.dense.items()
    }
    limits = [f"{name}={limit}" for name, limit in costs.items()]
    return make_task(graph, ",".join(limits[: 1 + seed % 2]), seed, **settings)


class Quadratic:
    """Evaluates a candidate by its squared errors, and counts how often it was asked."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.calls: list[dict[str, int]] = []

    def __call__(self, widths: Mapping[str, int]) -> Evaluation:
        self.calls.append(dict(widths))
        kl = float((self.task.errors(self.task.vector(widths)) ** 2).sum())
        return Evaluation(-kl, {"kl": kl, "accuracy": float(np.exp(-kl)), "loss": kl})
