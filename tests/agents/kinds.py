"""Every agent, and every variant of DDPG with small networks."""

from typing import Any

import numpy as np
import torch

from autoprune.agents import Agent, Episode, make_agent
from autoprune.envs import PruningEnv
from tests.agents.problem import make_env

SMALL: dict[str, Any] = {"hidden": (16, 16), "batch_episodes": 8, "gradient_steps": 3, "imitation_steps": 3}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in ("uniform", "greedy", "random", "cmaes", "surrogate")},
    "amc": ("ddpg", {"variant": "amc", "warmup": 3, "memory": 4, **SMALL}),
    "offset": ("ddpg", {"variant": "greedy", "memory": 4, **SMALL}),
    "credit": ("ddpg", {"variant": "credit", "memory": 4, **SMALL}),
    "dyna": ("ddpg", {"kept_rounds": 3, "memory": 4, **SMALL}),
}
SEARCHES = [kind for kind in KINDS if kind not in ("uniform", "greedy")]


def make(kind: str, seed: int = 0, env: PruningEnv | None = None) -> Agent:
    name, settings = KINDS[kind]
    return make_agent(name, env or make_env(), seed, **settings)


def play(agent: Agent, count: int) -> list[Episode]:
    episodes = []
    while len(episodes) < count and not agent.finished:
        episodes.append(agent.run_episode())
    return episodes


def essence(episodes: list[Episode]) -> list[tuple[int, dict[str, int], float]]:
    return [(e.number, e.widths, e.reward) for e in episodes]


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b)
    return type(a) is type(b) and bool(a == b)
