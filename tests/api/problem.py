"""A small trained-enough network and its data, made the same way in every process."""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from autoprune.data import DataSplits
from autoprune.train import finetune

CLASSES = 4


class SmallNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.conv1 = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.conv3 = nn.Conv2d(8, 12, 3, stride=2)
        self.head = nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        x = x + self.conv2(self.norm1(self.conv1(x)).relu())
        out: Tensor = self.head(self.conv3(x).relu().mean((2, 3)))
        return out


def tensors(count: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, CLASSES, (count,), generator=generator)
    images = torch.randn(count, 1, 8, 8, generator=generator) * 0.5
    for corner in range(CLASSES):
        row, column = 4 * (corner // 2), 4 * (corner % 2)
        images[labels == corner, :, row : row + 4, column : column + 4] += 1.0
    return images, labels


@cache
def trained() -> dict[str, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = SmallNet()
    finetune(model, DataLoader(TensorDataset(*tensors(256, 9)), 32, shuffle=True), 6, lr=0.05)
    return model.state_dict()


def network() -> nn.Module:
    """The same trained weights in every process."""
    with torch.random.fork_rng(devices=[]):
        model = SmallNet()
    model.load_state_dict(trained())
    return model.eval()


class Untouchable:
    """A loader that must not be read."""

    def __iter__(self) -> Any:
        raise AssertionError("the test set was touched")

    def __len__(self) -> int:
        raise AssertionError("the test set was touched")


def data() -> DataSplits:
    return DataSplits(
        train=DataLoader(TensorDataset(*tensors(96, 1)), 24, shuffle=True),
        search_val=DataLoader(TensorDataset(*tensors(64, 2)), 40),
        test=Untouchable(),
    )


BUDGET = "macs=50%"
QUICK: dict[str, Any] = {"agent": "random", "episodes": 5, "calibration_images": 80, "fit_images": 48}
