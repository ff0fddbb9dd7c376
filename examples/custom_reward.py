"""Search with a reward of your own.

    python examples/custom_reward.py

The budget is hard: no candidate breaks it. The reward says which of the candidates within it is best. This
one weighs accuracy against parameters, for a network that is downloaded often.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import autoprune
from autoprune.score import Evaluation

CLASSES = 4


@dataclass(frozen=True)
class SmallDownload:
    """Accuracy minus the share of the parameters that stay, times a weight.

    Attributes:
        params: Of the dense network.
        weight: Points of accuracy that all parameters together are worth.
    """

    params: int
    weight: float = 0.05

    def __call__(self, evaluation: Evaluation, costs: Mapping[str, float]) -> float:
        """The reward of a candidate; higher is better."""
        return evaluation.metrics["accuracy"] - self.weight * costs["params"] / self.params


def images(count: int, seed: int) -> TensorDataset:
    """Noise with one bright corner; the label says which."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (count,), generator=generator)
    pixels = torch.randn(count, 1, 16, 16, generator=generator)
    for corner in range(CLASSES):
        top, left = 8 * (corner // 2), 8 * (corner % 2)
        pixels[labels == corner, :, top : top + 8, left : left + 8] += 0.35
    return TensorDataset(pixels, labels)


def network() -> nn.Module:
    """A plain CNN."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, CLASSES),
    )  # fmt: skip


def main() -> None:
    """Search twice: with the standard reward and with the one above."""
    torch.manual_seed(0)
    data = autoprune.DataSplits(
        train=DataLoader(images(512, 0), 32, shuffle=True), search_val=DataLoader(images(512, 1), 128)
    )
    model = network()
    autoprune.finetune(model, data.train, epochs=4)  # your trained network instead
    example = torch.zeros(1, 1, 16, 16)
    params = sum(p.numel() for p in model.parameters())
    for reward in ("kl", SmallDownload(params)):
        result = autoprune.search(model, example, data, "macs=50%", reward=reward, agent="cmaes", episodes=30)
        found, accuracy = result.found.costs, result.found.evaluation.metrics["accuracy"]
        print(
            f"{reward}: {accuracy:.1%} of the search images are right, "
            f"{found['macs'] / result.dense.costs['macs']:.0%} of the MACs, {found['params'] / params:.0%} "
            "of the parameters"
        )


if __name__ == "__main__":
    main()
