"""An evolution strategy from a kept library."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import gymnasium
import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import FloatDistribution
from optuna.trial import Trial

from autoprune.agents.agent import State
from autoprune.agents.proposing import ProposingAgent
from autoprune.agents.scaling import scale_to_budget
from autoprune.agents.walk import Outcome
from autoprune.allocation import greedy
from autoprune.budget.cost import Vector
from autoprune.errors import ArgumentError


class CmaEsAgent(ProposingAgent):
    """CMA-ES (Hansen 2016, arXiv:1604.00772), Optuna's sampler, over factors of the greedy keep ratios.

    A sample x in [-1, 1]^n stands for the greedy keep ratios times exp(span * x), scaled to the budget, so
    that every candidate uses it. The first episode is x = 0, the greedy allocation, which is also the
    strategy's first mean; its first step size is span / 3. The state is the list of rewards: the
    strategy is deterministic, and a loaded agent replays them.

    Args:
        env: The environment.
        seed: Seed of the strategy.
        span: Largest logarithm of a factor.

    Raises:
        ArgumentError: `span` is not positive.
    """

    name: ClassVar[str] = "cmaes"

    def __init__(self, env: gymnasium.Env[Any, Any], *, seed: int = 0, span: float = 1.0) -> None:
        super().__init__(env, seed=seed)
        if not 0 < span < float("inf"):
            raise ArgumentError(
                f"span must be a positive number, the largest logarithm of a factor, got {span!r}"
            )
        self.span = span
        self._space = {f"x{i:04d}": FloatDistribution(-1.0, 1.0) for i in range(len(self.task.names))}
        self._start()

    def _start(self) -> None:
        """A new strategy that has seen nothing."""
        with _quiet():
            sampler = optuna.samplers.CmaEsSampler(seed=self.seed, warn_independent_sampling=False)
            self._study = optuna.create_study(direction="maximize", sampler=sampler)
            self._study.enqueue_trial(dict.fromkeys(self._space, 0.0))
        self._first = greedy(self.task)
        self._rewards: list[float] = []
        self._asked: list[Trial] = []

    def propose(self, pending: Vector) -> Vector:
        """The next sample, scaled to the budget; the first is the greedy allocation itself."""
        sample = self._ask()
        if not self._rewards and not len(pending):
            return self._first
        return scale_to_budget(self.task, self._first / self.task.sizes * np.exp(self.span * sample))

    def _ask(self) -> NDArray[np.float64]:
        with _quiet():
            trial = self._study.ask(dict(self._space))
        self._asked.append(trial)
        return np.array([trial.params[name] for name in self._space])

    def learn(self, outcome: Outcome) -> None:
        """Tell the strategy."""
        self._tell(outcome.reward)

    def _tell(self, reward: float) -> None:
        with _quiet():
            self._study.tell(self._asked.pop(0), reward)
        self._rewards.append(reward)

    def state_dict(self) -> State:
        """The rewards of all episodes."""
        return super().state_dict() | {"rewards": list(self._rewards)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replay the rewards; takes some milliseconds per episode."""
        super().load_state_dict(state)
        self._start()
        for at, reward in enumerate(state["rewards"]):
            for _ in range(0 if at % self._ahead else self._ahead):
                self._ask()
            self._tell(reward)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna from printing to stderr, which it does by itself."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
