"""Criteria that read weights only, against slow plain formulas."""

import logging
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from autoprune.criteria import CRITERIA, Magnitude, make_criterion, rank, unit_scores, weight_scores
from autoprune.errors import ArgumentError
from autoprune.graph import PruneGraph, trace
from autoprune.masks import global_masks, granularity, layer_masks
from tests.calibration.nets import residual


def filters(conv: nn.Module) -> list[list[float]]:
    return conv.weight.detach().flatten(1).tolist()


def distance(a: list[float], b: list[float]) -> float:
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)))


def correlation(a: list[float], b: list[float]) -> float:
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    covariance = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True))
    variances = sum((x - mean_a) ** 2 for x in a) * sum((y - mean_b) ** 2 for y in b)
    return covariance / math.sqrt(variances)


def plain_lamp(squares: list[float]) -> list[float]:
    return [s / sum(t for t in squares if t >= s) for s in squares]


@pytest.fixture(scope="module")
def net() -> tuple[nn.Module, PruneGraph]:
    model, graph, _ = residual()
    return model, graph


@pytest.fixture
def two() -> tuple[nn.Sequential, PruneGraph]:
    """One prunable group of four filters of three weights each, without batch norm."""
    model = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.ReLU(), nn.Conv2d(4, 2, 1)).double()
    return model, trace(model, torch.zeros(1, 3, 2, 2, dtype=torch.float64))


@pytest.mark.parametrize("p", [0.5, 1, 2, 3, 4.5])
def test_magnitude_is_the_lp_norm(p: float, net: tuple[nn.Module, PruneGraph]) -> None:
    model, graph = net
    scores = unit_scores(graph, model, Magnitude(p))
    layers = {"stem.weight": ("stem", "a2", "b2"), "a1.weight": ("a1",), "b1.weight": ("b1",)}
    assert scores.keys() == layers.keys()
    for name, convs in layers.items():
        rows = [filters(getattr(model, conv)) for conv in convs]
        norms = [sum(sum(abs(w) ** p for w in r[u]) ** (1 / p) for r in rows) for u in range(len(rows[0]))]
        torch.testing.assert_close(scores[name], torch.tensor(norms, dtype=torch.float64))


@pytest.mark.parametrize("p", [0, -1, math.inf, math.nan, "2"])
def test_magnitude_takes_finite_orders_above_zero(p: float) -> None:
    with pytest.raises(ArgumentError, match="p must be a finite number above 0, got"):
        Magnitude(p)


@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize("pieces", ["row", "kernel", "filter", "channel"])
def test_vectors_are_pruned_by_their_lp_norm(p: int, pieces: str, net: tuple[nn.Module, PruneGraph]) -> None:
    model, graph = net
    weight = model.b2.weight.detach()
    scores = {"b2.weight": weight_scores(graph, model, Magnitude(p))["b2.weight"]}
    mask = layer_masks(scores, 0.5, granularity(pieces))["b2.weight"]
    dims = {"row": (3,), "kernel": (2, 3), "filter": (1, 2, 3), "channel": (0, 2, 3)}[pieces]
    norms = weight.abs().pow(p).sum(dims, keepdim=True).pow(1 / p).expand_as(weight)
    assert norms[mask].min() > norms[~mask].max()
    assert int((~mask).sum()) == weight.numel() // 2


def test_element_wise_magnitude_agrees_with_torch(net: tuple[nn.Module, PruneGraph]) -> None:
    model, graph = residual()[:2]
    expected = layer_masks(weight_scores(graph, model, "l1"), 0.3)["a1.weight"]
    prune.l1_unstructured(model.a1, "weight", amount=0.3)
    assert torch.equal(model.a1.weight_mask.bool(), expected)


@pytest.mark.parametrize("name", ["a1", "b1"])
def test_geometric_median_is_the_sum_of_distances(name: str, net: tuple[nn.Module, PruneGraph]) -> None:
    model, graph = net
    rows = filters(getattr(model, name))
    sums = torch.tensor([sum(distance(a, b) for b in rows) for a in rows], dtype=torch.float64)
    scores = unit_scores(graph, model, "geometric_median")[f"{name}.weight"]
    torch.testing.assert_close(scores, sums)


def test_geometric_median_removes_the_filter_in_the_middle(two: tuple[nn.Sequential, PruneGraph]) -> None:
    model, graph = two
    points = torch.tensor([[5.0, 5, 5], [6.0, 5, 5], [5.0, 6, 5], [5.0, 5, 6]]) - torch.tensor([0, 0, 0])
    points[0] += 1 / 3
    model[0].weight.data = points.double().reshape(4, 3, 1, 1)
    assert rank(graph, model, "geometric_median")["0.weight"][-1] == 0


@pytest.mark.parametrize("name", ["a1", "b1"])
def test_filter_correlation_is_that_of_the_nearest(name: str, net: tuple[nn.Module, PruneGraph]) -> None:
    model, graph = net
    rows = filters(getattr(model, name))
    expected = [
        1 - max(abs(correlation(a, b)) for j, b in enumerate(rows) if i != j) for i, a in enumerate(rows)
    ]
    scores = unit_scores(graph, model, "filter_correlation")[f"{name}.weight"]
    torch.testing.assert_close(scores, torch.tensor(expected, dtype=torch.float64))


