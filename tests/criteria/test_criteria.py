import itertools
import logging
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from autoprune.calibration import Calibration, calibrate
from autoprune.criteria import (
    CRITERIA,
    Context,
    Criterion,
    make_criterion,
    rank,
    statistics_of,
    weight_scores,
)
from autoprune.errors import ArgumentError, ModelError
from autoprune.graph import PruneGraph, trace
from autoprune.masks import layer_masks
from tests.calibration.nets import images, residual, trained

ALL = 10**6


@pytest.fixture(scope="module")
def parts() -> tuple[nn.Module, PruneGraph, Calibration, list[tuple[Tensor, Tensor]]]:
    model, graph, x = residual()
    batches = [(x, torch.arange(len(x)) % 4)]
    needed = set().union(*(statistics_of(name) for name in CRITERIA))
    return model, graph, calibrate(graph, model, batches, positions=ALL, statistics=sorted(needed)), batches


@pytest.mark.parametrize("name", CRITERIA)
def test_every_criterion_ranks_every_group(
    name: str, parts: tuple[nn.Module, PruneGraph, Calibration, list[tuple[Tensor, Tensor]]]
) -> None:
    model, graph, calibration, batches = parts
    before = {key: t.clone() for key, t in model.state_dict().items()}
    order = rank(graph, model, name, calibration, 3, batches)
    assert set(order) == {g.name for g in graph.prunable}
    again = rank(graph, model, name, calibration, 3, batches)
    for group in graph.prunable:
        assert sorted(order[group.name].tolist()) == list(range(group.size))
        assert np.array_equal(order[group.name], again[group.name])
    assert all(torch.equal(t, before[key]) for key, t in model.state_dict().items())
    assert not model.training and all(p.requires_grad and p.grad is None for p in model.parameters())
    assert CRITERIA[name].name == name and CRITERIA[name].__doc__


@pytest.mark.parametrize("name", CRITERIA)
def test_every_elementwise_criterion_scores_every_weight(
    name: str, parts: tuple[nn.Module, PruneGraph, Calibration, list[tuple[Tensor, Tensor]]]
) -> None:
    model, graph, calibration, batches = parts
    if not CRITERIA[name].elementwise:
        with pytest.raises(ArgumentError, match=f"'{name}' scores whole units only"):
            weight_scores(graph, model, name, calibration, 3, batches)
        return
    scores = weight_scores(graph, model, name, calibration, 3, batches)
    shapes = {name: p.shape for name, p in model.named_parameters()}
    assert {name: s.shape for name, s in scores.items()} == {x.weight: shapes[x.weight] for x in graph.layers}
    layer_masks(scores, 0.5)


@pytest.mark.parametrize(("name", "n"), [("l1", 1), ("l2", 2)])
@pytest.mark.parametrize("amount", [1, 4, 9])
def test_magnitude_agrees_with_torch(name: str, n: int, amount: int) -> None:
    model, graph, _ = residual()
    order = rank(graph, model, name)
    for layer in ("a1", "b1"):
        conv = getattr(model, layer)
        prune.ln_structured(conv, "weight", amount=amount, n=n, dim=0)
        stays = conv.weight_mask.flatten(1).any(1).nonzero().flatten().tolist()
        assert sorted(order[f"{layer}.weight"][: 10 - amount].tolist()) == stays


def test_all_producers_of_a_residual_group_count() -> None:
    model, graph, _ = residual()
    scores = make_criterion("l1").scores(Context.of(graph, model))
    convs = (model.stem, model.a2, model.b2)
    expected = sum(conv.weight.detach().abs().flatten(1).sum(1) for conv in convs)
    torch.testing.assert_close(scores["stem.weight"], expected)


def test_random_follows_the_seed() -> None:
    model, graph, _ = residual()
    state = torch.get_rng_state()
    first, second = (rank(graph, model, "random", seed=seed)["a1.weight"].tolist() for seed in (0, 1))
    assert first != second and torch.equal(state, torch.get_rng_state())


def test_scores_must_be_finite() -> None:
    class Broken(Criterion):
        name: ClassVar[str] = "broken"
        needs: ClassVar[frozenset[str]] = frozenset()

        def scores(self, context: Context) -> dict[str, Tensor]:
            return {g.name: torch.full((g.size,), torch.nan) for g in context.graph.prunable}

    model, graph, _ = residual()
    with pytest.raises(ModelError, match=r"'broken'.*stem\.weight"):
        rank(graph, model, Broken())


