"""Masks of coupled channels: the masked network computes what the sliced one computes."""

import copy
from collections.abc import Sequence
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autoprune.errors import ArgumentError
from autoprune.graph import PruneGraph, trace
from autoprune.masks import Masks, channel_masks
from autoprune.plan import make_plan
from autoprune.surgery import apply


class Net(nn.Module):
    """Biases, batch-norm with and without an affine part, a sum, a depthwise layer, a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.bn = nn.BatchNorm2d(8)
        self.inner = nn.Conv2d(8, 6, 3, padding=1)
        self.plain = nn.BatchNorm2d(6, affine=False)
        self.depth = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.outer = nn.Conv2d(6, 8, 1)
        self.head = nn.Linear(8 * 4 * 4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.stem(x)).relu()
        y = self.outer(self.plain(self.depth(self.inner(x).relu())))
        return self.head((x + y).flatten(1))


@pytest.fixture
def traced() -> tuple[Net, PruneGraph, Tensor]:
    torch.manual_seed(3)
    model, x = Net().double(), torch.randn(4, 3, 4, 4, dtype=torch.float64)
    for p in model.parameters():
        nn.init.normal_(p, std=0.5)
        if p.dim() == 1:
            p.data.abs_()  # so that no ReLU hides a bias
    for _ in range(3):
        model(torch.randn(32, 3, 4, 4, dtype=torch.float64) + 1)
    model.eval()
    return model, trace(model, x), x


def some(graph: PruneGraph) -> dict[str, Sequence[int]]:
    return {g.name: list(range(1, g.size, 2)) for g in graph.prunable}


def test_masked_equals_sliced(traced: tuple[Net, PruneGraph, Tensor]) -> None:
    model, graph, x = traced
    keep = some(graph)
    assert len(keep) == 2
    masks = channel_masks(graph, keep)
    assert {"stem.bias", "bn.weight", "bn.bias", "plain.running_mean", "outer.bias"} <= set(masks)
    sliced = apply(model, make_plan(graph, model, keep))
    dense = model(x)
    with masks.apply(model):
        masked = model(x)
    assert torch.allclose(masked, sliced(x), atol=1e-12)
    assert not torch.allclose(dense, masked, atol=1e-2)
    assert torch.equal(model(x), dense)


def without_readers(masks: Masks, graph: PruneGraph) -> Masks:
    """The same masks, but layers may read the removed channels: only what makes these zero is masked."""
    result = dict(masks)
    for group in graph.prunable:
        for axis in group.axes:
            if axis.dim == 1:
                whole = masks[axis.parameter].any(1, keepdim=True)
                result[axis.parameter] = whole.expand_as(masks[axis.parameter])
    return Masks(result)


@pytest.mark.parametrize("forgotten", ["bn.bias", "plain.running_mean", "outer.bias", "depth.bias"])
def test_every_member_matters(traced: tuple[Net, PruneGraph, Tensor], forgotten: str) -> None:
    """The removed channels are exactly zero; with a bias or a mean left over they are a constant."""
    model, graph, x = traced
    masks = channel_masks(graph, some(graph))
    producers = without_readers(masks, graph)
    with masks.apply(model):
        expected = model(x)
    with producers.apply(model):
        assert torch.allclose(model(x), expected, atol=1e-12)
    with Masks({n: m for n, m in producers.items() if n != forgotten}).apply(model):
        assert not torch.allclose(model(x), expected, atol=1e-3)


def test_training_under_the_masks_equals_training_the_sliced_network(
    traced: tuple[Net, PruneGraph, Tensor],
) -> None:
    model, graph, x = traced
    keep = some(graph)
    masks, sliced = channel_masks(graph, keep), apply(model, make_plan(graph, model, keep)).train()
    masked = copy.deepcopy(model).train()
    target = torch.arange(4) % 5
    optimizers = [torch.optim.AdamW(m.parameters(), lr=1e-2, weight_decay=0.1) for m in (masked, sliced)]
    with masks.enforce(masked, optimizers[0]):
        for _ in range(4):
            for net, optimizer in zip((masked, sliced), optimizers, strict=True):
                optimizer.zero_grad()
                F.cross_entropy(net(x), target).backward()
                optimizer.step()
    assert torch.allclose(masked.eval()(x), sliced.eval()(x), atol=1e-9)


def test_nothing_removed_is_no_mask(traced: tuple[Net, PruneGraph, Tensor]) -> None:
    _, graph, _ = traced
    assert len(channel_masks(graph, {})) == 0
    assert len(channel_masks(graph, {g.name: range(g.size) for g in graph.groups})) == 0


def test_unknown_groups_and_bad_units(traced: tuple[Net, PruneGraph, Tensor]) -> None:
    _, graph, _ = traced
    with pytest.raises(ArgumentError, match="no group named"):
        channel_masks(graph, {"nowhere": [0]})
    with pytest.raises(ArgumentError, match="distinct unit indices"):
        channel_masks(graph, {graph.prunable[0].name: [99]})


@pytest.mark.cifar
def test_a_trained_resnet(cifar: SimpleNamespace) -> None:
    model = cifar.models.resnet20().double()
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    graph = trace(model, x)
    keep = some(graph)
    masks = channel_masks(graph, keep)
    sliced = apply(model, make_plan(graph, model, keep))
    with masks.apply(model):
        assert torch.allclose(model(x), sliced(x), atol=1e-10)
