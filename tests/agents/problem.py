"""A small task with a hidden score: weights that differ by more than ten times, and interactions."""

from collections.abc import Mapping

import numpy as np

from autoprune.budget import Budget
from autoprune.envs import PruningEnv
from autoprune.score import Evaluation
from autoprune.task import Task
from tests.budget.graphs import padded_resnet, random_curves


def make_task(blocks: int = 2, seed: int = 0, budget: str = "macs=50%", **limits: float) -> Task:
    graph = padded_resnet(blocks)
    curves = random_curves(graph, np.random.default_rng(seed), convex=True)
    return Task(graph, Budget.parse(budget).bind(graph), curves, **limits)


class Hidden:
    """Minus a loss: a weighted sum of the curve errors and of products of neighbors.

    Attributes:
        asked: Every candidate that was evaluated, in order.
    """

    def __init__(self, task: Task, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self._task = task
        self._weights = 10.0 ** rng.uniform(-0.6, 0.6, len(task.names))
        self.asked: list[tuple[int, ...]] = []

    def __call__(self, widths: Mapping[str, int]) -> Evaluation:
        vector = self._task.vector(widths)
        self.asked.append(tuple(vector.tolist()))
        errors = self._task.errors(vector)
        loss = float(self._weights @ errors + 0.5 * (errors[1:] @ errors[:-1])) + 1e-3
        return Evaluation(-loss, {"kl": loss, "accuracy": float(np.exp(-loss))})


def make_env(task: Task | None = None, seed: int = 0, **settings: object) -> PruningEnv:
    task = task or make_task()
    return PruningEnv(task, Hidden(task, seed), **settings)  # type: ignore[arg-type]
