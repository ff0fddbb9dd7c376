"""Agents by name."""

from collections.abc import Callable
from typing import Any

import gymnasium

from autoprune.agents.agent import Agent
from autoprune.agents.cmaes import CmaEsAgent
from autoprune.agents.ddpg import DDPGAgent
from autoprune.agents.fixed import GreedyAgent, UniformAgent
from autoprune.agents.random_search import RandomAgent
from autoprune.agents.surrogate import SurrogateAgent
from autoprune.budget.messages import did_you_mean
from autoprune.errors import ArgumentError

AGENTS: dict[str, Callable[..., Agent]] = {
    agent.name: agent
    for agent in (DDPGAgent, SurrogateAgent, CmaEsAgent, RandomAgent, GreedyAgent, UniformAgent)
}


def make_agent(name: str, env: gymnasium.Env[Any, Any], seed: int = 0, **settings: Any) -> Agent:
    """The agent of that name.

    Args:
        name: `ddpg`, `surrogate`, `cmaes`, `random`, `greedy` or `uniform`.
        env: A `PruningEnv`.
        seed: Source of all randomness of the agent.
        **settings: Further arguments of the agent.

    Raises:
        ArgumentError: An unknown name, or settings that the agent does not have.
    """
    if name not in AGENTS:
        raise ArgumentError(f"agent must be a known name, got {name!r}{did_you_mean(str(name), AGENTS)}")
    try:
        return AGENTS[name](env, seed=seed, **settings)
    except TypeError as error:
        raise ArgumentError(
            f"agent '{name}' cannot be made from the settings {settings!r}: {error}"
        ) from error
