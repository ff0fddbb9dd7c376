"""Networks that lie on a GPU: traced, ranked, masked, cut, proved and trained there."""

from typing import Any

import pytest
import torch
from torch import nn

import autoprune
from autoprune.calibration import calibrate
from autoprune.criteria import CRITERIA, statistics_of, unit_scores
from autoprune.data import DataSplits
from autoprune.graph import trace
from autoprune.pipelines import at_init, iterative_magnitude, molchanov, optimal_brain
from autoprune.surgery import proven
from autoprune.verify import verify
from tests.api.problem import network, tensors
from tests.surgery.nets import random_keep

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def batches(count: int, seed: int) -> list[Any]:
    """On the CPU, as loaders give them."""
    return [tensors(32, seed + number) for number in range(count)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("form", ["class", "graph"])
def test_cut_and_proved(dtype: torch.dtype, form: Any) -> None:
    model, x = network().to("cuda", dtype), tensors(4, 0)[0].to("cuda", dtype)
    graph = proven(trace(model, x), form=form)
    keep = random_keep(graph, 0)
    plan = autoprune.plan(graph, widths={n: len(k) for n, k in keep.items()}, criterion="l2")
    verify(model, plan, x).require()
    small = autoprune.apply(model, plan, example_inputs=x)
    assert {(p.device.type, p.dtype) for p in small.parameters()} == {("cuda", dtype)}
    assert small(x).device.type == "cuda"


@pytest.mark.parametrize("name", CRITERIA)
def test_every_criterion(name: str) -> None:
    model, images = network().cuda(), batches(2, 1)
    graph = trace(model, images[0][0].cuda())
    there = [(x.cuda(), y.cuda()) for x, y in images]
    calibration = calibrate(graph, model, images, statistics=statistics_of(name))
    found = unit_scores(graph, model, name, calibration, batches=there)
    assert all(bool(score.isfinite().all()) for score in found.values())


@pytest.mark.parametrize(
    ("pipeline", "settings"),
    [
        (iterative_magnitude, {"sparsity": 0.5, "rounds": 1}),
        (optimal_brain, {"sparsity": 0.5, "rounds": 1}),
        (optimal_brain, {"sparsity": 0.5, "rounds": 1, "variant": "damage"}),
        (at_init, {"sparsity": 0.5, "method": "snip"}),
        (at_init, {"sparsity": 0.5, "method": "synflow", "iterations": 2}),
        (molchanov, {"budget": "macs=80%", "share": 0.2}),
    ],
)
def test_pipelines(pipeline: Any, settings: dict[str, Any]) -> None:
    model: nn.Module = network().cuda()
    data = DataSplits(batches(2, 3), batches(1, 9))
    result = pipeline(model, data, **settings, epochs=1, images=32)
    assert {p.device.type for p in result.model.parameters()} == {"cuda"}


def test_a_search() -> None:
    data = DataSplits(batches(2, 3), batches(1, 9))
    found = autoprune.search(
        network().cuda(), tensors(1, 0)[0].cuda(), data, "macs=70%", agent="random", episodes=2,
        calibration_images=32, fit_images=16,
    )  # fmt: skip
    assert {p.device.type for p in found.model.parameters()} == {"cuda"}
