from dataclasses import replace
from typing import Any

import pytest
import torch

import autoprune
from autoprune.errors import ArgumentError
from autoprune.graph import PruneGraph
from tests.api.problem import data, network

EXAMPLE = torch.zeros(1, 1, 8, 8)
GROUP = "conv1.weight"


@pytest.fixture(scope="module")
def graph() -> PruneGraph:
    return autoprune.trace(network(), EXAMPLE)


def test_by_indices(graph: PruneGraph) -> None:
    plan = autoprune.plan(graph, keep={GROUP: [0, 3, 7]})
    assert plan.groups[GROUP].keep == (0, 3, 7)
    assert autoprune.apply(network(), plan).conv1.out_channels == 3  # type: ignore[union-attr]


def test_by_widths_a_criterion_chooses(graph: PruneGraph) -> None:
    model = network()
    norms = model.get_parameter(GROUP).detach().flatten(1).norm(dim=1)
    plan = autoprune.plan(graph, widths={GROUP: 3}, criterion="l2")
    assert set(plan.groups) == {GROUP}
    assert set(plan.groups[GROUP].keep) == set(norms.topk(3).indices.tolist())
    assert plan.info == {"criterion": "l2", "seed": 0}


def test_only_a_traced_graph_will_do(graph: PruneGraph) -> None:
    for wrong in (network(), EXAMPLE, replace(graph, model=None)):
        with pytest.raises(ArgumentError, match="graph must come from autoprune.trace"):
            autoprune.plan(wrong, widths={GROUP: 5}, criterion="l1")  # type: ignore[arg-type]


def test_the_default_criterion_reads_data(graph: PruneGraph) -> None:
    model = network()
    with pytest.raises(ArgumentError, match=r"calibration=autoprune\.calibrate"):
        autoprune.plan(graph, widths={GROUP: 3})
    calibration = autoprune.calibrate(graph, model, data().search_val)
    plan = autoprune.plan(graph, widths={GROUP: 3}, calibration=calibration)
    images = data().search_val.dataset.tensors[0]  # type: ignore[attr-defined]
    with torch.no_grad():
        dense = model(images)
        plain, fitted = (
            autoprune.apply(model, plan)(images),
            autoprune.apply(model, plan, calibration)(images),
        )
    assert (fitted - dense).norm() < (plain - dense).norm()


def test_a_seeded_criterion(graph: PruneGraph) -> None:
    plans = [autoprune.plan(graph, widths={GROUP: 4}, criterion="random", seed=s) for s in (0, 0, 1)]
    assert plans[0] == plans[1] and plans[0].groups != plans[2].groups


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either keep or widths, got none"),
        ({"keep": {}, "widths": {}}, "either keep or widths, got both"),
        ({"widths": {GROUP: 0}}, r"widths\['conv1.weight'\] must lie in 1..8, got 0"),
        ({"widths": {"conv1": 1}}, "did you mean 'conv1.weight'"),
        ({"keep": {GROUP: [8]}}, "distinct unit indices in 0..7"),
        ({"widths": {GROUP: 3}, "criterion": "best"}, "criterion must be one of"),
    ],
)
def test_bad_arguments(graph: PruneGraph, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        autoprune.plan(graph, **{"criterion": "l2"} | arguments)
