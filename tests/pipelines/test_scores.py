"""SNIP, SynFlow, the surgeon and the penalties against plain formulas."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import autoprune
from autoprune.criteria import Context
from autoprune.data import DataSplits
from autoprune.pipelines import SNIP, GroupLasso, L1Penalty, ScalePenalty, Surgeon, SynFlow, optimal_brain
from autoprune.pipelines.surgeon import layer_moments, refit_within, row_losses
from tests.pipelines.problem import batches, net


def context(model: nn.Module, images: Any, inputs: Tensor) -> Context:
    return Context.of(autoprune.trace(model, inputs), model, batches=images)


def test_snip() -> None:
    """The derivative of the loss by a factor on each weight, one weight at a time by finite differences."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    images = [
        (torch.randn(5, 3).double(), torch.randint(2, (5,))),
        (torch.randn(3, 3).double(), torch.ones(3).long()),
    ]
    got = SNIP().elements(context(model, images, torch.zeros(1, 3).double()))
    x, y = (torch.cat(parts) for parts in zip(*images, strict=True))
    want = {}
    for name in ("0.weight", "2.weight"):
        weight, slopes = model.get_parameter(name), []
        for at in range(weight.numel()):
            ends = []
            for factor in (1 + 1e-6, 1 - 1e-6):
                with torch.no_grad():
                    old = weight.clone()
                    weight.view(-1)[at] *= factor
                    ends.append(float(functional.cross_entropy(model(x), y)))
                    weight.copy_(old)
            slopes.append(abs(ends[0] - ends[1]) / 2e-6)
        want[name] = torch.tensor(slopes, dtype=torch.float64).view_as(weight)
    total = sum(float(w.sum()) for w in want.values())
    for name, slope in want.items():
        torch.testing.assert_close(got[name], slope / total, rtol=1e-5, atol=1e-8)
    assert all(p.grad is None for p in model.parameters())


def test_synflow() -> None:
    """For a chain of linear layers: |w_ij| times the flow into j times the flow out of i."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4, bias=False), nn.ReLU(), nn.Linear(4, 2, bias=False))
    got = SynFlow().elements(context(model, [torch.randn(2, 3)], torch.zeros(1, 3)))
    a, b = (model.get_parameter(f"{i}.weight").detach().abs().double() for i in (0, 2))
    torch.testing.assert_close(got["0.weight"], a * b.sum(0)[:, None])
    torch.testing.assert_close(got["2.weight"], b * a.sum(1)[None, :])
    assert float(got["0.weight"].sum()) == pytest.approx(float(got["2.weight"].sum()))


def quadratic(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Weights (2, 5) and a moment (5, 5)."""
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(12, 5, generator=generator, dtype=torch.float64)
    return torch.randn(2, 5, generator=generator, dtype=torch.float64), root.T @ root / 12


def brute(row: Tensor, moment: Tensor, stays: Tensor) -> tuple[Tensor, float]:
    """The best weights over those that stay, and their loss, by plain least squares."""
    root = torch.linalg.cholesky(moment).T
    best = torch.zeros_like(row)
    best[stays] = torch.linalg.lstsq(root[:, stays], (root @ row)[:, None]).solution[:, 0]
    change = best - row
    return best, float(change @ moment @ change / 2)


def test_surgeon_against_brute_force() -> None:
    weight, moment = quadratic()
    alive = torch.ones(2, 5, dtype=torch.bool)
    alive[1, 3] = False
    weight = weight * alive
    got = row_losses(weight, moment, alive, 0.0)
    for row in range(2):
        for at in range(5):
            if not alive[row, at]:
                assert got[row, at] == 0
                continue
            root = torch.linalg.cholesky(moment).T[:, alive[row]]
            stays = alive[row].clone()
            stays[at] = False
            inner = moment[alive[row]][:, alive[row]]
            _, loss = brute(weight[row, alive[row]], inner, stays[alive[row]])
            assert root.shape[1] == int(alive[row].sum())
            assert float(got[row, at]) == pytest.approx(loss, rel=1e-6)


