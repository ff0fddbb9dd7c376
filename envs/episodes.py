"""The dynamics: any number of episodes in lock step. One environment is a batch of one."""

from collections.abc import Callable, Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from autoprune.budget.cost import Vector
from autoprune.envs.credit import Credit
from autoprune.envs.observation import BoundObservation, Floats, State
from autoprune.envs.rewards import Reward
from autoprune.errors import ArgumentError, ModelError
from autoprune.task import Task

if TYPE_CHECKING:
    from autoprune.score.evaluation import Evaluation

Evaluate: TypeAlias = Callable[[Mapping[str, int]], "Evaluation"]
"""Gives the evaluation of a candidate from its widths by group name."""


class Transition(NamedTuple):
    """What one step of b episodes gave.

    Attributes:
        observations: Shape (b, features).
        rewards: Shape (b,).
        done: Whether this was the last step (of all of them: episodes have equal length).
        infos: One dict per episode.
    """

    observations: Floats
    rewards: NDArray[np.float64]
    done: bool
    infos: list[dict[str, Any]]


class Episodes:
    """Walks b episodes through the groups of a task.

    Args:
        task: The problem.
        evaluate: Evaluates a candidate at the end of its episode.
        reward: Turns evaluation and costs into the reward.
        observation: The features, bound to the task.
        credit: Pays rewards on the way, or None.
        count: How many episodes, b.
    """

    def __init__(
        self,
        task: Task,
        evaluate: Evaluate,
        reward: Reward,
        observation: BoundObservation,
        credit: Credit | None,
        count: int,
    ) -> None:
        self.task, self.evaluate, self.reward, self.credit = task, evaluate, reward, credit
        self._observation, self._count, self._n = observation, count, len(task.names)
        self._actions = _action_table(task)
        self._position = self._n
        self._widths = np.repeat(task.max_widths[None], count, axis=0)
        self._paid = np.zeros(count)

    @property
    def position(self) -> int:
        """The group that is to be decided next; n when the episodes are over."""
        return self._position

    @property
    def widths(self) -> Vector:
        """Shape (b, n): decided widths, the largest allowed from `position` on; a copy."""
        return self._widths.copy()

    def reset(self) -> Floats:
        """Start again: nothing decided, all groups at their largest width."""
        self._position = 0
        self._widths[:] = self.task.max_widths
        self._paid[:] = 0.0
        return self._observation(State(0, self._widths, np.ones(self._count, np.float32)))

    def step(self, actions: NDArray[np.floating]) -> Transition:
        """Decide the group at `position`, actions of shape (b, 1).

        Raises:
            ResetNeeded: The episodes are over.
            ArgumentError: Actions of another shape or not finite.
            ModelError: The reward of a candidate is not finite.
        """
        at = self._position
        if at == self._n:
            raise ResetNeeded("the episode is over; call `reset` first")
        widths = self._execute(at, self._ratios(actions))
        self._widths[:, at] = widths
        self._position = at + 1
        executed = self._actions[at, widths]
        names = self.task.names[at]
        infos = [
            {"group": names, "width": width, "executed_action": action}
            for width, action in zip(widths.tolist(), executed[:, None], strict=True)
        ]
        rewards = (
            np.zeros(self._count) if self.credit is None else np.array(self.credit(at, widths), np.float64)
        )
        if at + 1 == self._n:
            rewards = self._finish(infos) - self._paid
        else:
            self._paid += rewards
        observations = self._observation(State(at + 1, self._widths, executed))
        return Transition(observations, rewards, at + 1 == self._n, infos)

    def _ratios(self, actions: NDArray[np.floating]) -> NDArray[np.float64]:
        array = np.asarray(actions, np.float64)
        if array.shape != (self._count, 1):
            raise ArgumentError(f"action must have shape {(self._count, 1)}, got {array.shape}")
        if not np.isfinite(array).all():
            raise ArgumentError(
                f"action must be finite, got {array.ravel().tolist()}; check the policy for NaN"
            )
        lower, upper = self.task.lower, self.task.upper
        ratios: NDArray[np.float64] = lower + (array[:, 0].clip(-1.0, 1.0) + 1) / 2 * (upper - lower)
        return ratios

    def _execute(self, at: int, ratios: NDArray[np.float64]) -> Vector:
        """Round down; where the rest could not meet the budget any more, lower to the wall."""
        widths = self.task.width_at(at, ratios)
        rows = self._widths.copy()
        rows[:, at] = widths
        rows[:, at + 1 :] = self.task.min_widths[at + 1 :]
        fits = self.task.budget.holds(rows)
        if not fits.all():
            over = ~fits
            widths[over] = self.task.walls(at, rows[over])
        return widths

    def _finish(self, infos: list[dict[str, Any]]) -> NDArray[np.float64]:
        costs = {name: values.tolist() for name, values in self.task.budget.costs(self._widths).items()}
        rewards = np.empty(self._count)
        for i, (info, vector) in enumerate(zip(infos, self._widths, strict=True)):
            info["widths"] = self.task.widths(vector)
            info["costs"] = {name: values[i] for name, values in costs.items()}
            info["evaluation"] = self.evaluate(dict(info["widths"]))
            info["reward"] = rewards[i] = float(self.reward(info["evaluation"], info["costs"]))
            if not isfinite(rewards[i]):
                raise ModelError(
                    f"the reward of a candidate must be finite, got {rewards[i]} for {info['widths']}"
                )
        return rewards


def _action_table(task: Task) -> Floats:
    """Shape (n, largest size + 1): the action in [-1, 1] that asks for a width."""
    widths = np.arange(task.sizes.max() + 1)
    ratios = widths / task.sizes[:, None]
    return (2 * (ratios - task.lower) / (task.upper - task.lower) - 1).clip(-1.0, 1.0).astype(np.float32)
