"""Agents that choose a whole candidate before the episode begins."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np

from autoprune.agents.agent import Agent, Announce, State
from autoprune.agents.walk import Outcome, walk
from autoprune.budget.cost import Vector
from autoprune.errors import ArgumentError


class ProposingAgent(Agent):
    """Plays the candidates that `propose` names, step by step, and hands each outcome to `learn`.

    After `look_ahead` the candidates of several episodes are named at a time, so that they can be evaluated
    side by side. The episodes are still played and learned from one after the other.

    Args:
        env: The environment.
        seed: Source of all randomness.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], *, seed: int = 0) -> None:
        super().__init__(env, seed=seed)
        self._ahead = 1
        self._announce: Announce | None = None
        self._queue: Vector = np.zeros((0, len(self.task.names)), np.int64)

    def look_ahead(self, count: int, announce: Announce) -> None:
        """Choose the candidates of `count` episodes at a time from now on, and announce them."""
        if count < 1 or self.episodes:
            raise ArgumentError(
                f"count must be at least 1 and be set before the first episode, got {count} after "
                f"{self.episodes} episodes"
            )
        self._ahead, self._announce = count, announce

    @abstractmethod
    def propose(self, pending: Vector) -> Vector:
        """The widths to be tried next, shape (n,).

        Args:
            pending: Candidates that were named and not yet learned from, the oldest first, shape (k, n).
        """

    def learn(self, outcome: Outcome) -> None:
        """Take note of what the candidate was worth."""

    def _play(self) -> Outcome:
        if not len(self._queue):
            self._fill()
        outcome = self._perform(self._queue[0])
        self._queue = self._queue[1:]
        return outcome

    def _perform(self, vector: Vector) -> Outcome:
        """Play the candidate and learn from it."""
        outcome = walk(self.env, vector)
        self.learn(outcome)
        return outcome

    def _fill(self) -> None:
        for _ in range(self._ahead):
            self._queue = np.vstack([self._queue, self.task.clip(self.propose(self._queue))])
        if self._announce is not None:
            self._announce([self.task.widths(vector) for vector in self._queue])

    def state_dict(self) -> State:
        """With the candidates that were named and not yet played."""
        return super().state_dict() | {"ahead": self._ahead, "queue": self._queue.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state_dict`.

        Raises:
            ArgumentError: Also where the other agent looked ahead differently.
        """
        if state.get("ahead") != self._ahead:
            raise ArgumentError(
                f"state must belong to an agent that names {self._ahead} candidates at a time, got "
                f"{state.get('ahead')!r}"
            )
        super().load_state_dict(state)
        self._queue = np.array(state["queue"], np.int64).reshape(-1, len(self.task.names))
        if self._announce is not None and len(self._queue):
            self._announce([self.task.widths(vector) for vector in self._queue])
