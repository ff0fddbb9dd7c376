"""One policy over several networks and budgets."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from autoprune.agents.ddpg.algorithm import AMCDDPG
from autoprune.agents.ddpg.dreamer import Dreamer
from autoprune.agents.ddpg.noise import sigma_at
from autoprune.agents.ddpg.settings import DDPGSettings, make_settings
from autoprune.agents.ddpg.surrogate import Surrogate, fit_surrogate
from autoprune.agents.episode import Episode
from autoprune.agents.policies.importance import fit_importance, no_importance, weighted
from autoprune.agents.policies.make import make_policy
from autoprune.agents.policies.policy import Policy
from autoprune.agents.walk import Outcome, walk
from autoprune.allocation import greedy
from autoprune.budget.cost import Vector
from autoprune.envs.blurred import Blurred
from autoprune.envs.env import PruningEnv
from autoprune.errors import ArgumentError
from autoprune.task import Task

REACH = 0.02
"""How far a policy for other networks goes from the reference. With 0.05 it did better on some of the
networks that it had not seen and worse on others, with more it did worse on most."""

BLUR = 0.2
"""Noise on the features, about the distance between like groups of two networks."""


class Course(NamedTuple):
    """One network with several budgets.

    Attributes:
        real: An environment per budget at which candidates are evaluated; at least one.
        free: Environments of further budgets, which are played without evaluation alone.
    """

    real: tuple[PruningEnv, ...]
    free: tuple[PruningEnv, ...] = ()


class SeveralAgent:
    """DDPG as in `DDPGAgent`, with one actor and one critic for several networks and budgets.

    The networks take turns, and the budgets of each. What a candidate is worth does not depend on the budget,
    so that each network has one surrogate, fitted to the candidates of all its budgets; free episodes are
    played at the budget in turn and at a random one. The first episodes of every network are the greedy
    allocations.

    At the end (`settle`) what makes the curve of a group weigh more is learned from the candidates of all
    networks (`fit_importance`), and a new actor and critic are trained on the curves with these weights, in
    free episodes at all budgets. A network that nobody has seen then gets its weights from its features.
    The importance carries nearly all that moves to another network; what the actor adds to it is particular
    to few networks, so that it is trained with noise on the features and stays near the reference. Where no
    importance moves, as from one network alone, actor and critic stay as they are, for these networks
    (`Policy.knows`). There are no exchanges here: an actor near the reference cannot follow them.

    Args:
        courses: The networks; all environments have one observation set and equal bounds of the keep ratio.
        seed: Source of all randomness.
        **changes: Single fields of `DDPGSettings`.

    Raises:
        ArgumentError: No course, environments that differ, or settings out of range.

    Attributes:
        episodes: How many candidates were evaluated.
    """

    def __init__(self, courses: Sequence[Course], *, seed: int = 0, **changes: Any) -> None:
        self.settings = make_settings(
            "dyna", {"rounds": 2, "climbs": 0, "kept_rounds": 3, "reach": REACH} | changes
        )
        if not self.settings.rounds:
            raise ArgumentError("rounds must be at least 1: several networks are learned in free episodes")
        _check_alike([env for course in courses for env in course.real])
        self._courses, self._seed = tuple(courses), seed
        self._rng = np.random.default_rng(seed)
        self._used = replace(self.settings, reach=1.0)
        self._school = _School(self._courses, self._used, seed, self._rng)
        self._importance = no_importance()
        self.episodes = 0

    @property
    def sigma(self) -> float:
        """Standard deviation of the noise in the next episode; it decays as in a search of each network."""
        s, count = self.settings, self.episodes // len(self._courses)
        return sigma_at(count, warmup=0, start=s.noise, decay=s.noise_decay, floor=s.noise_floor)

    @property
    def policy(self) -> Policy:
        """A copy of what was learned so far."""
        return make_policy(
            self._school.algorithm.policy,
            [env for course in self._courses for env in course.real],
            settings=self._used,
            rewards=np.concatenate([pupil.rewards for pupil in self._school.pupils]),
            importance=self._importance,
        )

    def run_episode(self) -> Episode:
        """Evaluate one candidate of the network in turn and learn."""
        start = time.perf_counter()
        pupil = self._school.pupils[self.episodes % len(self._courses)]
        outcome = pupil.play(self.sigma)
        number, self.episodes = self.episodes, self.episodes + 1
        seconds = time.perf_counter() - start
        return Episode(number, outcome.widths, outcome.reward, outcome.evaluation, outcome.costs, seconds)

    def settle(self, rounds: int = 2) -> None:
        """Learn the importance, and actor and critic anew with it. No candidate is evaluated.

        Args:
            rounds: How often every budget of every network is dreamed of.

        Raises:
            ArgumentError: A network without an episode.
        """
        if self.episodes < len(self._courses):
            raise ArgumentError("every network must have an episode before the policy is settled")
        known = self._school.pupils
        self._importance = fit_importance([(p.task, p.vectors, p.rewards) for p in known])
        if not self._importance.any():
            return
        courses = [self._weighted(course) for course in self._courses]
        self._used = self.settings
        self._school = _School(courses, self._used, self._seed, self._rng)
        for pupil, before in zip(self._school.pupils, known, strict=True):
            pupil.vectors, pupil.rewards = before.vectors, before.rewards
        for _ in range(rounds):
            for pupil in self._school.pupils:
                pupil.study(self.sigma)

    def _weighted(self, course: Course) -> Course:
        """The same environments with the curves times their importance, and noise on their features."""
        return Course(*(tuple(self._blurred(env) for env in part) for part in course))

    def _blurred(self, env: PruningEnv) -> PruningEnv:
        assert env.spec is not None
        task = weighted(env.task, self._importance)
        observation = Blurred(env.observation_set, BLUR, self._rng)
        return PruningEnv(**env.spec.kwargs | {"task": task, "observation": observation})


class _School:
    """One actor and one critic, and the networks that they are trained on."""

    def __init__(
        self, courses: Sequence[Course], settings: DDPGSettings, seed: int, rng: np.random.Generator
    ) -> None:
        first = courses[0].real[0]
        reference = first.observation.names.index("reference") if settings.around_reference else None
        self.algorithm = AMCDDPG(first, settings, seed, reference)
        self.pupils = [_Pupil(course, self.algorithm, settings, rng) for course in courses]


class _Pupil:
    """One network: its candidates, and free episodes at each of its budgets."""

    def __init__(
        self, course: Course, algorithm: AMCDDPG, settings: DDPGSettings, rng: np.random.Generator
    ) -> None:
        self._real, self._all = course.real, (*course.real, *course.free)
        self._settings, self._rng = settings, rng
        self.task: Task = course.real[0].task
        self._dreamers = [Dreamer(env, algorithm, settings) for env in self._all]
        self._greedy = [greedy(env.task) for env in self._all]
        for dreamer in self._dreamers:
            dreamer.buffer.rng = rng
        self.vectors = np.zeros((0, len(self.task.names)), np.int64)
        self.rewards = np.zeros(0)

    def play(self, sigma: float) -> Outcome:
        """One real episode at the budget in turn."""
        turn = len(self.rewards)
        at = turn % len(self._real)
        vector = self._greedy[at] if turn < len(self._real) else self._proposed(at, sigma)
        outcome = walk(self._real[at], vector)
        self.vectors = np.vstack([self.vectors, outcome.vector])
        self.rewards = np.append(self.rewards, outcome.reward)
        return outcome

    def study(self, sigma: float) -> None:
        """Free episodes at every budget, in a surrogate that is believed as it is."""
        surrogate = self._surrogate(0.0)
        for at in range(len(self._all)):
            self._dream(at, surrogate, sigma)

    def _proposed(self, at: int, sigma: float) -> Vector:
        surrogate = self._surrogate(self._settings.optimism)
        self._dream(int(self._rng.integers(len(self._all))), surrogate, sigma)
        return self._dream(at, surrogate, sigma)

    def _surrogate(self, optimism: float) -> Surrogate:
        return fit_surrogate(self.task, self.vectors, self.rewards, optimism, self._rng)

    def _dream(self, at: int, surrogate: Surrogate, sigma: float) -> Vector:
        """Free episodes at one budget; of the candidates known, those that meet it can be imitated."""
        holds = self._all[at].task.budget.holds(self.vectors)
        tried = np.vstack([self.vectors[holds], self._greedy[at]])
        rewards = np.append(self.rewards[holds], self.rewards.min())
        return self._dreamers[at].propose(surrogate, tried, rewards, sigma, self._rng)


def _check_alike(envs: Sequence[PruningEnv]) -> None:
    if not envs:
        raise ArgumentError("courses must name at least one network with a budget")
    first = _kind(envs[0])
    for env in envs:
        if _kind(env) != first:
            raise ArgumentError(
                "all environments must have one observation set and equal bounds, "
                f"got {first} and {_kind(env)}"
            )


def _kind(env: PruningEnv) -> tuple[Any, ...]:
    task: Task = env.task
    return env.observation_set.name, env.observation_set.version, task.lower, task.upper
