"""What a pipeline's scores are worth: against random ones, on a trained network, without any training."""

from typing import Any

import pytest
import torch
from torch import nn

from autoprune.data import DataSplits
from autoprune.pipelines import at_init, iterative_magnitude, optimal_brain
from tests.api.problem import network, tensors

DATA = DataSplits([tensors(128, 3)], [tensors(64, 4)])
IMAGES = tensors(256, 5)[0]


def moved(model: nn.Module) -> float:
    """Mean squared change of the outputs."""
    with torch.no_grad():
        return float((model(IMAGES) - network()(IMAGES)).square().mean())


@pytest.fixture(scope="module")
def by_chance() -> float:
    """The best of three random choices."""
    runs = [
        iterative_magnitude(
            network(), DATA, 0.3, rounds=1, epochs=0, criterion="random", seed=seed, images=64
        )
        for seed in range(3)
    ]
    return min(moved(run.model) for run in runs)


@pytest.mark.parametrize(
    ("pipeline", "settings"),
    [
        (iterative_magnitude, {"rounds": 2, "epochs": 0}),
        (optimal_brain, {"rounds": 2, "variant": "damage"}),
        (optimal_brain, {"rounds": 2, "variant": "damage", "criterion": "fisher"}),
        (optimal_brain, {"rounds": 2, "variant": "surgeon"}),
        (at_init, {"method": "snip", "epochs": 0}),
        (at_init, {"method": "synflow", "epochs": 0, "iterations": 3}),
    ],
)
def test_chosen_weights_are_missed_less_than_random_ones(
    pipeline: Any, settings: dict[str, Any], by_chance: float
) -> None:
    result = pipeline(network(), DATA, 0.3, images=64, **settings)
    assert result.sparsity == pytest.approx(0.3, abs=0.01)
    assert moved(result.model) < 0.5 * by_chance
