"""What the code blocks of the documentation stand on: a small network, its data, and quick searches."""

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import autoprune
from tests.envs.problems import Quadratic, make_task

CLASSES = 4
EXAMPLE = torch.zeros(1, 1, 20, 20)
FEW = {"search_images": 24, "calibration_images": 32, "fit_images": 16}
QUICK = {"rounds": 1, "batch_episodes": 4, "gradient_steps": 2, "imitation_steps": 2, "hidden": [16, 16]}
MOST = 3
"""Episodes that a search of the documentation runs here at most."""

ZOO = """
from tests.docs.problem import network, splits

resnet20 = resnet56 = network
"""


class Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 48, 3, padding=1)
        self.conv2 = nn.Conv2d(48, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.conv2(self.conv1(x).relu())
        return result


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, padding=1)
        self.layer1 = nn.Sequential(Block(16))
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.layer1(self.stem(x).relu()).mean((2, 3)))
        return scores


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Net().eval()


def loader(seed: int) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(32, 1, 20, 20, generator=generator)
    return DataLoader(TensorDataset(images, torch.randint(CLASSES, (32,), generator=generator)), 16)


def splits() -> autoprune.DataSplits:
    return autoprune.DataSplits(loader(0), loader(1), loader(2))


def quick(search: Callable[..., Any]) -> Callable[..., Any]:
    """The same function with few images, few episodes, and an agent that hardly learns."""
    known = inspect.signature(search).parameters

    @wraps(search)
    def run(*args: Any, **given: Any) -> Any:
        given["episodes"] = min(given.get("episodes") or MOST, MOST)
        if "seed" in known or "budgets" in known:
            given = {**FEW, **given}
            if given.get("agent", "ddpg") == "ddpg":
                given.setdefault("agent_settings", QUICK)
        return search(*args, **given)

    return run


def env_parts() -> dict[str, Any]:
    """A task and a stand-in for its evaluation."""
    task = make_task(autoprune.trace(network(), EXAMPLE))
    return {"task": task, "evaluate": Quadratic(task)}


def namespace() -> dict[str, Any]:
    """The names that a block may use without making them."""
    data = splits()
    return {
        "__name__": "block",
        "autoprune": autoprune,
        "model": network(),
        "other": network(),
        "example_inputs": EXAMPLE,
        "data": data,
        "train_loader": data.train,
        "held_out_loader": data.search_val,
        "test_loader": data.test,
    }


def write_zoo(folder: Path) -> None:
    """The modules that the command lines name."""
    for name in ("models", "data"):
        (folder / f"{name}.py").write_text(ZOO)
