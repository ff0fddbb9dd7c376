"""What is checked before a criterion does any work."""

from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from torch import Tensor

import autoprune
from autoprune.calibration import calibrate
from autoprune.criteria import Context, Criterion, rank, statistics_of, unit_scores, weight_scores
from autoprune.errors import ArgumentError, DataError
from tests.api.problem import BUDGET, QUICK, data, network, tensors
from tests.calibration.nets import residual


def criterion(*needs: str, statistics: frozenset[str] = frozenset(), runs: bool = False) -> Criterion:
    """One that must not be asked for scores."""
    declared_needs, declared_statistics, declared_runs = frozenset(needs), statistics, runs

    class Needy(Criterion):
        name: ClassVar[str] = "needy"
        needs: ClassVar[frozenset[str]] = declared_needs
        statistics: frozenset[str] = declared_statistics
        runs: ClassVar[bool] = declared_runs
        elementwise: ClassVar[bool] = True

        def scores(self, context: Context) -> dict[str, Tensor]:
            raise AssertionError("must not be called")

        elements = scores

    return Needy()


@pytest.mark.parametrize("need", ["data", "gradients"])
def test_a_calibration_is_asked_for(need: str) -> None:
    model, graph, _ = residual()
    for function in (rank, unit_scores, weight_scores):
        with pytest.raises(ArgumentError, match=f"'needy' reads {need} and needs calibration, got None"):
            function(graph, model, criterion("weights", need))


def test_missing_statistics_are_named() -> None:
    model, graph, x = residual()
    wanted = criterion("data", statistics=frozenset({"second", "first"}))
    with pytest.raises(ArgumentError) as info:
        rank(graph, model, wanted)
    assert str(info.value) == (
        "criterion 'needy' needs a calibration with the statistics first, second, got None; pass "
        "calibration=autoprune.calibrate(graph, model, batches, statistics=['first', 'second'])"
    )
    partial = replace(calibrate(graph, model, [x]), statistics={"first": {}})
    with pytest.raises(ArgumentError, match=r"with the statistics second, got one without; .*'first', 'sec"):
        rank(graph, model, wanted, partial)
    complete = replace(partial, statistics={"first": {}, "second": {}})
    with pytest.raises(AssertionError, match="must not be called"):
        rank(graph, model, wanted, complete)


def test_batches_are_asked_for() -> None:
    model, graph, x = residual()
    running = criterion("data", runs=True)
    with pytest.raises(
        ArgumentError, match="'needy' runs the network and needs batches, got None; pass batch"
    ):
        rank(graph, model, running, calibrate(graph, model, [x]))
    with pytest.raises(AssertionError, match="must not be called"):
        rank(graph, model, running, batches=[x])


def test_statistics_of_names_and_compositions() -> None:
    assert statistics_of("l1") == statistics_of("layer_l2(l2)") == frozenset()
    assert statistics_of("taylor") and statistics_of("flops(layer_l2(taylor))") == statistics_of("taylor")


def test_a_criterion_with_statistics_from_calibration_to_plan() -> None:
    model, graph, x = residual()
    batches = [(x, torch.arange(len(x)) % 4)]
    calibration = autoprune.calibrate(graph, model, batches, statistics=statistics_of("taylor"))
    made = autoprune.plan(
        graph, widths={"a1.weight": 4}, criterion="layer_l2(taylor)", calibration=calibration
    )
    best = sorted(rank(graph, model, "taylor", calibration)["a1.weight"][:4].tolist())
    assert list(made.groups["a1.weight"].keep) == best and made.info["criterion"] == "layer_l2(taylor)"


def test_a_criterion_that_runs_the_network_in_a_plan() -> None:
    _, graph, x = residual()
    with pytest.raises(ArgumentError, match="'oracle' runs the network and needs batches"):
        autoprune.plan(graph, widths={"a1.weight": 4}, criterion="oracle")
    batches = [(x, torch.arange(len(x)) % 4)]
    made = autoprune.plan(graph, widths={"a1.weight": 4}, criterion="oracle", batches=batches)
    assert len(made.groups["a1.weight"].keep) == 4


@pytest.mark.parametrize("name", ["layer_l2(taylor)", "oracle"])
def test_a_search_gathers_what_its_criterion_needs(name: str) -> None:
    settings = {**QUICK, "episodes": 2}
    found = autoprune.search(network(), None, data(), BUDGET, criterion=name, baselines=(), **settings)
    assert found.plan.info["criterion"] == name
    assert found.best.costs["macs"] <= found.limits["macs"]


@pytest.mark.parametrize("name", ["taylor", "oracle"])
def test_a_search_by_a_criterion_that_reads_labels_needs_labels(name: str) -> None:
    images = [tensors(24, seed)[0] for seed in range(2)]
    unlabelled = autoprune.DataSplits(train=images, search_val=images)
    with pytest.raises(DataError, match="label"):
        autoprune.search(network(), None, unlabelled, BUDGET, criterion=name, baselines=(), **QUICK)
