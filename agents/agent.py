"""What every agent is: something that plays one episode after the other and learns from them."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, cast

import gymnasium
import numpy as np

from autoprune.agents.episode import Episode
from autoprune.agents.randomness import generator_from, generator_state
from autoprune.agents.walk import Outcome
from autoprune.envs.env import PruningEnv
from autoprune.errors import ArgumentError

Announce = Callable[[Sequence[dict[str, int]]], None]
"""Told the candidates (widths by group name) of the next episodes, before the first of them is played."""

State = dict[str, Any]
"""Tensors, numpy arrays and JSON values by name."""


class Agent(ABC):
    """Plays episodes on a pruning environment and learns from their rewards.

    No agent depends on how many episodes it will play, so that a longer search begins with the episodes of
    a shorter one. No agent reads or changes a global random state.

    Args:
        env: The environment; wrappers around a `PruningEnv` are taken off.
        seed: Source of all randomness of the agent, at least 0.

    Attributes:
        task: The problem that the environment poses.
        episodes: How many episodes are finished.

    Raises:
        ArgumentError: A negative or non-integer seed, or an environment that is no `PruningEnv`.
    """

    name: ClassVar[str]

    def __init__(self, env: gymnasium.Env[Any, Any], *, seed: int = 0) -> None:
        inner = env.unwrapped
        if not isinstance(inner, PruningEnv):
            raise ArgumentError(
                f"env must be a PruningEnv, or wrappers around one, got {type(inner).__name__}"
            )
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
            raise ArgumentError(f"seed must be an integer of at least 0, got {seed!r}")
        self.env: PruningEnv = inner
        self.task = inner.task
        self.seed = int(seed)
        self.episodes = 0
        self._rng = np.random.default_rng(self.seed)

    @property
    def finished(self) -> bool:
        """Whether another episode would only repeat the last one."""
        return False

    def look_ahead(self, count: int, announce: Announce) -> None:
        """Choose the candidates of `count` episodes at a time from now on, and announce them.

        Args:
            count: At least 1. Another number gives other episodes.
            announce: Told them before the first is played.

        Raises:
            ArgumentError: The agent chooses one at a time; or `count` is below 1, or episodes were played.
        """
        if count != 1:
            raise ArgumentError(
                f"workers must be 1 for the agent '{self.name}', which chooses one candidate at a time, "
                f"got {count}"
            )

    def run_episode(self) -> Episode:
        """Play one episode on the environment and learn from it.

        Raises:
            ArgumentError: The agent is `finished`.
        """
        if self.finished:
            raise ArgumentError(
                f"agent '{self.name}' must not run again: it is deterministic and has played its "
                f"{self.episodes} episode(s); ask for fewer episodes"
            )
        start = time.perf_counter()
        outcome = self._play()
        number, self.episodes = self.episodes, self.episodes + 1
        seconds = time.perf_counter() - start
        return Episode(number, outcome.widths, outcome.reward, outcome.evaluation, outcome.costs, seconds)

    @abstractmethod
    def _play(self) -> Outcome:
        """Play and learn; `episodes` is counted by the caller."""

    def state_dict(self) -> State:
        """All that the next episodes depend on: a flat dict of tensors, numpy arrays and JSON values."""
        return {
            "agent": self.name,
            "groups": len(self.task.names),
            "episodes": self.episodes,
            "rng": generator_state(self._rng),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state_dict` of an agent of the same kind and settings on the same task.

        Raises:
            ArgumentError: The state of another agent, or of another number of groups.
        """
        for key, mine in (("agent", self.name), ("groups", len(self.task.names))):
            if state.get(key) != mine:
                raise ArgumentError(
                    f"state must belong to this agent: its '{key}' is {state.get(key)!r}, not {mine!r}"
                )
        self.episodes = cast(int, state["episodes"])
        self._rng = generator_from(state["rng"])
