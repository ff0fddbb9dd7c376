"""Between two real episodes: learn in free ones, and find the candidate that is worth an evaluation."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoprune.agents.ddpg.algorithm import AMCDDPG
from autoprune.agents.ddpg.buffer import EpisodeBuffer
from autoprune.agents.ddpg.climbing import climbed
from autoprune.agents.ddpg.free import FreeEpisodes
from autoprune.agents.ddpg.imitation import Imitation
from autoprune.agents.ddpg.labels import standard_returns
from autoprune.agents.ddpg.settings import DDPGSettings
from autoprune.agents.ddpg.storage import load_optimizer, nested, optimizer_state, prefixed
from autoprune.agents.ddpg.surrogate import Surrogate
from autoprune.budget.cost import Vector
from autoprune.envs.env import PruningEnv


class Dreamer:
    """Dyna (Sutton 1990) with DDPG: the policy explores the surrogate, learns there, and proposes from there.

    Args:
        env: The environment.
        algorithm: Trained in place.
        settings: Hyper-parameters.

    Attributes:
        buffer: The free episodes of the latest rounds; always labeled by the newest surrogate.
        elites: The best candidates of the latest proposal, the best first, shape (k, n).
    """

    def __init__(self, env: PruningEnv, algorithm: AMCDDPG, settings: DDPGSettings) -> None:
        self._task, self._algorithm, self._settings = env.task, algorithm, settings
        self._n = len(env.task.names)
        self._imitation = Imitation(algorithm.actor)
        self._free = FreeEpisodes(env, settings.batch_episodes)
        self._shown = FreeEpisodes(env, settings.elites)
        slots = settings.kept_rounds * settings.batch_episodes
        self.buffer = EpisodeBuffer(slots * self._n, env.observation_space, env.action_space, "cpu")
        self._vectors = np.zeros((0, self._n), np.int64)
        self._next = 0
        self.elites: Vector = self._vectors

    def propose(
        self,
        surrogate: Surrogate,
        tried: Vector,
        rewards: NDArray[np.float64],
        sigma: float,
        rng: np.random.Generator,
        pending: Vector | None = None,
    ) -> Vector:
        """Run the rounds and return the most promising candidate met that was not evaluated yet.

        Args:
            surrogate: Pays the free episodes.
            tried: Evaluated candidates, shape (k, n).
            rewards: Their rewards, shape (k,).
            sigma: Noise of the policy.
            rng: Source of randomness.
            pending: Further candidates that are not to be proposed again, shape (m, n).

        Returns:
            Widths of shape (n,); what the policy does without noise if all were evaluated before.
        """
        met = tried[np.argsort(-rewards, kind="stable")[: self._settings.elites]]
        fresh: list[Vector] = []
        first: Vector | None = None
        for _ in range(self._settings.rounds):
            rollouts = self._free.explore(self._algorithm.act, sigma, rng)
            first = rollouts.vectors[0] if first is None else first
            fresh.append(rollouts.vectors)
            self._store(rollouts.observations, rollouts.actions, rollouts.vectors)
            self._learn(surrogate)
            met = _best(np.vstack([met, rollouts.vectors]), surrogate, self._settings.elites)
            fresh.append(climbed(self._task, met[: self._settings.climbs], surrogate.totals, rng))
            met = _best(np.vstack([met, fresh[-1]]), surrogate, self._settings.elites)
            self._imitate(met)
        self.elites = met
        known = tried if pending is None else np.vstack([tried, pending])
        candidates = _unseen(np.concatenate(fresh), known)
        assert first is not None, "there is at least one round"
        return _best(candidates, surrogate, 1)[0] if len(candidates) else first

    def _store(
        self, observations: NDArray[np.float32], actions: NDArray[np.float32], vectors: Vector
    ) -> None:
        self.buffer.add_episodes(observations, actions)
        if len(self._vectors) < self.buffer.buffer_size // self._n:
            self._vectors = np.vstack([self._vectors, vectors])
            return
        self._vectors[self._next + np.arange(len(vectors))] = vectors
        self._next = (self._next + len(vectors)) % len(self._vectors)

    def _learn(self, surrogate: Surrogate) -> None:
        targets = standard_returns(surrogate.credits(self._vectors), surrogate.totals(self._vectors))
        self.buffer.label(*targets)
        if self._settings.gradient_steps:
            self._algorithm.train_on(self.buffer, self._settings.gradient_steps)

    def _imitate(self, elites: Vector) -> None:
        if self._settings.imitation_steps:
            self._imitation(*self.lesson(elites), self._settings.imitation_steps)

    def lesson(self, elites: Vector) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Observations (m, features) and actions (m,) on the way to candidates (k, n)."""
        shown = self._shown.follow(np.resize(elites, (self._settings.elites, self._n)))
        seen = shown.observations[:, :-1].reshape(-1, shown.observations.shape[-1])
        return seen, shown.actions.reshape(-1)

    def state_dict(self) -> dict[str, Any]:
        """Memory and optimizer."""
        own = {"vectors": self._vectors.copy(), "next": self._next}
        imitation = prefixed(optimizer_state(self._imitation.optimizer), "imitation")
        return own | prefixed(self.buffer.stored(), "buffer") | imitation

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state_dict`."""
        self._vectors, self._next = np.array(state["vectors"], np.int64), int(state["next"])
        self.buffer.restore(nested(state, "buffer"))
        load_optimizer(self._imitation.optimizer, nested(state, "imitation"))


def _best(vectors: Vector, surrogate: Surrogate, count: int) -> Vector:
    """The `count` most promising of distinct candidates, the best first."""
    distinct = np.unique(vectors, axis=0)
    order = np.argsort(-surrogate.totals(distinct), kind="stable")[:count]
    result: Vector = distinct[order]
    return result


def _unseen(vectors: Vector, tried: Vector) -> Vector:
    """The distinct candidates that are not among `tried`."""
    seen = {row.tobytes() for row in np.ascontiguousarray(tried, np.int64)}
    distinct = np.unique(vectors, axis=0)
    result: Vector = distinct[[row.tobytes() not in seen for row in distinct]]
    return result
