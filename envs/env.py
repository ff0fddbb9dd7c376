"""The pruning environment."""

from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Space
from numpy.typing import NDArray

from autoprune.envs.credit import Credit
from autoprune.envs.episodes import Episodes, Evaluate
from autoprune.envs.observation import Floats, Observation, make_observation
from autoprune.envs.registration import ID
from autoprune.envs.rewards import Reward, make_reward
from autoprune.task import Task


class PruningEnv(gymnasium.Env[Floats, Floats]):
    """Walks through the prunable groups of a network and decides how much of each stays.

    ## Action space
    `Box(-1, 1, (1,), float32)`: the keep ratio of the current group, -1 for `task.lower`, 1 for `task.upper`.
    The ratio times the size is rounded down to an allowed width (a multiple of `task.round_to`, at least
    the smallest allowed). If the budget could then no longer be met even with every later group at its
    smallest width, the width is lowered to the largest with which it can (the action wall: AMC, He et al.
    2018, arXiv:1802.03494, Algorithm 1). So every episode ends within the budget. Actions outside the space
    are clipped to it; NaN and infinity are an error.

    ## Observation space
    A float32 `Box` whose size does not depend on the network, defined by the observation set:
    `default` (`DefaultObservation`, scaled alike for every network), `amc` (`AMCObservation`, the eleven
    features of AMC), or an object with `name`, `version` and `bind(task)`. `env.observation.names` lists
    the features.

    ## Rewards
    0 on every step but the last, which gives `reward(evaluation, costs)` of the candidate: `kl`,
    `accuracy`, `accuracy_guaranteed`, or a callable. With `credit`, every step pays what it returns, and
    the last one the rest, so that the undiscounted return stays exactly the reward.

    ## Starting state
    Always the same: the first prunable group in network order, nothing decided. The environment itself is
    deterministic: the same actions give the same trajectory whatever the seed, as far as `evaluate` does.

    ## Episode end
    Terminates when the last prunable group is decided; never truncates.

    ## Info
    Every step: `group` (its name), `width`, and `executed_action` (shape (1,), the action that asks for
    exactly this width: what an agent should learn from). The last step also: `widths` (by group name),
    `costs` (by name), `evaluation`, and `reward` (the whole, before credit is taken off).

    ## Arguments
    Also `gymnasium.make("autoprune/Pruning-v0", task=..., evaluate=...)` after `import autoprune.envs`.

    Args:
        task: The network, the budget and the allowed widths.
        evaluate: Called once per episode with the widths by group name.
        reward: A name or a callable.
        observation: A name or an observation set.
        credit: Pays rewards on the way; see `CurveCredit`.

    Raises:
        ArgumentError: An unknown name of a reward or an observation set.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - Gymnasium's own declaration is not a ClassVar

    def __init__(
        self,
        task: Task,
        evaluate: Evaluate,
        *,
        reward: str | Reward = "kl",
        observation: str | Observation = "default",
        credit: Credit | None = None,
    ) -> None:
        settings = {"reward": reward, "observation": observation, "credit": credit}
        self.spec = replace(gymnasium.spec(ID), kwargs={"task": task, "evaluate": evaluate, **settings})
        self.task = task
        self.observation_set = make_observation(observation)
        self.observation = self.observation_set.bind(task)
        self.observation_space: Space[Any] = self.observation.space
        self.action_space: Space[Any] = Box(-1.0, 1.0, (1,), np.float32)
        self._episodes = Episodes(task, evaluate, make_reward(reward), self.observation, credit, 1)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats, dict[str, Any]]:
        """Start an episode; no options are known, all are ignored."""
        super().reset(seed=seed)
        return self._episodes.reset()[0], {}

    def step(self, action: NDArray[np.floating]) -> tuple[Floats, float, bool, bool, dict[str, Any]]:
        """Decide one group.

        Raises:
            ResetNeeded: The episode is over.
            ArgumentError: An action of another shape or not finite.
            ModelError: The reward of the candidate is not finite.
        """
        observations, rewards, done, infos = self._episodes.step(np.asarray(action)[None])
        return observations[0], float(rewards[0]), done, False, infos[0]