def test_filter_correlation_of_special_filters(two: tuple[nn.Sequential, PruneGraph]) -> None:
    model, graph = two
    rows = torch.tensor([[1.0, 2, 4], [-3.0, -6, -12], [0.1, 0.1, 0.1], [0.0, 0, 0]])
    model[0].weight.data = rows.double().reshape(4, 3, 1, 1)
    scores = unit_scores(graph, model, "filter_correlation")["0.weight"]
    torch.testing.assert_close(scores, torch.tensor([0.0, 0, 1, 0], dtype=torch.float64))


def test_redundancy_is_found_in_parts(
    net: tuple[nn.Module, PruneGraph], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, graph = net
    for module in ("filter_correlation", "geometric_median"):
        whole = unit_scores(graph, model, module)
        monkeypatch.setattr(f"autoprune.criteria.{module}.PART", 3)
        parts = unit_scores(graph, model, module)
        for name in whole:
            torch.testing.assert_close(parts[name], whole[name])


def test_lamp_of_weights(net: tuple[nn.Module, PruneGraph]) -> None:
    model, graph = net
    for name, scores in weight_scores(graph, model, "lamp").items():
        weight = model.state_dict()[name]
        expected = plain_lamp(weight.square().flatten().tolist())
        torch.testing.assert_close(scores.flatten(), torch.tensor(expected, dtype=torch.float64))
        assert scores.max() == 1


def test_lamp_of_units(net: tuple[nn.Module, PruneGraph]) -> None:
    model, graph = net
    scores = unit_scores(graph, model, "lamp")
    squares = sum(getattr(model, c).weight.detach().square().flatten(1).sum(1) for c in ("stem", "a2", "b2"))
    expected = torch.tensor(plain_lamp(squares.tolist()), dtype=torch.float64)
    torch.testing.assert_close(scores["stem.weight"], expected)


def test_lamp_never_empties_a_layer(net: tuple[nn.Module, PruneGraph]) -> None:
    model, graph = net
    scores = weight_scores(graph, model, "lamp")
    count = sum(s.numel() for s in scores.values())
    masks = global_masks(scores, 1 - len(scores) / count)
    assert [int(mask.sum()) for mask in masks.values()] == [1] * len(scores)


def test_lamp_of_equal_and_zero_weights(two: tuple[nn.Sequential, PruneGraph]) -> None:
    model, graph = two
    model[0].weight.data = torch.tensor([[2.0, 2, 0]] * 4).double().reshape(4, 3, 1, 1)
    scores = weight_scores(graph, model, "lamp")["0.weight"].reshape(4, 3)
    assert scores[:, 2].eq(0).all()
    ones = scores[:, :2].flatten()
    torch.testing.assert_close(ones, 1 / torch.arange(1, 9, dtype=torch.float64))
    model[0].weight.data.zero_()
    assert weight_scores(graph, model, "lamp")["0.weight"].eq(0).all()


def test_bn_scale_adds_up_all_batch_norms(
    net: tuple[nn.Module, PruneGraph], caplog: pytest.LogCaptureFixture
) -> None:
    model, graph = net
    with caplog.at_level(logging.WARNING, "autoprune"):
        scores = unit_scores(graph, model, "bn_scale")
    scales = [norm.weight.detach().abs() for norm in (model.bn, model.na2, model.nb2)]
    torch.testing.assert_close(scores["stem.weight"], sum(scales))
    torch.testing.assert_close(scores["a1.weight"], model.na1.weight.detach().abs())
    assert torch.equal(scores["b1.weight"], unit_scores(graph, model, "l2")["b1.weight"])
    assert [r.getMessage().split("'")[1] for r in caplog.records] == ["b1.weight"]


class FlatNorm(nn.Module):
    """A channel that a batch norm sees at four positions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 5, 1), nn.BatchNorm1d(20), nn.Linear(20, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.conv(x).flatten(1)))


def test_bn_scale_of_a_channel_at_several_positions() -> None:
    model = FlatNorm().eval()
    nn.init.normal_(model.norm.weight)
    graph = trace(model, torch.zeros(2, 3, 2, 2))
    scores = unit_scores(graph, model, "bn_scale")[graph.prunable[0].name]
    torch.testing.assert_close(scores, model.norm.weight.detach().double().abs().reshape(5, 4).sum(1))


def test_bn_scale_without_batch_norms_is_refused(two: tuple[nn.Sequential, PruneGraph]) -> None:
    model, graph = two
    with pytest.raises(ArgumentError, match="'bn_scale' must find batch norms"):
        unit_scores(graph, model, "bn_scale")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_low_precision_weights_are_scored_in_float64(dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)).to(dtype).eval()
    graph = trace(model, torch.zeros(1, 3, 2, 2, dtype=dtype))
    weights_only = [n for n, c in CRITERIA.items() if c.needs == {"weights"}]
    assert {"l1", "l2", "lamp", "bn_scale", "geometric_median", "filter_correlation"} <= {*weights_only}
    for name in weights_only:
        assert unit_scores(graph, model, name)["0.weight"].dtype == torch.float64
        if make_criterion(name).elementwise:
            assert weight_scores(graph, model, name)["0.weight"].dtype == torch.float64
