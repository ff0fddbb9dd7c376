"""Many episodes in lock step, as stable-baselines3 takes them."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from gymnasium import Wrapper
from gymnasium.spaces import Box
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from autoprune.envs.credit import Credit
from autoprune.envs.episodes import Episodes, Evaluate
from autoprune.envs.observation import Floats, Observation, make_observation
from autoprune.envs.rewards import Reward, make_reward
from autoprune.task import Task

Indices = int | Iterable[int] | None


class PruningVecEnv(VecEnv):
    """`num_envs` copies of `PruningEnv` that share one computation per step.

    All episodes have equal length, so that they end and restart together. With a cheap `evaluate` this
    gives many more steps per second than single environments.

    Args:
        task: The network, the budget and the allowed widths.
        evaluate: Called once per episode with the widths by group name.
        num_envs: Number of episodes side by side.
        reward: A name or a callable.
        observation: A name or an observation set.
        credit: Pays rewards on the way.

    Raises:
        ArgumentError: An unknown name of a reward or an observation set.
    """

    def __init__(
        self,
        task: Task,
        evaluate: Evaluate,
        num_envs: int,
        *,
        reward: str | Reward = "kl",
        observation: str | Observation = "default",
        credit: Credit | None = None,
    ) -> None:
        self.task = task
        self.render_mode = None
        self.observation_set = make_observation(observation)
        self.observation = self.observation_set.bind(task)
        self._episodes = Episodes(task, evaluate, make_reward(reward), self.observation, credit, num_envs)
        self._pending: NDArray[np.floating] | None = None
        super().__init__(num_envs, self.observation.space, Box(-1.0, 1.0, (1,), np.float32))

    def reset(self) -> Floats:
        """Start all episodes; the first observations, shape (num_envs, features)."""
        self._reset_seeds()
        self._reset_options()
        return self._episodes.reset()

    def step_async(self, actions: NDArray[np.floating]) -> None:
        """Take the actions, shape (num_envs, 1)."""
        self._pending = actions

    def step_wait(self) -> tuple[Floats, Floats, NDArray[np.bool_], list[dict[str, Any]]]:
        """Decide one group in every episode; after the last group the next episodes begin at once."""
        assert self._pending is not None, "step_async comes first"
        observations, rewards, done, infos = self._episodes.step(self._pending)
        for info, last in zip(infos, observations, strict=True):
            info["TimeLimit.truncated"] = False
            if done:
                info["terminal_observation"] = last
        if done:
            observations = self._episodes.reset()
        return observations, rewards.astype(np.float32), np.full(self.num_envs, done), infos

    def close(self) -> None:
        """Nothing to release."""

    def get_attr(self, attr_name: str, indices: Indices = None) -> list[Any]:
        """The attribute, once per episode."""
        return [getattr(self, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Indices = None) -> None:
        """Set the attribute for all episodes: they share it."""
        setattr(self, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Indices = None, **kwargs: Any) -> list[Any]:
        """Call the method once per episode."""
        return [getattr(self, method_name)(*args, **kwargs) for _ in self._get_indices(indices)]

    def env_is_wrapped(
        self, wrapper_class: type[Wrapper[Any, Any, Any, Any]], indices: Indices = None
    ) -> list[bool]:
        """Never: there are no single environments to wrap."""
        return [False for _ in self._get_indices(indices)]

    def get_images(self) -> Sequence[None]:
        """Nothing to see."""
        return [None] * self.num_envs
