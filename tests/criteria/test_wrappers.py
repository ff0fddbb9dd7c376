"""Criteria around criteria."""

from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from autoprune.criteria import (
    L1,
    Context,
    Criterion,
    FlopsRegularized,
    LayerL2,
    LayerMax,
    LayerMean,
    LayerRank,
    Random,
    Wrapper,
    rank,
    unit_scores,
    weight_scores,
)  # fmt: skip
from autoprune.criteria.flops import unit_macs
from autoprune.errors import ArgumentError
from autoprune.graph import Group, PruneGraph, trace
from tests.calibration.nets import residual

NORMS = [LayerL2, LayerMean, LayerMax, LayerRank]


class Fixed(Criterion):
    """Gives the same numbers for every group."""

    name: ClassVar[str] = "fixed"
    needs: ClassVar[frozenset[str]] = frozenset({"gradients", "data"})
    runs: ClassVar[bool] = True

    def __init__(self, values: list[float]) -> None:
        self.values = torch.tensor(values)
        self.statistics = frozenset({"loss"})

    def scores(self, context: Context) -> dict[str, Tensor]:
        return {g.name: self.values for g in context.graph.prunable}


def four() -> tuple[nn.Module, PruneGraph]:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    return model, trace(model, torch.zeros(1, 3, 5, 5))


@pytest.mark.parametrize(
    ("wrapper", "values", "expected"),
    [
        (LayerL2, [3, 4, 0, 0], [0.6, 0.8, 0, 0]),
        (LayerMean, [1, 2, 3, 2], [0.5, 1, 1.5, 1]),
        (LayerMean, [-2, 2, 0, 4], [-1, 1, 0, 2]),
        (LayerMax, [1, 2, 8, 4], [0.125, 0.25, 1, 0.5]),
        (LayerMax, [-8, -4, -2, -1], [-1, -0.5, -0.25, -0.125]),
        (LayerRank, [7, -1, 100, 3], [0.75, 0.25, 1, 0.5]),
        (LayerRank, [5, 1, 5, 0], [0.875, 0.5, 0.875, 0.25]),
        (LayerL2, [0, 0, 0, 0], [0, 0, 0, 0]),
        (LayerMean, [0, 0, 0, 0], [0, 0, 0, 0]),
        (LayerMax, [0, 0, 0, 0], [0, 0, 0, 0]),
        (LayerRank, [0, 0, 0, 0], [0.625] * 4),
    ],
)
def test_layer_norms(wrapper: type[Wrapper], values: list[float], expected: list[float]) -> None:
    model, graph = four()
    scores = wrapper(Fixed(values)).scores(Context.of(graph, model))["0.weight"]
    torch.testing.assert_close(scores, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("wrapper", [*NORMS, FlopsRegularized])
def test_the_order_within_a_group_stays(wrapper: type[Wrapper]) -> None:
    model, graph, _ = residual()
    plain, wrapped = rank(graph, model, L1()), rank(graph, model, wrapper(L1()))
    assert {n: o.tolist() for n, o in plain.items()} == {n: o.tolist() for n, o in wrapped.items()}


@pytest.mark.parametrize("wrapper", NORMS)
def test_the_scale_of_a_layer_does_not_matter(wrapper: type[Wrapper]) -> None:
    model, graph, _ = residual()
    before = unit_scores(graph, model, wrapper(L1()))
    elements = weight_scores(graph, model, wrapper(L1()))
    with torch.no_grad():
        model.a1.weight.mul_(8)
    torch.testing.assert_close(unit_scores(graph, model, wrapper(L1())), before)
    torch.testing.assert_close(weight_scores(graph, model, wrapper(L1())), elements)


def test_flops_are_what_the_dense_network_saves_without_one_unit() -> None:
    model, graph, _ = residual()
    scores, plain = unit_scores(graph, model, FlopsRegularized(L1(), 1e-3)), unit_scores(graph, model, "l1")
    images, area, width, inner = 2, 36, 6, 10
    unit = {
        # Filters of the stem, a2 and b2, columns of a1, b1 and the head.
        "stem.weight": images * area * (3 * 9 + inner + 9 * inner + 9 * inner + inner) + images * 4,
        "a1.weight": images * area * (9 * width + width),
        "b1.weight": images * area * (width + 9 * width),
    }
    for name, macs in unit.items():
        assert graph.macs() - graph.macs({name: graph.group(name).size - 1}) == macs
        torch.testing.assert_close(scores[name], plain[name] - 1e-3 * macs)


def test_the_only_unit_of_a_group_costs_nothing_as_it_stays() -> None:
    assert unit_macs(four()[1], Group("one", 1, ())) == 0


def test_flops_of_single_weights_add_up_to_the_macs() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.ConvTranspose2d(4, 6, 3, stride=2),
        nn.Conv2d(6, 6, 1, groups=2), nn.Flatten(), nn.Linear(6 * 49, 5),
    )  # fmt: skip
    graph = trace(model, torch.zeros(2, 3, 7, 7))
    plain = weight_scores(graph, model, "l1")
    scores = weight_scores(graph, model, FlopsRegularized(L1(), 1.0))
    total = sum(float((plain[name] - scores[name]).sum()) for name in plain)
    assert total == pytest.approx(graph.macs())


def test_what_the_inner_criterion_needs_is_passed_on() -> None:
    inner = Fixed([1, 2, 3, 4])
    wrapped = FlopsRegularized(LayerL2(LayerRank(inner)), 0.5)
    assert (wrapped.needs, wrapped.statistics, wrapped.runs) == (inner.needs, inner.statistics, True)
    assert wrapped.name == "flops(layer_l2(layer_rank(fixed)))"
    assert not wrapped.elementwise and LayerMax(L1()).elementwise
    assert FlopsRegularized.name == "flops" and not FlopsRegularized.runs
    with pytest.raises(
        ArgumentError, match=r"'layer_l2\(fixed\)' runs the network and needs batches"
    ) as info:
        unit_scores(*four()[::-1], LayerL2(Plain([1, 2, 3, 4])))
    assert "got None" in str(info.value)
    with pytest.raises(ArgumentError, match="'fixed' scores whole units only"):
        LayerL2(inner).elements(Context.of(*four()[::-1]))


class Plain(Fixed):
    """Runs the network, without statistics."""

    def __init__(self, values: list[float]) -> None:
        super().__init__(values)
        self.statistics = frozenset()


def test_random_scores_can_be_wrapped() -> None:
    model, graph = four()
    scores = unit_scores(graph, model, LayerMax(Random()), seed=1)["0.weight"]
    assert scores.max() == 1 and not torch.equal(
        scores, unit_scores(graph, model, LayerMax(Random()), seed=2)["0.weight"]
    )


@pytest.mark.parametrize("strength", [-1e-9, float("inf"), float("nan"), "1"])
def test_strength_is_checked(strength: float) -> None:
    with pytest.raises(ArgumentError, match="strength must be a finite number of at least 0, got"):
        FlopsRegularized(L1(), strength)


@pytest.mark.parametrize("wrapper", [*NORMS, FlopsRegularized])
@pytest.mark.parametrize("inner", ["l1", L1, None])
def test_only_criteria_can_be_wrapped(wrapper: type[Wrapper], inner: object) -> None:
    with pytest.raises(ArgumentError, match="criterion must be a Criterion object to wrap, got"):
        wrapper(inner)
