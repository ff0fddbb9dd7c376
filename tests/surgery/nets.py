"""Small networks that between them hold everything the surgery has a rule for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autoprune.graph import PruneGraph


class Plain(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.Conv2d(8, 12, 3, stride=2),
            nn.PReLU(12),
            nn.Flatten(),
            nn.Linear(12 * 9, 10),
            nn.Tanh(),
            nn.Linear(10, 5),
        )


class Mlp(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(6, 16), nn.GELU(), nn.BatchNorm1d(16), nn.Linear(16, 7), nn.Linear(7, 4))


class Residual(nn.Module):
    """A residual stream of three producers, an option-A shortcut and a functional convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.a = nn.Conv2d(8, 6, 3, padding=1)
        self.b = nn.Conv2d(6, 8, 3, padding=1)
        self.c = nn.Parameter(torch.randn(10, 8, 1, 1))
        self.d = nn.Conv2d(10, 10, 1)
        self.head = nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn(self.stem(x)))
        x = x + self.b(F.relu(self.a(x)))
        x = F.relu(F.conv2d(x, self.c, stride=2))
        x = F.relu(self.d(x))
        return self.head(x.mean((2, 3)))


class Mobile(nn.Module):
    """Inverted residual with a depthwise convolution, and a grouped one behind."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.expand = nn.Conv2d(8, 12, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(12)
        self.depthwise = nn.Conv2d(12, 12, 3, padding=1, groups=12, bias=False)
        self.bn2 = nn.BatchNorm2d(12)
        self.project = nn.Conv2d(12, 8, 1)
        self.grouped = nn.Conv2d(8, 12, 3, groups=4)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = F.relu6(self.bn1(self.expand(x)))
        x = x + self.project(F.relu6(self.bn2(self.depthwise(y))))
        return self.head(F.relu(self.grouped(x)).mean((2, 3)))


class Dense(nn.Module):
    """Concatenation, as in DenseNet."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 6, 3, padding=1)
        self.bn = nn.BatchNorm2d(6)
        self.b = nn.Conv2d(6, 4, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(10)
        self.c = nn.Conv2d(10, 7, 1)
        self.head = nn.Linear(7, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn(self.a(x)))
        x = torch.cat([x, self.b(x)], 1)
        return self.head(F.relu(self.c(F.relu(self.bn2(x)))).mean((2, 3)))


class Shared(nn.Module):
    """One module in two places, and one weight in two modules."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(6, 10)
        self.b = nn.Linear(10, 10)
        self.again = self.b
        self.c = nn.Linear(10, 10, bias=False)
        self.c.weight = self.b.weight
        self.aliases = [self.b.weight, self.a]
        self.head = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.a(x))
        x = F.relu(self.b(x)) + F.relu(self.again(x)) + self.c(x)
        return self.head(F.relu(x))


class Signal(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Conv1d(2, 8, 5),
            nn.BatchNorm1d(8),
            nn.ReLU(),
            nn.Conv1d(8, 6, 3, groups=2),
            nn.ReLU(),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
            nn.Linear(6, 3),
        )


@dataclass(frozen=True)
class Case:
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]

    def inputs(self, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(self.shape, generator=torch.Generator().manual_seed(1), dtype=dtype)

    def model(self) -> nn.Module:
        """In eval mode, with batch-norm statistics and affine parameters that matter."""
        torch.manual_seed(0)
        net = self.make()
        generator = torch.Generator().manual_seed(2)
        with torch.no_grad():
            for module in net.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.weight.uniform_(0.5, 1.5, generator=generator)
                    module.bias.normal_(generator=generator)
            net.train()
            for _ in range(20):
                net(torch.randn(16, *self.shape[1:], generator=generator))
        return net.eval()


IMAGE = (2, 3, 8, 8)
CASES: Mapping[str, Case] = {
    "plain": Case(Plain, IMAGE),
    "mlp": Case(Mlp, (3, 6)),
    "residual": Case(Residual, IMAGE),
    "mobile": Case(Mobile, IMAGE),
    "dense": Case(Dense, IMAGE),
    "shared": Case(Shared, (3, 6)),
    "signal": Case(Signal, (2, 2, 16)),
}


def random_keep(graph: PruneGraph, seed: int = 0, share: float | None = None) -> dict[str, list[int]]:
    """Some units of every prunable group, a share of them or a random number."""
    rng = np.random.default_rng(seed)
    keep = {}
    for group in graph.prunable:
        width = rng.integers(1, group.size + 1) if share is None else max(1, round(group.size * share))
        keep[group.name] = sorted(rng.permutation(group.size)[:width].tolist())
    return keep
