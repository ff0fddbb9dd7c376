"""A replay buffer of whole episodes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.type_aliases import ReplayBufferSamples

_STORED = ("observations", "next_observations", "actions", "rewards", "dones")


class EpisodeBuffer(ReplayBuffer):
    """stable-baselines3's replay buffer with its own random generator and rewards that can be set later.

    Attributes:
        rng: Draws the batches; set by the owner.
        baseline: Moving average of the mean reward of the batches, taken off the rewards of a batch (AMC's
            moving baseline); None for none so far.
        baseline_rate: Weight of the newest batch in it; 0 for no baseline.
    """

    rng: np.random.Generator
    baseline: float | None = None
    baseline_rate: float = 0.0

    def add_episodes(self, observations: NDArray[np.float32], actions: NDArray[np.float32]) -> None:
        """Append b episodes, the first go when it is full.

        Args:
            observations: Shape (b, n + 1, features), the one behind the last step included.
            actions: Executed actions, shape (b, n).
        """
        count, n = actions.shape
        at = (self.pos + np.arange(count * n)) % self.buffer_size
        self.observations[at, 0] = observations[:, :-1].reshape(count * n, -1)
        self.next_observations[at, 0] = observations[:, 1:].reshape(count * n, -1)
        self.actions[at, 0, 0] = actions.reshape(-1)
        self.full = self.full or self.pos + count * n >= self.buffer_size
        self.pos = (self.pos + count * n) % self.buffer_size

    def label(self, rewards: NDArray[np.floating], dones: NDArray[np.floating]) -> None:
        """Set the rewards and ends of all stored episodes, both (k, n), in the order of storage slots."""
        count = rewards.size
        self.rewards[:count, 0] = rewards.reshape(-1)
        self.dones[:count, 0] = dones.reshape(-1)

    def sample(self, batch_size: int, env: Any = None) -> ReplayBufferSamples:
        """A batch drawn with `rng`, with replacement."""
        at = self.rng.integers(0, self.size(), batch_size)
        rewards = self.rewards[at]
        if self.baseline_rate > 0:
            rewards = rewards - self._moved(float(rewards.mean()))
        observations, actions, following = (
            torch.from_numpy(part[at, 0])
            for part in (self.observations, self.actions, self.next_observations)
        )
        return ReplayBufferSamples(
            observations,
            actions,
            following,
            torch.from_numpy(self.dones[at]),
            torch.from_numpy(np.float32(rewards)),
        )

    def _moved(self, newest: float) -> np.float32:
        old = newest if self.baseline is None else self.baseline
        self.baseline = old + self.baseline_rate * (newest - old)
        return np.float32(self.baseline)

    def stored(self) -> dict[str, Any]:
        """Everything but the generator: arrays cut to what is filled, and JSON values."""
        filled = {name: getattr(self, name)[: self.size()].copy() for name in _STORED}
        return filled | {"pos": self.pos, "full": self.full, "baseline": self.baseline}

    def restore(self, stored: Mapping[str, Any]) -> None:
        """Continue from `stored`."""
        self.pos, self.full = int(stored["pos"]), bool(stored["full"])
        self.baseline = stored["baseline"]
        for name in _STORED:
            getattr(self, name)[: self.size()] = np.asarray(stored[name])
