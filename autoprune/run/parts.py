"""The arguments of a search that are objects, or names of objects."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from autoprune.errors import ArgumentError
from autoprune.run.callbacks import Callback

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

    from autoprune.agents import Agent, Policy
    from autoprune.criteria import Criterion
    from autoprune.envs import Reward

logger = logging.getLogger(__name__)

AgentFactory: TypeAlias = "Callable[..., Agent]"
CUSTOM = "custom:"


@dataclass(frozen=True, eq=False)
class Parts:
    """The arguments of a search that are objects or names of objects.

    Attributes:
        criterion: Orders the units.
        reward: What the agent maximizes.
        agent: A registered name, or a callable (env, *, seed, **settings) -> Agent.
        storage: An Optuna storage or its URL; None for the journal in the run directory.
        callbacks: Listeners.
        init_policy: What the agent begins with.
    """

    criterion: "str | Criterion" = "obs"
    reward: "str | Reward" = "kl"
    agent: "str | AgentFactory" = "ddpg"
    storage: "str | BaseStorage | None" = None
    callbacks: Sequence[Callback] = ()
    init_policy: "Policy | None" = None

    def stage(self, name: str) -> None:
        """Tell the listeners that a stage begins."""
        logger.info("stage: %s", name)
        for callback in self.callbacks:
            callback.on_stage(name)

    def step(self, done: int, total: int) -> None:
        """Tell the listeners how far the present stage is."""
        for callback in self.callbacks:
            callback.on_step(done, total)


@dataclass(frozen=True)
class Sources:
    """`MODULE:CALLABLE` of model and data where they are known, so that `resume` can make them again."""

    model: str | None = None
    data: str | None = None


def name_of(part: Any) -> str:
    """How a part is recorded: its registered name, or the name of its class or function after `custom:`."""
    if isinstance(part, str):
        return part
    return CUSTOM + str(getattr(part, "__qualname__", type(part).__qualname__))


def checked_parts(parts: Parts) -> Parts:
    """Refuse parts that could only fail later.

    Raises:
        ArgumentError: A callback of another class; an unknown reward, agent or criterion.
    """
    from autoprune.agents import AGENTS
    from autoprune.budget.messages import did_you_mean
    from autoprune.criteria import make_criterion
    from autoprune.envs import make_reward

    for callback in parts.callbacks:
        if not isinstance(callback, Callback):
            raise ArgumentError(
                f"callbacks must be autoprune.Callback objects, got {type(callback).__name__}"
            )
    if isinstance(parts.agent, str) and parts.agent not in ("", *AGENTS):
        raise ArgumentError(
            f"agent must be a known name, got '{parts.agent}'{did_you_mean(parts.agent, AGENTS)}"
        )
    if parts.reward != "":
        make_reward(parts.reward)
    if parts.criterion != "":
        make_criterion(parts.criterion)
    return parts
