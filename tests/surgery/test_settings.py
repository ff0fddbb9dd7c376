"""Applying plans to models as they come: wrapped, of other types, tied, frozen, with several inputs."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import autoprune
from autoprune.graph.export import unwrap
from autoprune.surgery.compare import outputs


class Net(nn.Module):
    """Two inputs, a nested result, a tied weight."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Linear(6, 10)
        self.right = nn.Linear(4, 10)
        self.mix = nn.Linear(10, 8)
        self.again = nn.Linear(10, 8, bias=False)
        self.again.weight = self.mix.weight
        self.norm = nn.BatchNorm1d(8)
        self.head = nn.Linear(8, 3)

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        x = F.relu(self.left(a) + self.right(b))
        y = F.relu(self.norm(self.mix(x))) + self.again(x)
        return self.head(y), {"sum": y.sum(1)}


class StiffNet(Net):
    """The same, but its class cannot follow."""

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        scores, more = super().forward(a, b)
        x = F.relu(self.left(a) + self.right(b)).view(len(a), 10)
        return scores + x.sum(1, keepdim=True), more


class Outer(nn.Module):
    """Dicts in and out."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net = net

    def forward(self, batch: dict[str, Tensor], *, scale: float = 1.0) -> dict[str, Any]:
        scores, more = self.net(batch["a"], batch["b"])
        return {"scores": scores * scale, "more": [more]}


class Setting(NamedTuple):
    """How a network is changed or wrapped, how its inputs are, and what difference is rounding."""

    change: Callable[[Any], nn.Module]
    inputs: Callable[[Tensor, Tensor], Any] = lambda a, b: (a, b)
    rounding: float = 1e-5


def frozen(net: Net) -> nn.Module:
    net.left.requires_grad_(False)
    net.norm.requires_grad_(False)
    return net


def half(net: Net) -> nn.Module:
    return net.to(torch.bfloat16)


def compiled(net: Net) -> nn.Module:
    return torch.compile(net, backend="eager")  # type: ignore[return-value]


def mixed(net: Net) -> nn.Module:
    net.norm.double().float().train()
    return net


SETTINGS = {
    "plain": Setting(lambda net: net),
    "keyword arguments": Setting(lambda net: net, lambda a, b: {"b": b, "a": a}),
    "train mode": Setting(lambda net: net.train()),
    "some modules in train mode": Setting(mixed),
    "data parallel": Setting(nn.DataParallel),
    "compiled": Setting(compiled),
    "compiled data parallel": Setting(lambda net: nn.DataParallel(compiled(net))),
    "frozen": Setting(frozen),
    "double": Setting(lambda net: net.double(), lambda a, b: (a.double(), b.double()), 1e-12),
    "bfloat16": Setting(half, lambda a, b: (a.bfloat16(), b.bfloat16()), 0.05),
    "float16": Setting(lambda net: net.half(), lambda a, b: (a.half(), b.half()), 0.01),
    "dicts": Setting(Outer, lambda a, b: ({"a": a, "b": b},)),
    "dicts and keywords": Setting(Outer, lambda a, b: {"batch": {"a": a, "b": b}, "scale": 2.0}),
}


def make(cls: type[Net], name: str) -> tuple[nn.Module, Callable[[int], Any]]:
    torch.manual_seed(0)
    net = cls()
    for _ in range(5):
        net.train()(torch.randn(16, 6), torch.randn(16, 4))
    model = SETTINGS[name].change(net.eval())

    def inputs(count: int) -> Any:
        generator = torch.Generator().manual_seed(count)
        a, b = (torch.randn(count, n, generator=generator) for n in (6, 4))
        return SETTINGS[name].inputs(a, b)

    return model, inputs


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("cls", [Net, StiffNet])
def test_prune_apply_and_verify(cls: type[Net], name: str, tmp_path: Any) -> None:
    model, inputs = make(cls, name)
    inner = unwrap(model)
    modes = [m.training for m in inner.modules()]
    graph = autoprune.trace(model, inputs(2))
    widths = {g.name: g.size // 2 for g in graph.prunable}
    assert len(widths) == 2
    plan = autoprune.plan(graph, widths=widths, criterion="l2")
    assert plan.form == ("class" if cls is Net else "graph")
    small = autoprune.apply(model, plan, example_inputs=inputs(3))

    assert [m.training for m in inner.modules()] == modes and small.training == inner.training
    assert {p.dtype for p in small.parameters()} == {p.dtype for p in inner.parameters()}
    flags = {n: p.requires_grad for n, p in inner.named_parameters()}
    assert {n: p.requires_grad for n, p in small.named_parameters()} == flags
    tied = small.get_submodule("net" if name.startswith("dicts") else "")
    assert tied.get_submodule("again").weight is tied.get_submodule("mix").weight
    assert list(small.state_dict()) == list(inner.state_dict())

    keep = {n: group.keep for n, group in plan.groups.items()}
    inner.eval(), small.eval()
    with autoprune.surgery.masked(inner, graph, keep):
        expected = outputs(inner, inputs(5))
    for a, b in zip(outputs(small, inputs(5)), expected, strict=True):
        assert a.dtype == b.dtype
        assert float((a - b).abs().max()) <= SETTINGS[name].rounding * float(b.abs().max())
    autoprune.save(small, plan, tmp_path / "net")
    loaded = autoprune.load(tmp_path / "net", model)
    for a, b in zip(outputs(small, inputs(4)), outputs(loaded, inputs(4)), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", ["data parallel", "compiled", "frozen", "bfloat16"])
@pytest.mark.parametrize("cls", [Net, StiffNet])
def test_search(cls: type[Net], name: str) -> None:
    model, inputs = make(cls, name)
    batches = [(inputs(24), torch.arange(24) % 3) for _ in range(3)]
    splits = autoprune.DataSplits(train=batches, search_val=batches[:2])
    found = autoprune.search(
        model,
        inputs(1),
        splits,
        "params=70%",
        agent="random",
        episodes=2,
        calibration_images=48,
        fit_images=24,
    )
    assert found.plan.form == ("class" if cls is Net else "graph")
    assert sum(p.numel() for p in found.model.parameters()) <= found.limits["params"]
    flags = {n: p.requires_grad for n, p in unwrap(model).named_parameters()}
    assert {n: p.requires_grad for n, p in found.model.named_parameters()} == flags
    assert found.found.evaluation.score > -1