class Two(nn.Module):
    """One group with two consumers, one of which also reads another group."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 6, 3), nn.Conv2d(3, 4, 3)
        self.first, self.second = nn.Conv2d(6, 5, 2), nn.Conv2d(10, 7, 1, bias=False)
        self.norm = nn.BatchNorm2d(7)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a, b = torch.relu(self.a(x)), torch.relu(self.b(x))
        return self.first(a), self.norm(self.second(torch.cat([b, a], 1)))


def loss_without(moment: Tensor, weight: Tensor, columns: set[int]) -> float:
    """Relative error of the full least-squares solve without some columns."""
    stay = [c for c in range(len(moment)) if c not in columns]
    cross = moment[stay] @ weight
    total = (weight * (moment @ weight)).sum()
    explained = (cross * torch.linalg.solve(moment[stay][:, stay], cross)).sum() if stay else 0.0
    return float((total - explained) / total)


def regular(moment: Tensor) -> Tensor:
    return moment + 1e-4 * moment.diagonal().mean() * torch.eye(len(moment), dtype=moment.dtype)


def test_obs_is_the_brute_force_elimination_over_all_consumers() -> None:
    torch.manual_seed(0)
    x = images(60)
    model = trained(Two(), x)
    graph = trace(model, x[:2])
    calibration = calibrate(graph, model, [x], positions=ALL)
    order = rank(graph, model, "obs", calibration)
    problems = []
    for name, kernel, start in (("first.weight", 4, 0), ("second.weight", 1, 4)):
        moment = regular(calibration.moments[name].centered[0])
        problems.append((moment, model.state_dict()[name].flatten(1).T, kernel, start))

    def loss(units: set[int]) -> float:
        return sum(
            loss_without(g, w, {(start + u) * k + i for u in units for i in range(k)})
            for g, w, k, start in problems
        )

    removed: list[int] = []
    while len(removed) < 6:
        left = [u for u in range(6) if u not in removed]
        removed.append(min(left, key=lambda u: loss({*removed, u})))
    assert order["a.weight"].tolist() == removed[::-1]


def test_obs_is_close_to_the_best_subset_and_better_than_magnitude() -> None:
    model, graph, x = residual()
    calibration = calibrate(graph, model, [x], positions=ALL)
    moment = regular(calibration.moments["a2.weight"].centered[0])
    weight = model.state_dict()["a2.weight"].flatten(1).T
    best = min(loss_without(moment, weight, set(gone)) for gone in itertools.combinations(range(10), 5))
    losses = {
        name: loss_without(
            moment, weight, set(rank(graph, model, name, calibration)["a1.weight"][5:].tolist())
        )
        for name in ("obs", "l1")
    }
    assert best <= losses["obs"] <= 1.5 * best and losses["obs"] < losses["l1"]


def test_grouped_consumers() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 3, groups=2), nn.Flatten())
    x = images(60)
    model = trained(net, x)
    graph = trace(model, x[:2])
    calibration = calibrate(graph, model, [x], positions=ALL)
    group = next(g for g in graph.prunable if any(a.parameter == "2.weight" and a.dim == 1 for a in g.axes))
    axis = next(a for a in group.axes if a.parameter == "2.weight" and a.dim == 1)
    moments, weights = calibration.moments["2.weight"].centered, model[2].weight.detach().reshape(2, 3, -1).mT

    def loss(unit: int) -> float:
        columns = [int(c) * 9 + i for c in axis.indices[unit] for i in range(9)]
        return sum(
            loss_without(regular(g), w, set(columns)) * float((w * (regular(g) @ w)).sum())
            for g, w in zip(moments, weights, strict=True)
        )

    first_out = rank(graph, model, "obs", calibration)[group.name][-1]
    assert first_out == min(range(group.size), key=loss)


def test_groups_without_moments_fall_back_to_l2(caplog: pytest.LogCaptureFixture) -> None:
    model, graph, x = residual()
    full = calibrate(graph, model, [x])
    moments = {k: m for k, m in full.moments.items() if k != "a2.weight"}
    partial = Calibration(graph, moments, full.norms, {"a2.weight": "left out"}, 24, 64, 0)
    with caplog.at_level(logging.WARNING, "autoprune"):
        order = rank(graph, model, "obs", partial)
    assert "a1.weight" in caplog.text and "b1.weight" not in caplog.text
    assert np.array_equal(order["a1.weight"], rank(graph, model, "l2")["a1.weight"])
    assert np.array_equal(order["b1.weight"], rank(graph, model, "obs", full)["b1.weight"])
