"""Agents that search for widths: DDPG, and the baselines that it has to beat."""

from autoprune.agents.agent import Agent
from autoprune.agents.cmaes import CmaEsAgent
from autoprune.agents.ddpg import DDPGAgent, DDPGSettings
from autoprune.agents.episode import Episode
from autoprune.agents.fixed import GreedyAgent, UniformAgent
from autoprune.agents.policies import Policy, PolicyAgent, PolicyStore
from autoprune.agents.random_search import RandomAgent
from autoprune.agents.registry import AGENTS, make_agent
from autoprune.agents.surrogate import SurrogateAgent

__all__ = [
    "AGENTS",
    "Agent",
    "CmaEsAgent",
    "DDPGAgent",
    "DDPGSettings",
    "Episode",
    "GreedyAgent",
    "Policy",
    "PolicyAgent",
    "PolicyStore",
    "RandomAgent",
    "SurrogateAgent",
    "UniformAgent",
    "make_agent",
]
