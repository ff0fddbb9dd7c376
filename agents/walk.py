"""One episode with actions that are known beforehand."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from autoprune.budget.cost import Vector
from autoprune.envs.env import PruningEnv
from autoprune.score.evaluation import Evaluation
from autoprune.task import Task


class Outcome(NamedTuple):
    """What an episode ended with.

    Attributes:
        vector: The widths that were executed, shape (n,).
        widths: The same by group name.
        reward: The whole reward.
        evaluation: The evaluation of the candidate.
        costs: All known costs by name.
    """

    vector: Vector
    widths: dict[str, int]
    reward: float
    evaluation: Evaluation
    costs: dict[str, float]


def outcome_of(task: Task, info: dict[str, Any]) -> Outcome:
    """Read the `info` of an episode's last step."""
    return Outcome(
        task.vector(info["widths"]), info["widths"], info["reward"], info["evaluation"], info["costs"]
    )


def actions_of(task: Task, vectors: Vector) -> NDArray[np.float64]:
    """The actions in [-1, 1] that ask for exactly these allowed widths, both of shape (..., n)."""
    ratios = vectors / task.sizes
    actions: NDArray[np.float64] = 2 * (ratios - task.lower) / (task.upper - task.lower) - 1
    return actions.clip(-1.0, 1.0)


def walk(env: PruningEnv, vector: Vector) -> Outcome:
    """Play one episode that asks for the widths `vector`, shape (n,); the wall may lower them."""
    env.reset()
    for action in actions_of(env.task, vector):
        *_, info = env.step(np.array([action]))
    return outcome_of(env.task, info)
