"""Searches on the small network, to be stopped and resumed."""

from pathlib import Path
from typing import Any

import torch

import autoprune
from autoprune.run.result import SearchResult
from tests.api.problem import BUDGET, QUICK, network
from tests.api.problem import data as splits

EXAMPLE = torch.zeros(1, 1, 8, 8)
SOURCES = {"model_source": "tests.api.problem:network", "data_source": "tests.api.problem:data"}
DDPG = {"rounds": 1, "batch_episodes": 8, "gradient_steps": 3, "imitation_steps": 3, "hidden": [16, 16]}
AGENTS: dict[str, dict[str, Any]] = {
    "random": {},
    "cmaes": {},
    "surrogate": {},
    "ddpg": {"agent_settings": DDPG},
}


def search(run_dir: Path | None, **changes: Any) -> SearchResult:
    return autoprune.search(network(), EXAMPLE, splits(), BUDGET, **QUICK | {"run_dir": run_dir} | changes)


def resume(run_dir: Path, **changes: Any) -> SearchResult:
    return autoprune.resume(run_dir, **{"model": network(), "data": splits()} | changes)


def what(result: SearchResult) -> list[Any]:
    return [(e.number, e.widths, e.reward, e.evaluation, e.costs) for e in result.history]


def same_network(a: SearchResult, b: SearchResult) -> bool:
    pairs = zip(a.model.state_dict().values(), b.model.state_dict().values(), strict=True)
    return a.plan == b.plan and all(torch.equal(x, y) for x, y in pairs)


class StopAfter(autoprune.Callback):
    def __init__(self, count: int) -> None:
        self.count = count

    def on_episode(self, episode: Any, best: Any) -> None:
        if episode.number + 1 == self.count:
            raise KeyboardInterrupt
