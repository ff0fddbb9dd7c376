"""Policies that are learned in a moment, and networks to apply them to."""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.agents import DDPGAgent, Policy
from tests.agents.problem import make_env, make_task

SMALL: dict[str, Any] = {"hidden": (16, 16), "batch_episodes": 8, "gradient_steps": 3, "imitation_steps": 3}


def agent(episodes: int = 3, blocks: int = 2, budget: str = "macs=50%", **changes: Any) -> DDPGAgent:
    made = DDPGAgent(make_env(make_task(blocks, budget=budget)), **SMALL | changes)
    for _ in range(episodes):
        made.run_episode()
    return made


@cache
def policy(**changes: Any) -> Policy:
    return agent(**changes).policy.described(criterion="obs", reward="kl")


@cache
def with_replay() -> Policy:
    made = agent()
    return made.policy.with_replay(made.replay)


class Plain(nn.Module):
    """Convolutions of any number and width."""

    def __init__(self, *widths: int) -> None:
        super().__init__()
        pairs = zip((1, *widths), widths, strict=False)
        self.body = nn.Sequential(*(layer for a, b in pairs for layer in (nn.Conv2d(a, b, 3), nn.ReLU())))
        self.head = nn.Linear(widths[-1], 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(x).mean((2, 3)))
        return out


class Dense(nn.Module):
    """Linear layers alone."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 4))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x)
        return out


def network(*widths: int) -> nn.Module:
    torch.manual_seed(0)
    return Plain(*(widths or (8, 12))).eval()


EXAMPLE = torch.zeros(1, 1, 12, 12)


def batches() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(16, 1, 12, 12, generator=generator) for _ in range(3)]
