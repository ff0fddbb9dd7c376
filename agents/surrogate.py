"""Search in the additive model of the sensitivity curves."""

from collections.abc import Mapping
from typing import Any, ClassVar

import gymnasium
import numpy as np

from autoprune.agents.agent import State
from autoprune.agents.models import fit_weights, losses_of
from autoprune.agents.proposing import ProposingAgent
from autoprune.agents.walk import Outcome
from autoprune.allocation import greedy
from autoprune.budget.cost import Vector
from autoprune.errors import ArgumentError

_ATTEMPTS = 20
_WIDEN = 1.3


class SurrogateAgent(ProposingAgent):
    """Solves `min sum_i c_i e_i(width_i)` under the budget with weights c fitted to all candidates so far.

    The first candidate is the greedy allocation. Then the weights are fitted (`fit_weights`), multiplied
    by exp(sigma * z) with z standard normal and sigma drawn from `noises`, and the greedy solution for
    them is tried. Where it was tried before, sigma grows until it was not.

    Args:
        env: The environment.
        seed: Seed of the noise.
        noises: Standard deviations of the logarithm of the weights.

    Raises:
        ArgumentError: `noises` is empty or holds a number that is not positive.
    """

    name: ClassVar[str] = "surrogate"

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        *,
        seed: int = 0,
        noises: tuple[float, ...] = (0.05, 0.15, 0.3, 0.6),
    ) -> None:
        super().__init__(env, seed=seed)
        if not noises or not all(noise > 0 for noise in noises):
            raise ArgumentError(f"noises must be positive numbers, at least one, got {noises!r}")
        self.noises = tuple(noises)
        self._vectors = np.zeros((0, len(self.task.names)), np.int64)
        self._rewards = np.zeros(0)

    def propose(self, pending: Vector) -> Vector:
        """The greedy solution for noisy weights."""
        if not len(self._rewards) and not len(pending):
            return greedy(self.task)
        tried = np.vstack([self._vectors, pending])
        weights = np.ones(len(self.task.names))
        if len(self._rewards):
            weights = fit_weights(self.task.errors(self._vectors), losses_of(self._rewards))
        sigma = float(self._rng.choice(self.noises))
        for _ in range(_ATTEMPTS):
            vector = greedy(self.task, weights * np.exp(sigma * self._rng.standard_normal(len(weights))))
            if not (tried == vector).all(1).any():
                break
            sigma *= _WIDEN
        return vector

    def learn(self, outcome: Outcome) -> None:
        """Add the candidate to the data of the next fit."""
        self._vectors = np.vstack([self._vectors, outcome.vector])
        self._rewards = np.append(self._rewards, outcome.reward)

    def state_dict(self) -> State:
        """All candidates and their rewards."""
        return super().state_dict() | {"vectors": self._vectors.copy(), "rewards": self._rewards.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state_dict`."""
        super().load_state_dict(state)
        self._vectors = np.array(state["vectors"], np.int64)
        self._rewards = np.array(state["rewards"], np.float64)
