"""Isomorphic allocation against a plain search over shares, and its classes against tables."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from autoprune.allocation import isomorphic
from autoprune.allocation.isomorphic import classes
from autoprune.errors import ArgumentError
from autoprune.graph import trace
from autoprune.graph.types import PruneGraph
from autoprune.task import Task
from tests.allocation.nets import between, holds, make_scores, make_task, remove_least, rounded
from tests.budget import graphs


def named(graph: PruneGraph) -> list[list[str]]:
    return [[graph.prunable[i].name for i in members] for members in classes(graph)]


def reference(task: Task, scores: dict[str, np.ndarray]) -> list[int]:
    members = [list(part) for part in classes(task.graph)]
    totals = [int(sum(task.sizes[part])) for part in members]
    for share in sorted({Fraction(k, total) for total in totals for k in range(total + 1)}):
        left = task.sizes.tolist()
        for part, total in zip(members, totals, strict=True):
            for _ in range(floor(share * total)):
                remove_least(task, scores, left, part)
        if holds(task, rounded(task, left)):
            return rounded(task, left)
    raise AssertionError("the task is feasible")


@pytest.mark.parametrize("budget", ["macs=50%", "macs=70%,params=60%"])
@pytest.mark.parametrize("make", graphs.ALL)
@pytest.mark.parametrize("guard", [{}, {"lower": 0.0, "round_to": 4}, {"floor_units": 3}])
def test_equals_the_plain_search(make: object, budget: str, guard: dict[str, float]) -> None:
    graph = make()  # type: ignore[operator]
    for ties in (False, True):
        task, scores = make_task(graph, budget, **guard), make_scores(graph, 3, ties)
        found = isomorphic(task, scores)
        assert found.tolist() == reference(task, scores)
        assert task.budget.holds(found)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 1), st.sampled_from([1, 2]), st.sampled_from([0.0, 0.3]))
def test_any_feasible_problem(seed: int, spare: float, round_to: int, lower: float) -> None:
    graph = graphs.random_graph(np.random.default_rng(seed), 4, 9)
    guard = {"round_to": round_to, "lower": lower}
    task = make_task(graph, between(graph, spare, **guard), seed, **guard)
    scores = make_scores(graph, seed, ties=bool(seed % 2))
    assert isomorphic(task, scores).tolist() == reference(task, scores)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: graphs.padded_resnet(2), [["0.0", "0.1", "1.0", "1.1", "2.0", "2.1"]]),
        (
            lambda: graphs.residual(blocks=2),
            [["stream0"], ["0.0", "0.1", "1.0", "1.1"], ["stream1"]],
        ),
        (lambda: graphs.mobile((8, 12)), [["stream"], ["inner0", "inner1"]]),
        (graphs.concat, [["g0"], ["g1"], ["g2"], ["g3"]]),
    ],
)
def test_classes_of_known_networks(make: object, expected: list[list[str]]) -> None:
    assert named(make()) == expected  # type: ignore[operator]


class Branches(nn.Module):
    """Two 3x3 branches alike, one with another kernel, one without a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.a2 = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 3, 3, padding=1)
        self.b, self.b2 = nn.Conv2d(3, 9, 3, padding=1), nn.Conv2d(9, 3, 3, padding=1)
        self.c, self.c2 = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 3, 3, padding=1)
        self.d, self.d2 = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.Conv2d(6, 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = [(self.a, self.a2), (self.b, self.b2), (self.c, self.c2), (self.d, self.d2)]
        return torch.stack([second(first(x).relu()) for first, second in parts]).sum((0, 3, 4))


def test_classes_of_a_traced_network() -> None:
    assert named(trace(Branches().eval(), torch.zeros(1, 3, 8, 8))) == [
        ["a.weight", "b.weight"],
        ["c.weight"],
        ["d.weight"],
    ]


def test_every_class_loses_the_same_share_whatever_its_scale() -> None:
    """Global ranking would take the class of low scores alone."""
    graph = graphs.residual((40, 40), 2)
    task = make_task(graph, "macs=50%", lower=0.0)
    scale = {"stream0": 1.0, "stream1": 1e-6}
    scores = {name: np.abs(s) * scale.get(name, 1e3) for name, s in make_scores(graph, 0).items()}
    found = dict(zip(task.names, isomorphic(task, scores), strict=True))
    lost = [1 - sum(found[n] for n in part) / (40 * len(part)) for part in named(graph)]
    assert max(lost) - min(lost) <= 1 / 40
    assert len({found[n] for n in named(graph)[1]}) > 1, "within a class the scores decide"


def test_refuses_scores() -> None:
    with pytest.raises(ArgumentError, match="'stream0' is missing"):
        isomorphic(make_task(graphs.residual()), {})
