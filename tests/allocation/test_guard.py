"""The guard against the collapse of a layer: shown to be needed, and to be on."""

import inspect
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import autoprune
from autoprune.allocation import global_ranking, isomorphic
from autoprune.budget import Budget
from autoprune.candidate import CandidateEvaluator
from autoprune.criteria import L2, Context, rank
from autoprune.graph import trace
from autoprune.score import Accuracy, SearchImages
from autoprune.task import Task
from autoprune.train import finetune
from tests.allocation.nets import make_scores, make_task
from tests.api.problem import CLASSES, tensors
from tests.budget import graphs


class Chain(nn.Module):
    """Three hidden layers, each with a batch norm, which makes the scale of their weights mean nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.bn_a = nn.Linear(64, 24, bias=False), nn.BatchNorm1d(24)
        self.b, self.bn_b = nn.Linear(24, 24, bias=False), nn.BatchNorm1d(24)
        self.c, self.bn_c = nn.Linear(24, 24, bias=False), nn.BatchNorm1d(24)
        self.head = nn.Linear(24, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn_b(self.b(self.bn_a(self.a(x.flatten(1))).relu())).relu()
        out: Tensor = self.head(self.bn_c(self.c(x)).relu())
        return out


@cache
def network() -> nn.Module:
    """Trained; then the weights of `b` are divided by 1000, which changes no output."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Chain()
        finetune(model, DataLoader(TensorDataset(*tensors(256, 9)), 32), 6, lr=0.05)
    model.eval()
    images = tensors(8, 0)[0]
    with torch.no_grad():
        before = model(images)
        model.b.weight /= 1000
        model.bn_b.running_mean /= 1000
        model.bn_b.running_var /= 1000**2
        model.bn_b.eps /= 1000**2
        torch.testing.assert_close(model(images), before, rtol=1e-3, atol=1e-3)
    return model


def pruned(**guard: float) -> tuple[dict[str, int], float]:
    """Widths by global magnitude at 62% of the parameters, and the accuracy with them."""
    model = network()
    graph = trace(model, torch.zeros(1, 1, 8, 8))
    curves = {group.name: np.zeros(group.size + 1) for group in graph.prunable}
    task = Task(graph, Budget.parse("params=62%").bind(graph), curves, **guard)  # type: ignore[arg-type]
    widths = global_ranking(task, L2().scores(Context.of(graph, model)))
    assert task.budget.holds(widths)
    score = Accuracy(SearchImages(model, [tensors(200, 5)]))
    batches = [tensors(64, 6)]
    evaluator = CandidateEvaluator(
        graph, model, None, rank(graph, model, "l2"), score, batches, reconstruct=False
    )
    return task.widths(widths), evaluator.evaluate(task.widths(widths)).score


def test_global_magnitude_collapses_a_layer_without_the_guard_and_not_with_it() -> None:
    collapsed, bad = pruned(lower=0.0)
    assert collapsed["b.weight"] == 1, "all but one of its 24 units"
    by_share, good = pruned(lower=0.25)
    assert by_share["b.weight"] == 6
    by_units, also_good = pruned(lower=0.0, floor_units=6)
    assert by_units["b.weight"] == 6
    assert min(good, also_good) > bad + 0.1


def test_the_guard_is_on_by_default() -> None:
    default, _ = pruned()
    assert default["b.weight"] == 3, "a tenth of 24, rounded up"
    for function in (Task, autoprune.search):
        parameters = inspect.signature(function).parameters
        assert parameters["lower"].default > 0
        assert parameters["floor_units"].default >= 1


@pytest.mark.parametrize(
    "guard", [{"lower": 0.25}, {"lower": 0.0, "floor_units": 5}, {"lower": 0.5, "floor_units": 5}]
)
@pytest.mark.parametrize("allocation", [global_ranking, isomorphic])
def test_no_scores_get_past_the_guard(allocation: object, guard: dict[str, float]) -> None:
    graph = graphs.residual()
    task = make_task(graph, "macs=60%", **guard)
    for name in task.names:
        scores = {**make_scores(graph, 0), name: np.full(graph.group(name).size, -1e9)}
        found = task.widths(allocation(task, scores))  # type: ignore[operator]
        for group in graph.prunable:
            least = max(guard["lower"] * group.size, guard.get("floor_units", 1))
            assert found[group.name] >= least
