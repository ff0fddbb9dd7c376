"""AMC's fine-grained mode: the same environment and agents over densities instead of channels."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from torch import Tensor, nn

from autoprune.agents import make_agent
from autoprune.allocation import greedy, uniform
from autoprune.calibration import calibrate
from autoprune.envs import PruningEnv
from autoprune.errors import ArgumentError, BudgetError
from autoprune.finegrained import FineGrained, fine_grained
from autoprune.graph import trace
from autoprune.masks import follows
from autoprune.score import KL, SearchImages


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, groups=8)
        self.up = nn.ConvTranspose2d(8, 6, 2, stride=2)
        self.head = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(torch.relu(self.depthwise(torch.relu(self.norm(self.a(x))))))
        return self.head(x.mean((2, 3)))


def make(budget: str = "params=50%", **settings: Any) -> tuple[Net, list[Tensor], FineGrained]:
    torch.manual_seed(0)
    model = Net().eval()
    images = [torch.randn(12, 3, 8, 8, generator=torch.Generator().manual_seed(1))]
    score = KL(SearchImages(model, images))
    return model, images, fine_grained(trace(model, images[0][:1]), budget, score, **settings)


def brute_macs(model: nn.Module, x: Tensor) -> int:
    """Multiplications with weights that are not zero, counted layer by layer on a hooked forward pass."""
    total = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        where = inputs[0] if isinstance(module, nn.ConvTranspose2d) else output
        positions = where.shape[2:].numel() if where.dim() == 4 else 1
        total += int((module.weight != 0).sum()) * positions * len(where)

    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)]
    handles = [layer.register_forward_hook(count) for layer in layers]
    model(x)
    for handle in handles:
        handle.remove()
    return total


GRANULARITIES = ["weight", "n:4", "n:3", "row", "2x2", "filter"]


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_costs_are_those_of_the_masked_network(granularity: str) -> None:
    model, images, problem = make("params=90%", granularity=granularity)
    rng = np.random.default_rng(0)
    for _ in range(5):
        vector = np.array([rng.integers(1, size + 1) for size in problem.task.sizes])
        widths = problem.task.widths(vector)
        masked = copy.deepcopy(model)
        problem.evaluate.masks(widths).bake(masked)
        costs = {name: value.item() for name, value in problem.task.budget.costs(vector).items()}
        gone = sum(int((p == 0).sum()) for p in masked.parameters() if p.dim() > 1)
        assert costs["params"] == sum(p.numel() for p in masked.parameters()) - gone
        assert costs["macs"] == brute_macs(masked, images[0][:1])


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("budget", ["params=60%", "macs=50%", "macs=60%,params=55%"])
def test_the_budget_always_holds(granularity: str, budget: str) -> None:
    _, _, problem = make(budget, granularity=granularity, lower=0.0)
    env = PruningEnv(problem.task, problem.evaluate)
    rng = np.random.default_rng(1)
    for _ in range(10):
        env.reset()
        done = False
        while not done:
            _, _, done, _, info = env.step(rng.uniform(-1, 1, 1).astype(np.float32))
        for name, limit in problem.task.budget.limits.items():
            assert info["costs"][name] <= limit


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_more_weights_never_cost_less_and_no_layer_vanishes(granularity: str) -> None:
    _, _, problem = make(granularity=granularity, lower=0.0, budget="params=90%")
    for group in problem.task.graph.groups:
        masks = [problem.evaluate.masks({group.name: w})[group.name] for w in range(1, group.size + 1)]
        kept = [int(mask.sum()) for mask in masks]
        assert kept == sorted(kept) and kept[0] > 0


@pytest.mark.parametrize("m", [2, 4, 5])
def test_patterns_hold_in_every_window(m: int) -> None:
    _, _, problem = make("params=90%", granularity=f"n:{m}")
    for group in problem.task.graph.groups:
        assert group.size == m
        for n in range(1, m + 1):
            assert follows(problem.evaluate.masks({group.name: n})[group.name], n, m)


def test_gymnasium_accepts_it() -> None:
    _, _, problem = make()
    check_env(PruningEnv(problem.task, problem.evaluate).unwrapped, skip_render_check=True)


@pytest.mark.parametrize("agent", ["uniform", "greedy", "random", "surrogate", "cmaes", "ddpg"])
def test_every_agent_searches_it(agent: str) -> None:
    small = {"hidden": (16, 16), "batch_episodes": 8, "gradient_steps": 3, "imitation_steps": 3}
    _, _, problem = make()
    found = make_agent(
        agent, PruningEnv(problem.task, problem.evaluate), 0, **(small if agent == "ddpg" else {})
    )
    episode = found.run_episode()
    vector = problem.task.vector(episode.widths)
    assert bool(problem.task.budget.holds(vector))
    assert episode.reward == problem.evaluate(episode.widths).score


def test_greedy_beats_uniform() -> None:
    _, _, problem = make("params=40%")
    scores = [problem.evaluate(problem.task.widths(way(problem.task))).score for way in (greedy, uniform)]
    assert scores[0] > scores[1]


def test_a_value_depends_on_the_widths_alone_and_the_model_is_untouched() -> None:
    model, _, problem = make(bn_inputs=[torch.randn(8, 3, 8, 8)])
    before = copy.deepcopy(model.state_dict())
    half = {g.name: g.size // 2 for g in problem.task.graph.groups}
    first = problem.evaluate(half)
    assert problem.evaluate({}).score > first.score
    assert problem.evaluate(half) == first
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_curves_are_the_energy_that_goes() -> None:
    model, images, _ = make()
    graph = trace(model, images[0][:1])
    calibration = calibrate(graph, model, images, statistics=["input_square"])
    score = KL(SearchImages(model, images))
    for given in (None, calibration):
        problem = fine_grained(graph, "params=50%", score, calibration=given, levels=7)
        for group in problem.task.graph.groups:
            weight = model.get_parameter(group.name).detach().double()
            energy = weight**2 * (1 if given is None else given.statistics["input_square"][group.name])
            expected = [
                float(energy[~problem.evaluate.masks({group.name: w})[group.name]].sum() / energy.sum())
                for w in range(1, 8)
            ]
            np.testing.assert_allclose(problem.task.curves[group.name], [1, *expected], atol=1e-12)


def test_excluded_layers_stay_whole() -> None:
    _, _, problem = make(exclude=["head.weight"])
    assert "head.weight" not in problem.task.names


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"granularity": "2:4"}, ArgumentError, "give 'n:4'"),
        ({"levels": 0}, ArgumentError, "levels must be at least 1, got 0"),
        ({"exclude": ["hat"]}, ArgumentError, "got 'hat'"),
        ({"criterion": "geometric_median"}, ArgumentError, "scores whole units only"),
        ({"budget": "params=1%"}, BudgetError, "cannot be met"),
        ({"budget": "params=0.5%,macs=50%", "lower": 0.0}, BudgetError, "cannot be met"),
    ],
)
def test_bad_arguments_are_refused(settings: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make(**settings)
