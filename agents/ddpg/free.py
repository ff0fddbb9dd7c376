"""Episodes that cost no evaluation."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from autoprune.agents.ddpg.noise import truncated_normal
from autoprune.agents.walk import actions_of
from autoprune.budget.cost import Vector
from autoprune.envs.env import PruningEnv
from autoprune.envs.episodes import Episodes
from autoprune.score.evaluation import Evaluation

Act = Callable[[NDArray[np.float32]], NDArray[np.float64]]
"""Actions (b,) of observations (b, features)."""


class Rollouts(NamedTuple):
    """Finished free episodes.

    Attributes:
        observations: Shape (b, n + 1, features).
        actions: Executed actions, shape (b, n).
        vectors: Widths, shape (b, n).
    """

    observations: NDArray[np.float32]
    actions: NDArray[np.float32]
    vectors: Vector


class FreeEpisodes:
    """`count` episodes in lock step through the dynamics of an environment, without its evaluation.

    Args:
        env: The environment.
        count: How many episodes.
    """

    def __init__(self, env: PruningEnv, count: int) -> None:
        self._task, self._count = env.task, count
        self._episodes = Episodes(env.task, _nothing, _no_reward, env.observation, None, count)

    def explore(self, act: Act, sigma: float, rng: np.random.Generator) -> Rollouts:
        """Follow a policy with noise of several strengths, on all steps, half of them or few.

        The first episode has no noise. Perturbing few steps keeps most of what the policy has learned, which
        matters the more, the more steps there are.

        Args:
            act: The policy.
            sigma: Standard deviation of the noise; single episodes have 0.22 to 1.65 times as much.
            rng: Source of randomness.
        """
        n = len(self._task.names)
        sigmas = sigma * np.exp(rng.uniform(-1.5, 0.5, (self._count, 1)))
        share = rng.choice([1.0, 0.5, min(1.0, 1.5 / n)], (self._count, 1))
        noisy = sigmas * (rng.random((self._count, n)) < share)
        noisy[0] = 0.0
        return self.walk(lambda at, seen: truncated_normal(act(seen).clip(-1, 1), noisy[:, at], rng))

    def follow(self, vectors: Vector) -> Rollouts:
        """Walk to given widths, shape (count, n)."""
        actions = actions_of(self._task, vectors)
        return self.walk(lambda at, seen: actions[:, at])

    def walk(self, choose: Callable[[int, NDArray[np.float32]], NDArray[np.float64]]) -> Rollouts:
        """Play all episodes with the actions (count,) that `choose` makes of step and observations."""
        seen = [self._episodes.reset()]
        for at in range(len(self._task.names)):
            seen.append(self._episodes.step(choose(at, seen[-1])[:, None]).observations)
        vectors = self._episodes.widths
        return Rollouts(np.stack(seen, axis=1), actions_of(self._task, vectors).astype(np.float32), vectors)


def _nothing(widths: Mapping[str, int]) -> Evaluation:
    return Evaluation(0.0)


def _no_reward(evaluation: Evaluation, costs: Mapping[str, float]) -> float:
    return 0.0
