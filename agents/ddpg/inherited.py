"""What an agent has from a policy that was learned before."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from autoprune.agents.ddpg.algorithm import AMCDDPG
from autoprune.agents.ddpg.buffer import EpisodeBuffer
from autoprune.agents.policies.policy import Policy
from autoprune.agents.policies.zero_shot import compare
from autoprune.envs.env import PruningEnv
from autoprune.errors import ArgumentError
from autoprune.task import Task


class Inherited:
    """A policy that an agent begins with.

    Args:
        env: The environment.
        policy: The policy.

    Raises:
        ArgumentError: It does not fit the environment.

    Attributes:
        policy: The policy.
        env: The environment as the policy knows it.
        vector: Its own allocation for the task, shape (n,).
    """

    def __init__(self, env: PruningEnv, policy: Policy) -> None:
        policy.check_fits(env.task, env.observation_set)
        compare(policy, env.task)
        self.policy = policy
        self.vector = policy.allocate(env.task)
        self.env = reweighted(env, policy.weighted(env.task))
        self._buffer: EpisodeBuffer | None = None
        if policy.replay is not None:
            seen, actions, returns = policy.replay
            self._buffer = EpisodeBuffer(len(actions), env.observation_space, env.action_space, "cpu")
            self._buffer.restore(
                {
                    "observations": seen[:, None],
                    "next_observations": seen[:, None],
                    "actions": actions[:, None, None],
                    "rewards": returns[:, None],
                    "dones": np.ones((len(actions), 1), np.float32),
                    "pos": 0,
                    "full": True,
                    "baseline": None,
                }
            )

    def connect(self, rng: np.random.Generator) -> None:
        """Draw from this generator."""
        if self._buffer is not None:
            self._buffer.rng = rng

    def learn(self, algorithm: AMCDDPG, steps: int) -> None:
        """Learn from the steps that the policy brought along, if it did."""
        if self._buffer is not None and steps:
            algorithm.train_on(self._buffer, steps)


def reweighted(env: PruningEnv, task: Task) -> PruningEnv:
    """The same environment for the same network and budget with other curves."""
    assert env.spec is not None
    return env if task is env.task else PruningEnv(**env.spec.kwargs | {"task": task})


def settings_with(policy: Policy, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The changed settings with those that the policy fixes: the shape of its networks.

    Raises:
        ArgumentError: A change contradicts the policy.
    """
    if not isinstance(policy, Policy):
        raise ArgumentError(f"init_policy must be an autoprune.Policy, got {type(policy).__name__}")
    fixed = {"hidden": policy.card.hidden, "around_reference": policy.card.around_reference}
    for name, value in fixed.items():
        given = changes.get(name, value)
        if (tuple(given) if isinstance(given, list) else given) != value:
            raise ArgumentError(f"{name} must be that of the given policy, {value!r}, got {given!r}")
    return {**changes, **fixed}
