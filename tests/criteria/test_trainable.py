"""Learned gates: their formulas, their place in the network, and what they find."""

from math import log
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import autoprune
from autoprune.criteria import Context
from autoprune.criteria.gates import Gated, HardConcrete, StraightThrough
from autoprune.criteria.trainable import Trainable
from autoprune.errors import ArgumentError, DataError
from autoprune.train import Trainer


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 6, 3, padding=1)
        self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.norm = nn.BatchNorm2d(6)
        self.first = nn.Linear(6, 8)
        self.last = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.depthwise(self.conv(x).relu())).relu()
        return self.last(self.first(x.mean((2, 3))).relu())  # type: ignore[no-any-return]


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 3))


def copying() -> tuple[nn.Sequential, list[tuple[Tensor, Tensor]]]:
    """Classes are told by units 1, 4 and 6; all others read noise or are not read."""
    model = mlp()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.01)
        for number, unit in enumerate((1, 4, 6)):
            model.get_parameter("0.weight")[unit, number] = 3
            model.get_parameter("2.weight")[number, unit] = 3
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (96,), generator=generator)
    x = torch.eye(3)[labels] + 0.1 * torch.randn(96, 3, generator=generator)
    return model, [(x[i : i + 32], labels[i : i + 32]) for i in (0, 32, 64)]


def learned(**settings: Any) -> Tensor:
    model, batches = copying()
    graph = autoprune.trace(model, torch.zeros(2, 3))
    before = [p.clone() for p in model.parameters()]
    scores = Trainable(**settings).scores(Context.of(graph, model, seed=3, batches=batches))
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    return scores["0.weight"]


@pytest.mark.parametrize("kind", ["hard_concrete", "straight_through", "scale"])
@pytest.mark.parametrize("train_weights", [False, True])
def test_useless_units_go_and_no_others(kind: str, train_weights: bool) -> None:
    torch.manual_seed(0)
    scores = learned(kind=kind, train_weights=train_weights, steps=120)
    useful = torch.zeros(8, dtype=torch.bool)
    useful[[1, 4, 6]] = True
    assert scores.dtype == torch.float64 and scores.shape == (8,)
    assert scores[useful].min() > scores[~useful].max() + 0.2
    torch.manual_seed(0)
    assert torch.equal(scores, learned(kind=kind, train_weights=train_weights, steps=120))


def test_expected_l0_of_hard_concrete() -> None:
    """Against its definition: 1 - P(stretched s <= 0), by formula and by drawing."""
    a = torch.tensor([-3.0, -0.5, 0.0, 1.0, 4.0])
    kind = HardConcrete()
    want = [1 / (1 + 2.718281828459045 ** -(v - 2 / 3 * log(0.1 / 1.1))) for v in a.tolist()]
    assert kind.open(a).tolist() == pytest.approx(want, rel=1e-5)
    drawn = torch.stack([kind.draw(a, g) for g in [torch.Generator().manual_seed(1)] for _ in range(20000)])
    assert (drawn > 0).double().mean(0).tolist() == pytest.approx(want, abs=0.01)
    assert drawn.double().mean(0).tolist() == pytest.approx(kind.expected(a).tolist(), abs=0.01)
    assert (
        drawn.min() >= 0 and drawn.max() <= 1 and bool((drawn[:, 2] == 0).any() and (drawn[:, 2] == 1).any())
    )


def test_straight_through_is_hard_forward_and_soft_backward() -> None:
    a = torch.tensor([-1.0, 0.5], requires_grad=True)
    gate = StraightThrough().draw(a, torch.Generator())
    assert gate.detach().tolist() == pytest.approx([0, 1])
    gate.sum().backward()  # type: ignore[no-untyped-call]
    soft = torch.sigmoid(a.detach())
    torch.testing.assert_close(a.grad, soft * (1 - soft))


def test_a_shut_gate_is_a_removed_unit() -> None:
    model = Net().double().eval()
    x = torch.randn(4, 2, 5, 5, dtype=torch.float64)
    graph = autoprune.trace(model, x)
    keep = {"conv.weight": [0, 2, 5], "first.weight": [1, 2, 3, 7]}
    gated = Gated(graph, model).eval()
    torch.testing.assert_close(gated(x), model(x), rtol=0.2, atol=1)
    with torch.no_grad():
        for name, gate in zip([g.name for g in graph.prunable], gated.gates, strict=True):
            gate.fill_(-1e9)
            gate[keep[name]] = 1e9
    small = autoprune.apply(model, autoprune.plan(graph, keep=keep))
    torch.testing.assert_close(gated(x), small(x))


def test_gates_learn_during_fine_tuning() -> None:
    model, batches = copying()
    graph = autoprune.trace(model, torch.zeros(2, 3))
    gated = Gated(graph, model)
    weight = model.get_parameter("0.weight").clone()
    Trainer(lambda p: torch.optim.Adam(p, 0.05)).train(gated, batches, 60, penalty=lambda: 0.5 * gated.open())
    order = gated.expected()["0.weight"].argsort(descending=True)
    assert set(order[:3].tolist()) == {1, 4, 6}
    assert not torch.equal(model.get_parameter("0.weight"), weight)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "soft"}, "relaxation must be one of hard_concrete"),
        ({"steps": 0}, "steps must be"),
        ({"lr": 0}, "lr must be above 0"),
        ({"penalty": -1}, "penalty must be at least 0"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Trainable(**settings)


@pytest.mark.parametrize(
    ("batches", "error", "message"),
    [
        (None, ArgumentError, "needs batches, got None"),
        ([], DataError, "needs images, got none"),
        ([torch.zeros(2, 3)], DataError, "needs labels"),
    ],
)
def test_bad_batches(batches: Any, error: type[Exception], message: str) -> None:
    model, _ = copying()
    graph = autoprune.trace(model, torch.zeros(2, 3))
    with pytest.raises(error, match=message):
        Trainable().scores(Context.of(graph, model, batches=batches))
