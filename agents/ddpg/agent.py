"""The DDPG agent."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import gymnasium
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback

from autoprune.agents.agent import State
from autoprune.agents.ddpg.algorithm import AMCDDPG
from autoprune.agents.ddpg.dreamer import Dreamer
from autoprune.agents.ddpg.free import FreeEpisodes
from autoprune.agents.ddpg.inherited import Inherited, settings_with
from autoprune.agents.ddpg.labels import final_rewards, standard_returns
from autoprune.agents.ddpg.noise import sigma_at, truncated_normal
from autoprune.agents.ddpg.settings import DDPGSettings, make_settings
from autoprune.agents.ddpg.storage import nested, prefixed
from autoprune.agents.ddpg.surrogate import curve_credits, fit_surrogate
from autoprune.agents.policies.make import make_policy
from autoprune.agents.policies.policy import Policy, Replay
from autoprune.agents.proposing import ProposingAgent
from autoprune.agents.walk import Outcome, actions_of, outcome_of
from autoprune.allocation import greedy
from autoprune.budget.cost import Vector
from autoprune.errors import ArgumentError

_ATTEMPTS = 20


class DDPGAgent(ProposingAgent):
    """DDPG (Lillicrap et al. 2016, arXiv:1509.02971) as in AMC (He et al. 2018, arXiv:1802.03494), and more.

    With the default variant `dyna`, an episode is: fit a surrogate to all evaluated candidates; let the
    policy play free episodes in it with noise and learn from them; improve the best by exchanges between
    groups, and imitate them; then play the most promising of all that on the environment. The first episode
    is the greedy allocation. The other variants leave parts of that out, down to `amc`: DDPG from scratch
    with one reward per episode.

    Args:
        env: The environment.
        seed: Source of all randomness.
        variant: `dyna`, `credit`, `greedy` or `amc`; see `VARIANTS`.
        init_policy: Begin with the actor and the critic of this policy, without a warm-up, and try its own
            allocation in the first or second episode. Steps that it brings along are learned from again.
            Where it knows the network (`Policy.knows`) there is less noise; elsewhere its offsets are left
            out, and there is as much to find as without it.
        **changes: Single fields of `DDPGSettings` that differ from the variant.

    Raises:
        ArgumentError: An unknown variant or setting, a value out of range, an actor around the reference
            with an observation set that has no feature `reference`, or a policy that does not fit.
    """

    name: ClassVar[str] = "ddpg"

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        *,
        seed: int = 0,
        variant: str = "dyna",
        init_policy: Policy | None = None,
        **changes: Any,
    ) -> None:
        super().__init__(env, seed=seed)
        self._inherited, self._greedy_of = None, self.task
        known = False
        if init_policy is not None:
            changes = settings_with(init_policy, changes) | {"warmup": 0}
            self._inherited = Inherited(self.env, init_policy)
            self.env, self.task = self._inherited.env, self._inherited.env.task
            known = init_policy.knows(self._greedy_of)
        self.settings: DDPGSettings = make_settings(variant, changes)
        names = self.env.observation.names
        if self.settings.around_reference and "reference" not in names:
            raise ArgumentError(
                "observation must have the feature 'reference' for an actor around it, but "
                f"'{self.env.observation_set.name}' has not; use observation='default' or variant='amc'"
            )
        reference = names.index("reference") if self.settings.around_reference else None
        self._algorithm = AMCDDPG(self.env, self.settings, self.seed, reference)
        self._dreamer = Dreamer(self.env, self._algorithm, self.settings) if self.settings.rounds else None
        self._alone = FreeEpisodes(self.env, 1)
        self._vectors = np.zeros((0, len(self.task.names)), np.int64)
        self._rewards = np.zeros(0)
        if init_policy is not None:
            reach = init_policy.card.reach if known else 0.0
            self._algorithm.begin_with(init_policy.tensors, self.settings.freeze, reach)
        s = self.settings
        self._start = max(s.init_noise * s.noise, s.noise_floor) if known else s.noise
        self._connect()

    def _connect(self) -> None:
        """All parts draw from the generator of the agent."""
        self._algorithm.replay_buffer.rng = self._rng
        if not self.settings.curve_credit:
            self._algorithm.replay_buffer.baseline_rate = self.settings.baseline_rate
        if self._dreamer is not None:
            self._dreamer.buffer.rng = self._rng
        if self._inherited is not None:
            self._inherited.connect(self._rng)

    @property
    def policy(self) -> Policy:
        """A copy of what was learned so far."""
        return make_policy(
            self._algorithm.policy,
            [self.env],
            settings=self.settings,
            rewards=self._rewards,
            before=None if self._inherited is None else self._inherited.policy,
        )

    @property
    def replay(self) -> Replay | None:
        """The steps of the real episodes in memory; None where they are no returns, or there are none."""
        if not self.settings.curve_credit or not len(self._rewards):
            return None
        stored = self._algorithm.replay_buffer.stored()
        return Replay(
            stored["observations"][:, 0], stored["actions"][:, 0, 0], stored["rewards"][:, 0].copy()
        )

    @property
    def sigma(self) -> float:
        """Standard deviation of the noise in the next episode."""
        s, start = self.settings, self._start
        return sigma_at(self.episodes, warmup=s.warmup, start=start, decay=s.noise_decay, floor=s.noise_floor)

    def _perform(self, vector: Vector) -> Outcome:
        actions = actions_of(self.task, vector)
        update = self.episodes + 1 > self.settings.warmup
        info = self._algorithm.play(
            lambda step, action: float(actions[step]), _AtEnd(self._note), update=update
        )
        return outcome_of(self.task, info)

    def propose(self, pending: Vector) -> Vector:
        """What the next episode tries."""
        count, known = self.episodes + len(pending), np.vstack([self._vectors, pending])
        if count < self.settings.warmup:
            return self._rolled(lambda action: self._rng.uniform(-1.0, 1.0, len(action)))
        if count == 0 and self.settings.around_reference:
            return greedy(self._greedy_of)
        if self._inherited is not None:
            if not _among(self._inherited.vector, known):
                return self._inherited.vector
            self._inherited.learn(self._algorithm, self.settings.replay_steps)
        if self._dreamer is not None and len(self._rewards):
            optimism = self.settings.optimism
            surrogate = fit_surrogate(self.task, self._vectors, self._rewards, optimism, self._rng)
            seen = (self._vectors, self._rewards)
            return self._dreamer.propose(surrogate, *seen, self.sigma, self._rng, pending)
        sigma = self.sigma
        vector = self._rolled(lambda action: truncated_normal(action.clip(-1, 1), sigma, self._rng))
        for _ in range(_ATTEMPTS if len(pending) else 0):
            if not _among(vector, pending):
                break
            vector = self._rolled(lambda action: truncated_normal(action.clip(-1, 1), sigma, self._rng))
        return vector

    def _rolled(self, noisy: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Vector:
        """Where one episode ends that follows the policy as `noisy` changes its actions."""
        rollout = self._alone.walk(lambda at, seen: noisy(self._algorithm.act(seen)))
        result: Vector = rollout.vectors[0]
        return result

    def _note(self) -> None:
        """Keep the finished episode and pay all that are in the real memory anew."""
        outcome = outcome_of(self.task, self._algorithm.last_info)
        self._vectors = np.vstack([self._vectors, outcome.vector])
        self._rewards = np.append(self._rewards, outcome.reward)
        held = _slots(len(self._rewards), self.settings.memory)
        rewards = self._rewards[held]
        if self.settings.curve_credit:
            credits = curve_credits(self.task, self._vectors, self._rewards)[held]
            labels = standard_returns(credits, rewards)
        else:
            labels = final_rewards(rewards, len(self.task.names))
        self._algorithm.replay_buffer.label(*labels)

    def state_dict(self) -> State:
        """Networks, optimizers, memories, candidates and random state."""
        state = super().state_dict() | {"vectors": self._vectors.copy(), "rewards": self._rewards.copy()}
        state |= prefixed(self._algorithm.state_dict(), "ddpg")
        return state | (prefixed(self._dreamer.state_dict(), "free") if self._dreamer else {})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state_dict`."""
        super().load_state_dict(state)
        self._vectors = np.array(state["vectors"], np.int64)
        self._rewards = np.array(state["rewards"], np.float64)
        self._algorithm.load_state_dict(nested(state, "ddpg"))
        if self._dreamer is not None:
            self._dreamer.load_state_dict(nested(state, "free"))
        self._connect()


class _AtEnd(BaseCallback):
    """Calls a function between the end of an episode and the updates that follow it."""

    def __init__(self, then: Callable[[], None]) -> None:
        super().__init__()
        self._then = then

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self._then()


def _among(vector: Vector, vectors: Vector) -> bool:
    return bool((vectors == vector).all(1).any())


def _slots(count: int, size: int) -> NDArray[np.int64]:
    """Which of `count` episodes lies in which slot of a ring of `size`."""
    slots = np.arange(min(count, size))
    result: NDArray[np.int64] = slots + (count - 1 - slots) // size * size
    return result
