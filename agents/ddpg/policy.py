"""What a search has learned, apart from the network that it was learned on."""

from copy import deepcopy
from typing import Any

import numpy as np
import torch
from stable_baselines3.td3.policies import Actor
from torch import Tensor

from autoprune.agents.ddpg.storage import module_state
from autoprune.budget.cost import Vector
from autoprune.envs.observation import Observation, State
from autoprune.task import Task


class Policy:
    """A copy of the actor of a `DDPGAgent` with the observation set that it understands.

    Args:
        actor: The actor; copied.
        observation: The observation set, not bound to a task.
        hidden: Its hidden layers.
        around_reference: Whether its actions are relative to the reference allocation.
    """

    def __init__(
        self, actor: Actor, observation: Observation, hidden: tuple[int, ...], around_reference: bool
    ) -> None:
        self._actor = deepcopy(actor)
        self.observation = observation
        self.hidden, self.around_reference = hidden, around_reference

    @property
    def tensors(self) -> dict[str, Tensor]:
        """A copy of the weights."""
        return module_state(self._actor)

    @property
    def config(self) -> dict[str, Any]:
        """All but the weights, as JSON values."""
        return {
            "observation": self.observation.name,
            "observation_version": self.observation.version,
            "hidden": list(self.hidden),
            "around_reference": self.around_reference,
        }

    def decide(self, task: Task) -> Vector:
        """One roll-out without noise and without evaluation: widths of shape (n,) that meet the budget."""
        bound = self.observation.bind(task)
        vector, executed = task.max_widths.copy()[None], np.ones(1, np.float32)
        for at in range(len(task.names)):
            seen = torch.from_numpy(bound(State(at, vector, executed)))
            with torch.no_grad():
                action = float(self._actor(seen)[0, 0])
            ratio = task.lower + (np.clip(action, -1, 1) + 1) / 2 * (task.upper - task.lower)
            width = min(int(task.width_at(at, np.array([ratio]))[0]), task.wall(at, vector[0]))
            vector[0, at] = width
            taken = 2 * (width / task.sizes[at] - task.lower) / (task.upper - task.lower) - 1
            executed = np.array([np.clip(taken, -1, 1)], np.float32)
        result: Vector = vector[0]
        return result
