"""Modules that cut channels at numbers which they keep as attributes."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autoprune.errors import ArgumentError
from autoprune.graph import cuts, trace
from autoprune.plan import Plan, make_plan
from autoprune.surgery import Cut, apply, attributes, proven, register_adapter
from autoprune.verify import verify
from tests.graph.checks import randomize
from tests.surgery.nets import random_keep

IMAGE = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0)).double()


class Mixed(nn.ModuleDict):
    """Parts of different sizes through depthwise convolutions of different kernels."""

    def __init__(self) -> None:
        super().__init__()
        for number, (size, kernel) in enumerate(((5, 1), (3, 3), (4, 5))):
            conv = nn.Conv2d(size, size, kernel, padding=kernel // 2, groups=size)
            self.add_module(str(number), conv)
        self.splits = [5, 3, 4]

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([c(p) for c, p in zip(self.values(), x.split(self.splits, 1), strict=True)], 1)


class Steps(nn.Module):
    """Equal parts, each added to what the one before became."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.width = 3, 4
        self.conv1 = nn.Conv2d(12, 12, 1)
        self.convs = nn.ModuleList([nn.Conv2d(4, 4, 3, padding=1) for _ in range(2)])

    def forward(self, x: Tensor) -> Tensor:
        parts = torch.split(self.conv1(x).relu(), self.width, 1)
        first = self.convs[0](parts[0]).relu()
        return torch.cat([first, self.convs[1](first + parts[1]).relu(), parts[2]], 1)


class Paths(nn.Module):
    """The first channels are added to the input, the others put beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.num_1x1_c = 12
        self.c1x1_c = nn.Sequential()
        self.c1x1_c.conv = nn.Conv2d(12, 17, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.c1x1_c(x)
        return torch.cat([x + y[:, : self.num_1x1_c], y[:, self.num_1x1_c :]], 1)


CASES: dict[str, tuple[type[nn.Module], str, int, list[int]]] = {
    "free": (Mixed, "timm.layers.mixed_conv2d.MixedConv2d", 12, [5, 3, 4]),
    "equal": (Steps, "timm.models.res2net.Bottle2neck", 12, [12, 4, 4]),
    "windows": (Paths, "timm.models.dpn.DualPathBlock", 17, [12, 5]),
}


def network(name: str, known: bool) -> nn.Module:
    """The module between two convolutions, under its own name or that of the library's class."""
    cls, full, channels, _ = CASES[name]
    if known:
        module, _, qualname = full.rpartition(".")
        cls = type(qualname, (cls,), {"__module__": module, "__qualname__": qualname})
    stem = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU())
    return randomize(nn.Sequential(stem, cls(), nn.ReLU(), nn.Conv2d(channels, 4, 1)), 0).eval()


def check(model: nn.Module, sizes: list[int]) -> Plan:
    """The own class follows, whatever stays."""
    graph = proven(trace(model, IMAGE))
    assert graph.form == "class", graph.form_reason
    assert sorted(g.size for g in graph.prunable) == sorted(sizes)
    for seed in range(4):
        plan = make_plan(graph, model, random_keep(graph, seed))
        verify(model, plan, IMAGE).require()
    assert any("1" in path for path in plan.modules)
    return plan


@pytest.mark.parametrize("name", CASES)
def test_modules_of_other_libraries_are_known_by_name(name: str) -> None:
    model = network(name, known=False)
    plain = trace(model, IMAGE)
    assert any("cut at a constant index" in g.reason for g in plain.groups), "known by nothing but the name"
    model = network(name, known=True)
    plan = check(model, CASES[name][3])
    small = apply(model, Plan.from_json(plan.to_json()))
    assert small(IMAGE[:1]).shape == (1, 4, 6, 6)


@pytest.fixture
def registries(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(attributes, "_REGISTRY", dict(attributes._REGISTRY))
    monkeypatch.setattr(cuts, "_KNOWN", dict(cuts._KNOWN))
    yield


class Halves(nn.Module):
    """Gated by its own second part."""

    def __init__(self) -> None:
        super().__init__()
        self.half = 6
        self.gate, self.proj = nn.Conv2d(6, 5, 1), nn.Conv2d(6, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x[:, : self.half]) * torch.sigmoid(self.gate(x[:, self.half :]))


def halves() -> nn.Module:
    return randomize(nn.Sequential(nn.Conv2d(3, 12, 1), Halves(), nn.Conv2d(5, 2, 1)), 0).eval()


def test_a_class_of_ones_own(registries: None) -> None:
    model = halves()
    assert "cut at a constant index" in trace(model, IMAGE).group("0.weight").reason

    @register_adapter(Halves, attributes=["half"], cuts="free")
    def _half(cut: Cut) -> Mapping[str, int]:
        return {"half": cut.after["proj.weight"][1]}

    check(model, [5, 6, 6])


def test_negative_control_an_adapter_that_is_wrong_is_found_by_running(registries: None) -> None:
    @register_adapter(Halves, attributes=["half"], cuts="free")
    def _half(cut: Cut) -> Mapping[str, int]:
        return {}

    model = halves()
    graph = proven(trace(model, IMAGE))
    assert graph.form == "graph" and "its own class cannot follow" in graph.form_reason
    verify(model, make_plan(graph, model, random_keep(graph, 0)), IMAGE).require()


def test_words() -> None:
    with pytest.raises(ArgumentError, match="cuts must be 'free', 'equal' or None, got 'any'"):
        register_adapter(Halves, attributes=["half"], cuts="any")  # type: ignore[arg-type]


def test_a_part_keeps_a_channel() -> None:
    model = network("free", known=True)
    graph = proven(trace(model, IMAGE))
    keep = {group.name: [group.size - 1] for group in graph.prunable}
    small: Any = apply(model, make_plan(graph, model, keep))
    assert small[1].splits == (1, 1, 1)
    x = F.relu(small[0](IMAGE))
    assert small[1](x).shape[1] == 3
