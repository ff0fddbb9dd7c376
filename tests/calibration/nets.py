from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autoprune.calibration.intercept import LayerCall, Watch
from autoprune.graph import PruneGraph, trace


class Residual(nn.Module):
    """Stem, two residual blocks and a head; the blocks' inner channels can be pruned."""

    def __init__(self, width: int = 6, inner: int = 10) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.a1, self.a2 = (
            nn.Conv2d(width, inner, 3, padding=1, bias=False),
            nn.Conv2d(inner, width, 1, bias=False),
        )
        self.b1, self.b2 = (nn.Conv2d(width, inner, 1), nn.Conv2d(inner, width, 3, padding=1, bias=False))
        self.na1, self.na2 = nn.BatchNorm2d(inner), nn.BatchNorm2d(width)
        self.nb2 = nn.BatchNorm2d(width)
        self.head = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn(self.stem(x)))
        x = F.relu(self.na2(self.a2(F.relu(self.na1(self.a1(x))))) + x)
        y = self.nb2(self.b2(F.relu(self.b1(x))))
        y += x
        return self.head(F.relu_(y).mean((2, 3)))


def trained(model: nn.Module, inputs: Tensor, seed: int = 0) -> nn.Module:
    """Random weights and batch norms that really normalize, in float64, eval mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator))
        model.double().train()
        for _ in range(20):
            model(inputs.double())
    return model.eval()


def images(count: int = 24, channels: int = 3, size: int = 6, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, channels, size, size, generator=generator, dtype=torch.float64)


def residual() -> tuple[nn.Module, PruneGraph, Tensor]:
    torch.manual_seed(0)
    x = images()
    model = trained(Residual(), x)
    return model, trace(model, x[:2]), x


def prefix(graph: PruneGraph, share: float, seed: int = 0) -> dict[str, list[int]]:
    rng = np.random.default_rng(seed)
    return {
        g.name: sorted(rng.permutation(g.size)[: max(1, round(share * g.size))].tolist())
        for g in graph.prunable
    }


class Seen(Watch):
    """Keeps every layer call and its output."""

    def __init__(self, model: nn.Module, graph: PruneGraph) -> None:
        super().__init__(model, graph.layers)
        self.calls: dict[str, tuple[LayerCall, Tensor]] = {}

    def on_layer(self, call: LayerCall) -> Tensor:
        output = call.run()
        self.calls[call.layer.weight] = call, output
        return output


def seen(model: nn.Module, graph: PruneGraph, x: Tensor) -> Mapping[str, tuple[LayerCall, Tensor]]:
    watch = Seen(model, graph)
    with torch.no_grad(), watch:
        model(x)
    return watch.calls
