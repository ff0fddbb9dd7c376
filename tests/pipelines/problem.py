"""A tiny network and tiny data for the pipelines."""

from typing import Any

import torch
from torch import Tensor, nn

from autoprune.data import DataSplits


class Net(nn.Module):
    """Two convolutions with batch normalization and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 8, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.1)
        self.linear = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1(x)).relu()
        x = self.bn2(self.conv2(x)).relu()
        return self.linear(self.drop(x.mean((2, 3))))  # type: ignore[no-any-return]


def net(seed: int = 0) -> Net:
    """A network with weights of that seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Net().eval()


def batches(count: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Images whose class is the quarter that is bright."""
    generator = torch.Generator().manual_seed(seed)
    result = []
    for _ in range(count):
        labels = torch.randint(4, (16,), generator=generator)
        images = 0.3 * torch.randn(16, 1, 6, 6, generator=generator)
        for image, label in zip(images, labels.tolist(), strict=True):
            row, column = divmod(label, 2)
            image[0, 3 * row : 3 * row + 3, 3 * column : 3 * column + 3] += 1 + label
        result.append((images, labels))
    return result


def data() -> DataSplits:
    """Four batches to train on, two to measure with."""
    return DataSplits(batches(4, 1), batches(2, 2))


class Killed(BaseException):
    """Stands for the death of the process."""


class KillAt:
    """A listener that ends the run at its n-th event."""

    def __init__(self, number: int) -> None:
        self.left = number

    def __call__(self, event: Any) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed


def same(one: nn.Module, other: nn.Module) -> bool:
    """Whether two networks are equal bit by bit."""
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