def test_the_bias_takes_up_the_constant() -> None:
    """Weights and bias after the refit against least squares with a constant on the layer's own inputs."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(5, 2)).double()
    x = torch.randn(80, 5, dtype=torch.float64) + 1
    graph = autoprune.trace(model, x)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    stays = torch.tensor([[1, 0, 1, 1, 0], [0, 1, 1, 0, 0]], dtype=torch.bool)
    want = model(x).detach()
    refit_within(model, graph, before, {"0.weight": stays}, layer_moments(model, graph, [x]), 1e-12)
    for row in range(2):
        design = torch.cat([x[:, stays[row]], torch.ones(80, 1, dtype=torch.float64)], 1)
        best = torch.linalg.lstsq(design, want[:, row : row + 1]).solution[:, 0]
        got = model.get_parameter("0.weight").detach()[row]
        torch.testing.assert_close(got[stays[row]], best[:-1], rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(
            model.get_parameter("0.bias").detach()[row], best[-1], rtol=1e-6, atol=1e-8
        )
        assert not got[~stays[row]].any()


def test_one_weight_at_a_time_is_the_surgeon_of_old() -> None:
    """Rounds of one weight with the refit: the same weights in the same order as by brute force."""
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(5, 1, bias=False)).double()
    x = torch.randn(64, 5, dtype=torch.float64) @ torch.randn(5, 5, dtype=torch.float64)
    moment = x.T @ x / 64
    row, stays = model.get_parameter("0.weight").detach()[0].clone(), torch.ones(5, dtype=torch.bool)
    for _ in range(3):
        options = {}
        for at in stays.nonzero().flatten().tolist():
            fewer = stays.clone()
            fewer[at] = False
            options[at] = brute(row[stays], moment[stays][:, stays], fewer[stays])
        at = min(options, key=lambda key: options[key][1])
        row[stays] = options[at][0]
        stays[at] = False
    data = DataSplits([x], [x])
    result = optimal_brain(model, data, 0.6, rounds=3, criterion=Surgeon(0.0), floor=0)
    torch.testing.assert_close(result.model.get_parameter("0.weight")[0], row * stays, rtol=1e-4, atol=1e-5)
    assert [row["sparsity"] for row in result.history] == pytest.approx([0.2, 0.4, 0.6])


def test_the_surgeon_does_better_than_cutting() -> None:
    """Outputs of the refitted network are closer to the dense ones than those of the cut one."""
    model, images = net(), batches(4, 5)
    x = torch.cat([image for image, _ in images])
    errors = {}
    for variant in ("surgeon", "damage"):
        result = optimal_brain(
            model, DataSplits(images, images), 0.5, variant=variant, rounds=2, exclude=["conv1*"],
            criterion=Surgeon(), images=64,
        )  # fmt: skip
        with torch.no_grad():
            errors[variant] = float((result.model(x) - model(x)).square().mean())
    assert errors["surgeon"] < 0.5 * errors["damage"]


def test_penalties() -> None:
    model = net()
    graph = autoprune.trace(model, torch.zeros(1, 1, 6, 6))
    weights = [w.detach() for w in (model.conv1.weight, model.conv2.weight, model.linear.weight)]
    l1 = 0.1 * sum(float(w.abs().sum()) for w in weights)
    assert L1Penalty(graph, model, 0.1)().item() == pytest.approx(l1, rel=1e-5)
    lasso = sum(float(w[u].norm()) * w[u].numel() ** 0.5 for w in weights[:2] for u in range(len(w)))
    assert GroupLasso(graph, model, 0.1)().item() == pytest.approx(0.1 * lasso, rel=1e-5)
    assert ScalePenalty(graph, model, 0.1)().item() == pytest.approx(0.1 * 14)
    with torch.no_grad():
        model.conv1.weight.zero_()
    GroupLasso(graph, model, 0.1)().backward()  # type: ignore[no-untyped-call]
    assert bool(torch.isfinite(model.conv1.weight.grad).all())  # type: ignore[arg-type]
