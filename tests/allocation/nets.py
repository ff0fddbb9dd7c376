"""Tasks and scores for the allocations that rank units."""

import numpy as np

from autoprune.budget import Budget
from autoprune.graph.types import PruneGraph
from autoprune.task import Task
from tests.budget import graphs


def make_task(graph: PruneGraph, budget: str = "macs=50%", seed: int = 0, **settings: float) -> Task:
    curves = graphs.random_curves(graph, np.random.default_rng(seed))
    return Task(graph, Budget.parse(budget).bind(graph), curves, **settings)  # type: ignore[arg-type]


def make_scores(graph: PruneGraph, seed: int, ties: bool = False) -> dict[str, np.ndarray]:
    """Random scores; with ties only four different values."""
    rng = np.random.default_rng(seed)
    return {
        g.name: rng.integers(0, 4, g.size).astype(float) if ties else rng.standard_normal(g.size)
        for g in graph.prunable
    }


def between(graph: PruneGraph, spare: float, **settings: float) -> str:
    """Limits on all costs, `spare` of the way from the smallest reachable value to the dense one."""
    loose = make_task(graph, "macs=100%,params=100%", **settings)
    costs = {
        k: int(loose.smallest[k] + spare * (v - loose.smallest[k])) for k, v in loose.budget.dense.items()
    }
    return ",".join(f"{name}={limit}" for name, limit in costs.items())


def holds(task: Task, widths: list[int]) -> bool:
    """Whether the budget holds, by the graph's own plain sums."""
    full = dict(zip(task.names, widths, strict=True))
    costs = {"macs": task.graph.macs, "params": task.graph.params}
    return all(costs[name](full) <= limit for name, limit in task.budget.limits.items())


def rounded(task: Task, left: list[int]) -> list[int]:
    """The largest allowed widths up to `left`, or the smallest allowed ones."""
    return [
        max([w for w in task.allowed(i).tolist() if w <= n], default=int(task.allowed(i)[0]))
        for i, n in enumerate(left)
    ]


def remove_least(task: Task, scores: dict[str, np.ndarray], left: list[int], among: list[int]) -> bool:
    """Remove the one least important unit that the guard does not protect; whether there was one."""
    best: tuple[float, int] | None = None
    for i in among:
        if left[i] > task.allowed(i)[0]:
            lowest = sorted(scores[task.names[i]].tolist())[int(task.sizes[i]) - left[i]]
            if best is None or lowest < best[0]:
                best = lowest, i
    if best is not None:
        left[best[1]] -= 1
    return best is not None
